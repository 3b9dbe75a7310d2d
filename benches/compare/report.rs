//! The tables that come out: a line for the terminal, compare.md and compare.json.

use crate::common::machine::Machine;
use crate::common::round::Round;
use crate::common::servers::{POSTGRES_SETTINGS, Server, TERTULIA_FLAGS};
use crate::data::BODY_BYTES;
use crate::measure::Row;
use crate::memory::{self, Memory};
use crate::options::Options;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;

/// A row for the terminal.
pub fn line(row: &Row) -> String {
    let both = |figure: fn(&Round) -> f64| [0, 1].map(|server| row.figures(server, figure).median());
    let (ratio, (least, most)) = (row.ratios().median(), row.ratios().spread());
    let ([a, b], [a50, b50]) = (both(|round| round.rate), both(|round| round.p50));
    let ([a99, b99], [a_cpu, b_cpu]) = (both(|round| round.p99), both(|round| round.processor));
    let [a_client, b_client] = both(|round| round.client);
    format!(
        "{:<50} {a:>8.0}/s {b:>8.0}/s {ratio:>6.2} ({least:.2} to {most:.2})  us: p50 {a50:.0} : {b50:.0}, \
         p99 {a99:.0} : {b99:.0}, CPU {a_cpu:.1} : {b_cpu:.1}, client {a_client:.1} : {b_client:.1}",
        row.title
    )
}

/// Writes both files.
pub fn write(machine: &Machine, servers: &[Server; 2], rows: &[Row], memory: Option<&Memory>, options: &Options) {
    fs::create_dir_all(&options.out).expect("the directory of the tables");
    let text = markdown(machine, servers, rows, memory, options);
    fs::write(options.out.join("compare.md"), text).expect("compare.md");
    let value = json(machine, servers, rows, memory, options);
    let text = serde_json::to_string_pretty(&value).expect("values that JSON has");
    fs::write(options.out.join("compare.json"), text).expect("compare.json");
    println!("written to {}", options.out.display());
}

fn markdown(
    machine: &Machine,
    servers: &[Server; 2],
    rows: &[Row],
    memory: Option<&Memory>,
    options: &Options,
) -> String {
    let mut out = format!("# Tertulia beside PostgreSQL\n\n    {}\n\n", options.command);
    for line in machine.to_string().lines() {
        let _ = writeln!(out, "- {line}");
    }
    let _ = writeln!(out, "- Tertulia {}: {}", servers[0].version, TERTULIA_FLAGS.join(" "));
    let _ = writeln!(out, "- PostgreSQL {}: {}", servers[1].version, POSTGRES_SETTINGS.join(", "));
    let _ = writeln!(
        out,
        "- {} rows of {BODY_BYTES} bytes in {} conversations; {} rounds of {} ms on each server in turn\n",
        options.rows,
        options.conversations,
        options.rounds,
        options.round.as_millis()
    );
    out.push_str(
        "A rate is the median of the rounds (least to greatest), a ratio the median of the rounds' ratios. CPU is the \
         server's processor time for each operation, and beside it the client's.\n\n",
    );
    out.push_str(
        "| workload | Tertulia /s | PostgreSQL /s | ratio | p50 us, T : P | p99 us, T : P | CPU us, T : P | client's |\n",
    );
    out.push_str("|---|---|---|---|---|---|---|---|\n");
    for row in rows {
        let figures = |server, figure: fn(&Round) -> f64| row.figures(server, figure);
        let median = |server, figure: fn(&Round) -> f64| figures(server, figure).median();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {:.0} : {:.0} | {:.0} : {:.0} | {:.1} : {:.1} | {:.1} : {:.1} |",
            row.title,
            figures(0, |round| round.rate).text(0),
            figures(1, |round| round.rate).text(0),
            row.ratios().text(2),
            median(0, |round| round.p50),
            median(1, |round| round.p50),
            median(0, |round| round.p99),
            median(1, |round| round.p99),
            median(0, |round| round.processor),
            median(1, |round| round.processor),
            median(0, |round| round.client),
            median(1, |round| round.client),
        );
    }
    if let Some(Memory { connections, bytes: [a, b] }) = memory {
        let (title, a, b) = (memory::TITLE, a / 1024.0, b / 1024.0);
        let _ =
            writeln!(out, "\n{title}, of {connections}: Tertulia {a:.1} kB, PostgreSQL {b:.1} kB, 1 : {:.0}", b / a);
    }
    out
}

fn json(machine: &Machine, servers: &[Server; 2], rows: &[Row], memory: Option<&Memory>, options: &Options) -> Value {
    let rounds = |rounds: &[Round]| -> Vec<Value> {
        let round = |round: &Round| {
            json!({
                "rate": round.rate, "p50_us": round.p50, "p99_us": round.p99, "processor_us": round.processor,
                "client_us": round.client,
            })
        };
        rounds.iter().map(round).collect()
    };
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "workload": row.title,
                "ratio": row.ratios().median(),
                "tertulia": rounds(&row.rounds[0]),
                "postgresql": rounds(&row.rounds[1]),
            })
        })
        .collect();
    json!({
        "command": options.command,
        "time": machine.time,
        "machine": machine.json(),
        "tertulia": { "version": servers[0].version, "flags": TERTULIA_FLAGS },
        "postgresql": { "version": servers[1].version, "settings": POSTGRES_SETTINGS },
        "data": { "rows": options.rows, "conversations": options.conversations, "body_bytes": BODY_BYTES },
        "workloads": rows,
        "idle_connection_bytes": memory.map(|memory| json!({
            "connections": memory.connections,
            "tertulia": memory.bytes[0],
            "postgresql": memory.bytes[1],
        })),
    })
}
