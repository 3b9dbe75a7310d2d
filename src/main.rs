//! The command line: `tertulia serve`, `tertulia demo` and `tertulia check`.

use clap::{Arg, ArgMatches, Command};
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::RefCell;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use tertulia::check::Progress;
use tertulia::config::{Config, SETTINGS};
use tertulia::error::{Error, Result, SqlState};

fn main() -> ExitCode {
    let matches = command().get_matches();
    let result = match matches.subcommand() {
        Some(("serve", arguments)) => serve(arguments),
        Some(("demo", arguments)) => demo(arguments),
        Some(("check", arguments)) => check(arguments),
        _ => unreachable!("clap requires a subcommand it knows"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

fn command() -> Command {
    let config = Arg::new("config").long("config").value_name("FILE").help("file with one `name = value` a line");
    let settings = SETTINGS.iter().map(|setting| {
        Arg::new(setting.name).long(setting.name.replace('_', "-")).value_name("VALUE").help(setting.help)
    });
    let serve = Command::new("serve")
        .about("Serve a data directory over the PostgreSQL wire protocol")
        .after_help(
            "Every setting can stand in the file, in the environment (TERTULIA_ and its name in capitals) or here; a \
             later one wins.\nTERTULIA_PASSWORD sets the superuser's password at the first start; without it one is \
             made and written to DIR/pgpass.",
        )
        .arg(config)
        .args(settings);
    let url = Arg::new("url").long("url").value_name("URL").help("run against this server instead of an embedded one");
    let demo =
        Command::new("demo").about("Run the chat workload with real clients and print it as it happens").arg(url);
    let map_size = SETTINGS.iter().find(|setting| setting.name == "map_size").expect("is a setting");
    let check = Command::new("check")
        .about("Verify a data directory that no server has open: its log, its store, and that they agree")
        .after_help("Changes nothing. The exit status is 0 where everything is sound and 1 where there is damage.")
        .arg(Arg::new("dir").value_name("DIR").required(true).help("the data directory"))
        .arg(Arg::new("map_size").long("map-size").value_name("VALUE").help(map_size.help));
    Command::new("tertulia")
        .about("The database for chat applications that speaks the PostgreSQL wire protocol")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(serve)
        .subcommand(demo)
        .subcommand(check)
}

fn serve(arguments: &ArgMatches) -> Result<()> {
    let config = configuration(arguments)?;
    start_log(&config.log)?;
    tertulia::server::run(config, std::env::var("TERTULIA_PASSWORD").ok())
}

fn demo(arguments: &ArgMatches) -> Result<()> {
    start_log("warn")?;
    let url = arguments.get_one::<String>("url").cloned().or_else(|| std::env::var("TERTULIA_URL").ok());
    tertulia::demo::run(url.as_deref())
}

fn check(arguments: &ArgMatches) -> Result<()> {
    let mut config = Config::default();
    if let Some(value) = arguments.get_one::<String>("map_size") {
        config.set("map_size", value)?;
    }
    let dir = arguments.get_one::<String>("dir").expect("clap requires it");
    let report = tertulia::check::run(Path::new(dir), config.map_size, &Bar::default())?;
    for line in report.figures {
        println!("{line}");
    }
    for line in report.notes {
        println!("note: {line}");
    }
    for line in &report.findings {
        println!("damage: {line}");
    }
    match report.damaged {
        0 => {
            println!("no damage found");
            Ok(())
        }
        count => {
            let message = format!("data directory \"{dir}\" is damaged in {count} places");
            Err(Error::new(SqlState::DATA_CORRUPTED, message).hint("Restore it from a backup."))
        }
    }
}

/// A progress bar on a terminal; nothing elsewhere.
#[derive(Default)]
struct Bar(RefCell<Option<ProgressBar>>);

impl Progress for Bar {
    fn begin(&self, pass: &str, steps: u64) {
        let template =
            if steps == 0 { "{msg:14} {pos} {spinner}" } else { "{msg:14} {wide_bar} {percent:>3} %  {eta}" };
        let style = ProgressStyle::with_template(template).expect("the template is well formed");
        let bar = if steps == 0 { ProgressBar::new_spinner() } else { ProgressBar::new(steps) };
        let bar = bar.with_style(style).with_message(pass.to_owned());
        if let Some(before) = self.0.replace(Some(bar)) {
            before.finish_and_clear();
        }
    }

    fn advance(&self, steps: u64) {
        if let Some(bar) = &*self.0.borrow() {
            bar.inc(steps);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}

/// Defaults, then the file, the environment and the flags.
fn configuration(arguments: &ArgMatches) -> Result<Config> {
    let mut config = Config::default();
    let file = arguments.get_one::<String>("config").cloned().or_else(|| std::env::var("TERTULIA_CONFIG").ok());
    if let Some(path) = file {
        config.apply_file(Path::new(&path))?;
    }
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    config.apply_environment(variables)?;
    for setting in SETTINGS {
        if let Some(value) = arguments.get_one::<String>(setting.name) {
            config.set(setting.name, value)?;
        }
    }
    config.check()?;
    Ok(config)
}

fn start_log(directives: &str) -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(directives).map_err(|error| {
        Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid value for parameter \"log\": {error}"))
    })?;
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colours).with_env_filter(filter).init();
    Ok(())
}

fn report(error: &Error) {
    let fields = error.fields();
    eprintln!("tertulia: {}", fields.message);
    for (label, text) in
        [("detail", &fields.detail), ("hint", &fields.hint), ("in", &fields.context), ("cause", &fields.internal)]
    {
        if let Some(text) = text {
            eprintln!("  {label}: {text}");
        }
    }
}
