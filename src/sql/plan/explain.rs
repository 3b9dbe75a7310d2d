//! EXPLAIN: a plan as PostgreSQL shows it, without costs, of which there are none.

use super::node::*;
use super::{Command, Plan, ResultColumn, SortKey};
use crate::error::{Error, Result};
use crate::expr::Expr;
use crate::sql::parse::{Explain, ExplainFormat};
use crate::types::json::Json;
use crate::types::{Oid, SqlType, Value};
use std::sync::Arc;

/// A node as EXPLAIN shows it.
struct Shown {
    /// The node's kind, for example `Index Scan`.
    kind: String,
    /// What follows on its line, for example ` using a_pkey on a`.
    rest: String,
    /// Its properties, in order.
    properties: Vec<(&'static str, String)>,
    inputs: Vec<Shown>,
}

/// The plan that shows another one.
pub fn explain(plan: Plan, explain: &Explain) -> Result<Plan> {
    if explain.analyze {
        return Err(Error::unsupported("EXPLAIN ANALYZE").hint("EXPLAIN shows the plan."));
    }
    let shown = show(&plan.root);
    let (lines, ty) = match explain.format {
        ExplainFormat::Text => {
            let mut lines = Vec::new();
            shown.lines(0, true, &mut lines);
            (lines, SqlType::TEXT)
        }
        ExplainFormat::Json => {
            let mut text = Vec::new();
            Json::object(vec![("Plan".to_owned(), shown.json())]).write(&mut text);
            (vec![format!("[{}]", String::from_utf8_lossy(&text))], SqlType::JSON)
        }
    };
    let rows = lines.into_iter().map(|line| vec![Expr::literal(Value::text(line), ty)]).collect();
    Ok(Plan {
        root: Node::Values(Arc::new(Values { rows, types: vec![ty] })),
        command: Command::Explain,
        columns: Some(vec![ResultColumn { name: "QUERY PLAN".to_owned(), ty, table: Oid::INVALID, attnum: 0 }]),
        ..plan
    })
}

impl Shown {
    fn new(kind: &str, rest: String) -> Shown {
        Shown { kind: kind.to_owned(), rest, properties: Vec::new(), inputs: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: Option<String>) -> Shown {
        self.properties.extend(value.map(|value| (name, value)));
        self
    }

    fn over(mut self, input: &Node) -> Shown {
        self.inputs.push(show(input));
        self
    }

    fn lines(&self, indent: usize, root: bool, out: &mut Vec<String>) {
        let lead = if root { String::new() } else { format!("{}->  ", " ".repeat(indent)) };
        out.push(format!("{lead}{}{}", self.kind, self.rest));
        let indent = if root { 2 } else { indent + 6 };
        for (name, value) in &self.properties {
            out.push(format!("{}{name}: {value}", " ".repeat(indent)));
        }
        for input in &self.inputs {
            input.lines(indent, false, out);
        }
    }

    fn json(&self) -> Json {
        let mut fields = vec![("Node Type".to_owned(), Json::String(self.kind.clone()))];
        if !self.rest.is_empty() {
            fields.push(("Target".to_owned(), Json::String(self.rest.trim().to_owned())));
        }
        fields.extend(self.properties.iter().map(|(name, value)| ((*name).to_owned(), Json::String(value.clone()))));
        if !self.inputs.is_empty() {
            fields.push(("Plans".to_owned(), Json::Array(self.inputs.iter().map(Shown::json).collect())));
        }
        Json::object(fields)
    }
}

fn show(node: &Node) -> Shown {
    match node {
        Node::Scan(scan) => show_scan(scan),
        Node::System(scan) => {
            let names: Vec<String> = scan.relation.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
            let on = on(scan.relation.name, &scan.alias);
            Shown::new("System Scan", on).with("Filter", scan.filter.as_ref().map(|filter| spell(filter, &names)))
        }
        Node::Values(values) if values.types.is_empty() || values.rows.len() == 1 => {
            Shown::new("Result", String::new())
        }
        Node::Values(_) => Shown::new("Values Scan", " on \"*VALUES*\"".to_owned()),
        Node::Function(function) => Shown::new("Function Scan", on(&function.name, &function.alias)),
        Node::ProjectSet(set) => Shown::new("ProjectSet", String::new()).over(&set.input),
        Node::Filter(filter) => {
            let names = names(&filter.input);
            show(&filter.input).with("Filter", Some(spell(&filter.predicate, &names)))
        }
        // A select list is no node of its own in PostgreSQL.
        Node::Project(project) => show(&project.input),
        Node::Sort(sort) => {
            let names = names(&sort.input);
            let keys: Vec<String> = sort.keys.iter().map(|key| spell_key(key, &names)).collect();
            Shown::new("Sort", String::new()).with("Sort Key", Some(keys.join(", "))).over(&sort.input)
        }
        Node::LockRows(lock) => Shown::new("LockRows", String::new()).over(&lock.input),
        Node::Limit(limit) => Shown::new("Limit", String::new()).over(&limit.input),
        Node::Distinct(distinct) => {
            let key = names(&distinct.input).join(", ");
            Shown::new("HashAggregate", String::new()).with("Group Key", Some(key)).over(&distinct.input)
        }
        Node::Aggregate(aggregate) => {
            let names = names(&aggregate.input);
            let keys: Vec<String> = aggregate.groups.iter().map(|group| spell(group, &names)).collect();
            let kind = if keys.is_empty() { "Aggregate" } else { "HashAggregate" };
            let keys = (!keys.is_empty()).then(|| keys.join(", "));
            Shown::new(kind, String::new()).with("Group Key", keys).over(&aggregate.input)
        }
        Node::Insert(insert) => {
            let resolution = (insert.conflict != Conflict::Fail).then(|| "NOTHING".to_owned());
            Shown::new("Insert", on(&insert.model.relation().name, &insert.alias))
                .with("Conflict Resolution", resolution)
                .over(&insert.input)
        }
        Node::Update(update) => {
            Shown::new("Update", on(&update.model.relation().name, &update.alias)).over(&update.input)
        }
        Node::Delete(delete) => {
            Shown::new("Delete", on(&delete.model.relation().name, &delete.alias)).over(&delete.input)
        }
        Node::Copy(copy) => Shown::new("Copy", format!(" to {}", copy.model.relation().name)),
        Node::Consume(consume) => Shown::new("Consume", format!(" from {}", consume.topic.qualified)),
        Node::Settle(settle) => Shown::new("Settle", format!(" on {}", settle.topic.qualified)),
        Node::ResetGroup(reset) => Shown::new("Reset", format!(" on {}", reset.topic.qualified)),
    }
}

fn show_scan(scan: &Scan) -> Shown {
    let relation = scan.model.relation();
    let on = on(&relation.name, &scan.alias);
    let way = if scan.backward { "Index Scan Backward" } else { "Index Scan" };
    let primary = relation.primary_key.as_ref().map_or("", |key| key.name.as_str());
    let shown = match &scan.access {
        Access::Full | Access::Key(_) if relation.topic().is_some() => {
            Shown::new(if scan.backward { "Offset Scan Backward" } else { "Offset Scan" }, on)
        }
        Access::Full if scan.backward => Shown::new(way, format!(" using {primary}{on}")),
        Access::Full => Shown::new("Seq Scan", on),
        Access::Key(_) => Shown::new(way, format!(" using {primary}{on}")),
        Access::Index(at, _) => Shown::new(way, format!(" using {}{on}", scan.model.indexes()[*at].name)),
    };
    let names = scan_names(scan);
    let spelled = |expr: &Option<Expr>| expr.as_ref().map(|expr| spell(expr, &names));
    shown.with("Index Cond", spelled(&scan.condition)).with("Filter", spelled(&scan.filter))
}

fn on(name: &str, alias: &str) -> String {
    if name == alias { format!(" on {name}") } else { format!(" on {name} {alias}") }
}

fn scan_names(scan: &Scan) -> Vec<String> {
    let own = scan.model.relation().columns.iter().map(|column| column.name.clone());
    own.chain(["_seq", "xmin", "tableoid", "topic"].map(str::to_owned)).collect()
}

/// What a node's columns are called in the conditions of the nodes above it.
fn names(node: &Node) -> Vec<String> {
    match node {
        Node::Scan(scan) => scan_names(scan),
        Node::System(scan) => scan.relation.columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
        Node::Values(values) => (1..=values.types.len()).map(|number| format!("column{number}")).collect(),
        Node::Function(function) => function.columns.clone(),
        Node::ProjectSet(set) => {
            let mut below = names(&set.input);
            below.resize_with(set.width, String::new);
            let sets: Vec<String> = set.sets.iter().map(|call| spell(call, &below)).collect();
            below.extend(sets);
            below
        }
        Node::Filter(filter) => names(&filter.input),
        Node::Sort(sort) => names(&sort.input),
        Node::LockRows(lock) => names(&lock.input),
        Node::Limit(limit) => names(&limit.input),
        Node::Distinct(distinct) => names(&distinct.input),
        Node::Project(project) => {
            let below = names(&project.input);
            project.exprs.iter().map(|expr| spell(expr, &below)).collect()
        }
        Node::Aggregate(aggregate) => {
            let below = names(&aggregate.input);
            let groups = aggregate.groups.iter().map(|group| spell(group, &below));
            let calls = aggregate.aggregates.iter().map(|call| {
                let args: Vec<String> = call.args.iter().map(|arg| spell(arg, &below)).collect();
                let args = if args.is_empty() { "*".to_owned() } else { args.join(", ") };
                format!("{}({args})", call.function.name())
            });
            groups.chain(calls).collect()
        }
        _ => Vec::new(),
    }
}

fn spell(expr: &Expr, names: &[String]) -> String {
    let name = |index: usize| names.get(index).cloned().unwrap_or_else(|| format!("column{}", index + 1));
    let text = expr.display(&name);
    if text.starts_with('(') || matches!(expr, Expr::Column { .. } | Expr::Literal { .. }) {
        text
    } else {
        format!("({text})")
    }
}

fn spell_key(key: &SortKey, names: &[String]) -> String {
    let mut text = spell(&key.expr, names);
    if key.descending {
        text.push_str(" DESC");
    }
    match (key.descending, key.nulls_first) {
        (true, false) => text.push_str(" NULLS LAST"),
        (false, true) => text.push_str(" NULLS FIRST"),
        _ => {}
    }
    text
}
