//! The table, for a reader and for programs.

use crate::common::machine::Machine;
use crate::common::servers::{POSTGRES_SETTINGS, TERTULIA_FLAGS};
use crate::options::Options;
use crate::row::Row;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;

/// Prints the table and writes live.md and live.json.
pub fn write(machine: &Machine, rows: &[Row], options: &Options) {
    let text = markdown(machine, rows, options);
    println!("\n{text}");
    fs::create_dir_all(&options.out).expect("the directory of the results");
    fs::write(options.out.join("live.md"), text).expect("live.md");
    let value = json(machine, rows, options);
    let text = serde_json::to_string_pretty(&value).expect("values that JSON has");
    fs::write(options.out.join("live.json"), text).expect("live.json");
    println!("written to {}", options.out.display());
}

fn markdown(machine: &Machine, rows: &[Row], options: &Options) -> String {
    let mut out = format!("# Live rows and notifications\n\n    {}\n\n", options.command);
    for line in machine.to_string().lines() {
        // writing into a string cannot fail
        let _ = writeln!(out, "- {line}");
    }
    let _ = writeln!(out, "- Tertulia: {}, and room for the connections and live queries", TERTULIA_FLAGS.join(" "));
    let _ = writeln!(out, "- PostgreSQL 15: {}", POSTGRES_SETTINGS.join(", "));
    let _ = writeln!(out, "- {} rounds of {} ms on each in turn\n", options.rounds, options.round.as_millis());
    out.push_str(
        "A figure is the median of the rounds (least to greatest); a ratio is Tertulia's figure by the one beside it, the \
         median of the rounds' own ratios.\n\n",
    );
    out.push_str("| workload | unit | PostgreSQL or other | Tertulia | ratio | goal | | notes |\n");
    out.push_str("|---|---|---|---|---|---|---|---|\n");
    for row in rows {
        let digits = row.digits();
        let base = row.base.as_ref().map_or_else(String::new, |base| {
            let name = if base.name == "PostgreSQL" { String::new() } else { format!("{}: ", base.name) };
            name + &base.figures.text(digits)
        });
        let ratio = row.ratios().map_or_else(String::new, |ratios| ratios.text(2));
        let (title, unit, goal, verdict, note) = (&row.title, row.unit, row.goal, row.verdict(), &row.note);
        let figures = row.figures.text(digits);
        let _ = writeln!(out, "| {title} | {unit} | {base} | {figures} | {ratio} | {goal} | {verdict} | {note} |");
    }
    out
}

fn json(machine: &Machine, rows: &[Row], options: &Options) -> Value {
    let row = |row: &Row| {
        json!({
            "workload": row.title,
            "unit": row.unit,
            "base": row.base.as_ref().map(|base| json!({ "name": base.name, "rounds": base.figures.0 })),
            "tertulia": row.figures.0,
            "ratio": row.ratios().map(|ratios| ratios.median()),
            "goal": row.goal.to_string(),
            "met": row.is_met(),
            "note": row.note,
        })
    };
    json!({
        "command": options.command,
        "time": machine.time,
        "machine": machine.json(),
        "tertulia": { "flags": TERTULIA_FLAGS },
        "postgresql": { "settings": POSTGRES_SETTINGS },
        "workloads": rows.iter().map(row).collect::<Vec<Value>>(),
    })
}
