#!/usr/bin/env python3
"""Writes operators.rs and operator_functions.rs from a PostgreSQL 15: the operators of our types with their OIDs.

usage: generate_operators.py HOST PORT USER (psql must be at hand), in this directory; then run rustfmt.
"""
import subprocess
import sys

TYPES = {16: "BOOL", 17: "BYTEA", 19: "NAME", 20: "INT8", 21: "INT2", 23: "INT4", 25: "TEXT", 26: "OID", 114: "JSON",
         701: "FLOAT8", 1082: "DATE", 1114: "TIMESTAMP", 1184: "TIMESTAMPTZ", 1186: "INTERVAL", 1700: "NUMERIC",
         2950: "UUID", 3802: "JSONB"}
COMPARE = {"=": "Equal", "<>": "NotEqual", "<": "Less", "<=": "LessEqual", ">": "Greater", ">=": "GreaterEqual"}
WORDS = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "%": "modulo", "&": "bit_and", "|": "bit_or",
         "#": "bit_xor", "<<": "shift_left", ">>": "shift_right"}
INTS = {"INT2", "INT4", "INT8"}
# Everything that has no rule below: function name to Rust path.
NAMED = {
    "integer_pl_date": "datetime::integer_plus_date", "date_pli": "datetime::date_plus_integer",
    "date_mii": "datetime::date_minus_integer", "date_mi": "datetime::date_minus_date",
    "date_pl_interval": "datetime::date_plus_interval", "interval_pl_date": "datetime::interval_plus_date",
    "date_mi_interval": "datetime::date_minus_interval",
    "timestamp_pl_interval": "datetime::timestamp_plus_interval",
    "interval_pl_timestamp": "datetime::interval_plus_timestamp",
    "timestamp_mi_interval": "datetime::timestamp_minus_interval",
    "timestamptz_pl_interval": "datetime::timestamptz_plus_interval",
    "interval_pl_timestamptz": "datetime::interval_plus_timestamptz",
    "timestamptz_mi_interval": "datetime::timestamptz_minus_interval",
    "timestamp_mi": "datetime::timestamp_minus_timestamp", "timestamptz_mi": "datetime::timestamp_minus_timestamp",
    "interval_pl": "datetime::interval_plus_interval", "interval_mi": "datetime::interval_minus_interval",
    "interval_um": "datetime::interval_negate", "interval_mul": "datetime::interval_times",
    "mul_d_interval": "datetime::times_interval", "interval_div": "datetime::interval_divide",
    "textcat": "string::concatenate", "byteacat": "string::concatenate_bytes", "starts_with": "string::starts_with",
    "dpow": "math::power_float", "numeric_power": "math::power_numeric", "dsqrt": "math::sqrt_float",
    "dcbrt": "math::cbrt_float",
    "textlike": "pattern::like", "namelike": "pattern::like", "textnlike": "pattern::not_like",
    "namenlike": "pattern::not_like", "texticlike": "pattern::ilike", "nameiclike": "pattern::ilike",
    "texticnlike": "pattern::not_ilike", "nameicnlike": "pattern::not_ilike",
    "textregexeq": "pattern::matches", "nameregexeq": "pattern::matches", "textregexne": "pattern::not_matches",
    "nameregexne": "pattern::not_matches", "texticregexeq": "pattern::imatches", "nameicregexeq": "pattern::imatches",
    "texticregexne": "pattern::not_imatches", "nameicregexne": "pattern::not_imatches",
    "json_array_element": "json::element", "jsonb_array_element": "json::element",
    "json_array_element_text": "json::element_text", "jsonb_array_element_text": "json::element_text",
    "json_object_field": "json::field", "jsonb_object_field": "json::field",
    "json_object_field_text": "json::field_text", "jsonb_object_field_text": "json::field_text",
    "jsonb_concat": "json::concatenate", "jsonb_exists": "json::exists", "jsonb_contains": "json::contains",
    "jsonb_contained": "json::contained",
}


def path(operator, left, right, result, function):
    if function in NAMED:
        return NAMED[function]
    if function == "jsonb_delete":
        return "json::delete_field" if right == "TEXT" else "json::delete_element"
    if left is None:
        word = {"+": "plus", "-": "negate", "@": "absolute", "~": "bit_not"}.get(operator)
    else:
        word = WORDS.get(operator)
    if word and result in INTS:
        return f"arithmetic::{word}_{result.lower()}"
    if word and result in ("FLOAT8", "NUMERIC"):
        return f"arithmetic::{word}_{result.lower().removesuffix('8')}"
    return None


def main():
    ids = ",".join(str(oid) for oid in TYPES)
    query = f"""select o.oid, oprname, oprleft, oprright, p.prorettype, p.oid, p.proname, p.provolatile
        from pg_operator o join pg_proc p on p.oid = oprcode
        where oprleft in (0,{ids}) and oprright in ({ids}) and oprresult in ({ids})
        and oprname not in ('@@', '~<=~', '~<~', '~>=~', '~>~')
        order by oprname collate "C", oprleft, oprright"""
    host, port, user = sys.argv[1:4]
    command = ["psql", "-h", host, "-p", port, "-U", user, "-AtF", "\t", "-c", query]
    rows = [line.split("\t") for line in subprocess.check_output(command, text=True).splitlines()]
    operators, functions, seen = [], [], set()
    used_by_operators, used_by_functions = set(), set()
    for oid, name, left, right, result, function, proname, volatility in rows:
        left, right, result = TYPES.get(int(left)), TYPES[int(right)], TYPES[int(result)]
        if name in COMPARE and {left, right} <= {"DATE", "TIMESTAMP", "TIMESTAMPTZ"} and left != right:
            body = f"Body::Plain(datetime::{COMPARE[name].lower()})"
        elif name in COMPARE:
            body = f"Body::Compare(CompareOp::{COMPARE[name]})"
        else:
            target = path(name, left, right, result, proname)
            if target is None:
                print("left out:", name, left, right, proname, file=sys.stderr)
                continue
            body = f"Body::Plain({target})"
        some = f"Some({left})" if left else "None"
        used_by_operators.update(ty for ty in (left, right) if ty)
        used_by_functions.update(ty for ty in (left, right, result) if ty)
        operators.append(f'    op({oid}, "{name}", {some}, {right}, {function}),')
        if function in seen:
            continue
        seen.add(function)
        args = ", ".join(ty for ty in (left, right) if ty)
        kind = {"i": "Immutable", "s": "Stable"}[volatility]
        functions.append(f'    row({function}, "{proname}", &[{args}], {result}, {kind}, {body}),')
    note = "//! Generated by `src/expr/library/generate_operators.py`; change that, not this.\n\n"
    with open("operators.rs", "w") as out:
        out.write("//! The operator table.\n//!\n" + note)
        out.write(f"use super::{{{', '.join(sorted(used_by_operators))}}};\n")
        out.write("use crate::expr::function::Operator;\nuse crate::types::{Oid, SqlType};\n\n")
        out.write("const fn op(oid: u32, name: &'static str, left: Option<SqlType>, right: SqlType, function: u32) ")
        out.write("-> Operator {\n    Operator { oid: Oid(oid), name, left, right, function: Oid(function) }\n}\n\n")
        out.write("/// All operators.\npub(in crate::expr) static OPERATORS: &[Operator] = &[\n")
        out.write("\n".join(operators) + "\n];\n")
    with open("operator_functions.rs", "w") as out:
        out.write("//! The functions behind the operators.\n//!\n" + note)
        out.write(f"use super::{{{', '.join(sorted(used_by_functions))}}};\n")
        out.write("use super::{arithmetic, datetime, json, math, pattern, row, string};\n")
        out.write("use crate::expr::function::{Body, CompareOp, Function, Volatility::Immutable, Volatility::Stable};\n\n")
        out.write("/// Their rows.\npub(super) static FUNCTIONS: &[Function] = &[\n")
        out.write("\n".join(functions) + "\n];\n")


main()
