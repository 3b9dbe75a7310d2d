//! The results as files.

use crate::common::machine::Machine;
use crate::options::Options;
use crate::plot;
use crate::sample::{Sample, Samples, milliseconds};
use std::fmt::Write as _;
use std::fs;

const MIB: f64 = (1 << 20) as f64;

/// Writes the lines, the plot and the figures, and prints these.
pub fn write(machine: &Machine, samples: &Samples, options: &Options) {
    let figures = figures(machine, samples, options);
    println!("\n{figures}");
    fs::create_dir_all(&options.out).expect("the directory for the results");
    let file = |name: &str, text: &str| fs::write(options.out.join(name), text).expect("a result is written");
    file("endurance.csv", &lines(samples));
    file("endurance.svg", &plot::svg(samples, options));
    file("endurance.md", &figures);
    println!("written to {}", options.out.display());
}

fn lines(samples: &Samples) -> String {
    let mut out = String::from("second,rate,p50_ms,p99_ms,max_ms,memory_mib,log_mib,store_mib\n");
    for s in &samples.seconds {
        let [memory, log, store] = [s.memory, s.log, s.store].map(|bytes| bytes as f64 / MIB);
        // writing into a string cannot fail
        let _ = writeln!(
            out,
            "{:.0},{:.0},{:.2},{:.2},{:.2},{memory:.0},{log:.0},{store:.0}",
            s.at, s.rate, s.p50, s.p99, s.max
        );
    }
    out
}

fn figures(machine: &Machine, samples: &Samples, options: &Options) -> String {
    let seconds = &samples.seconds;
    let all = |figure: fn(&Sample) -> f64| {
        let mut values: Vec<f64> = seconds.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let spread = |figure: fn(&Sample) -> f64| {
        let values = all(figure);
        let at = |quantile: f64| values[((values.len() - 1) as f64 * quantile).round() as usize];
        (at(0.5), at(0.0), at(1.0))
    };
    let mut out = format!("{machine}\n\n`{}`, begun at Unix time {}\n\n", options.command, machine.time);
    let [p50, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(|quantile| milliseconds(&samples.latencies, quantile));
    let (operations, minutes) = (samples.latencies.len(), options.duration.as_secs_f64() / 60.0);
    let _ = writeln!(
        out,
        "{operations} operations of {} clients in {minutes:.1} minutes on {} rows; latency {p50:.2} ms in the median, p99 \
         {p99:.2} ms, p99.9 {p999:.2} ms, longest {max:.1} ms.\n",
        options.clients, options.rows
    );
    out.push_str("| a second's | median | least | most |\n|---|---|---|---|\n");
    let mut row = |name: &str, figure: fn(&Sample) -> f64, digits: usize| {
        let (median, least, most) = spread(figure);
        let _ = writeln!(out, "| {name} | {median:.digits$} | {least:.digits$} | {most:.digits$} |");
    };
    row("operations", |s| s.rate, 0);
    row("p99, ms", |s| s.p99, 2);
    row("longest, ms", |s| s.max, 1);
    row("memory, MiB", |s| s.memory as f64 / MIB, 0);
    row("log, MiB", |s| s.log as f64 / MIB, 0);
    row("store, MiB", |s| s.store as f64 / MIB, 0);
    out
}
