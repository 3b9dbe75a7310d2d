//! What the command line says.

use crate::common::arguments::{self, number, read_number};
use clap::{Arg, ArgAction, Command};
use std::path::PathBuf;
use std::time::Duration;

/// How long, on how much, by how many.
pub struct Options {
    /// Rows loaded first.
    pub rows: i64,
    /// Clients at work.
    pub clients: usize,
    /// For how long.
    pub duration: Duration,
    /// Where the server's directory is made.
    pub place: PathBuf,
    /// Where the results are written.
    pub out: PathBuf,
    /// Flags of the server.
    pub flags: Vec<String>,
    /// The command line, for the report.
    pub command: String,
}

/// Enough address space for these loads, and a log that is let go after a short while, or the disk would hold half an
/// hour of it.
const FLAGS: &[&str] = &["--map-size", "64GB", "--change-retention", "10s"];

impl Options {
    /// Reads the command line; ends the program where it is wrong.
    pub fn read() -> Options {
        let out = concat!(env!("CARGO_MANIFEST_DIR"), "/target/endurance");
        let matches = Command::new("endurance")
            .about("Inserts, updates and deletes at full speed for a long time")
            .arg(number("rows", "1000000", "rows loaded first"))
            .arg(number("clients", "32", "clients at work"))
            .arg(number("minutes", "0", "how long, with the seconds"))
            .arg(number("seconds", "0", "how long, with the minutes; 20 seconds unless either is given"))
            .arg(
                Arg::new("place")
                    .long("place")
                    .help("where the server's directory is made, instead of the temporary one"),
            )
            .arg(arguments::out(out))
            .arg(Arg::new("flag").long("flag").action(ArgAction::Append).help("NAME=VALUE: a setting of the server"))
            .arg(arguments::bench())
            .get_matches();
        let number = |name: &str| read_number(&matches, name);
        let seconds = match u64::from(number("minutes")) * 60 + u64::from(number("seconds")) {
            0 => 20,
            seconds => seconds,
        };
        let mut flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
        for flag in matches.get_many::<String>("flag").into_iter().flatten() {
            let (name, value) = flag.split_once('=').expect("a flag is NAME=VALUE");
            flags.extend([format!("--{name}"), value.to_owned()]);
        }
        Options {
            rows: i64::from(number("rows")).max(1),
            clients: number("clients").max(1) as usize,
            duration: Duration::from_secs(seconds),
            place: matches.get_one::<String>("place").map_or_else(std::env::temp_dir, PathBuf::from),
            out: PathBuf::from(matches.get_one::<String>("out").expect("it has a default")),
            flags,
            command: arguments::command("endurance"),
        }
    }
}
