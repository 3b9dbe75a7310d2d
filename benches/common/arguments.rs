//! What the command lines of the benchmarks have in common.

use clap::{Arg, ArgAction, ArgMatches};

/// `--NAME N`
pub fn number(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).default_value(default).value_parser(clap::value_parser!(u32)).help(help)
}

/// `--NAME N,N`
pub fn list(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_delimiter(',').value_parser(clap::value_parser!(u32)).help(help)
}

/// `--out DIR`, which has a default.
pub fn out(default: &'static str) -> Arg {
    Arg::new("out").long("out").default_value(default).help("where the results are written")
}

/// `--bench`, which cargo says to every benchmark.
pub fn bench() -> Arg {
    Arg::new("bench").long("bench").action(ArgAction::SetTrue).hide(true)
}

/// The value of a [`number`].
pub fn read_number(matches: &ArgMatches, name: &str) -> u32 {
    *matches.get_one::<u32>(name).expect("it has a default")
}

/// The values of a [`list`]; none where it is not given.
pub fn read_list(matches: &ArgMatches, name: &str) -> Option<Vec<usize>> {
    let values = matches.get_many::<u32>(name);
    values.map(|values| values.map(|&value| value as usize).collect())
}

/// The command line as it can be typed again.
pub fn command(benchmark: &str) -> String {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let mut words = vec![format!("cargo bench --bench {benchmark}")];
    words.extend(Some("--".to_owned()).filter(|_| !arguments.is_empty()));
    words.extend(arguments.into_iter().map(|word| if word.contains(' ') { format!("'{word}'") } else { word }));
    words.join(" ")
}
