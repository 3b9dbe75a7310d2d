//! The house rules as data, checked against the sources: layers, doors, lengths, banned words, documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A module imports only from smaller numbers, and from its own number only inside its folder.
const LAYERS: &[(&str, u32)] = &[
    ("config", 0),
    ("env", 0),
    ("error", 0),
    ("interrupt", 0),
    ("limits", 0),
    ("wait", 0),
    ("encoding", 1),
    ("types", 1),
    ("activity", 2),
    ("expr", 2),
    ("storage", 2),
    ("catalog", 3),
    ("change", 4),
    ("table", 5),
    ("topic", 5),
    ("txn", 6),
    ("check", 7),
    ("live", 7),
    ("maintenance", 7),
    ("sql", 8),
    ("auth", 9),
    ("session", 9),
    ("wire", 10),
    ("demo", 11),
    ("server", 11),
];

/// Pairs on one layer that may import in this direction, each with its reason.
const SIDEWAYS: &[(&str, &str, &str)] = &[
    ("config", "error", "settings refuse bad values with errors"),
    ("config", "limits", "defaults stand in limits"),
    ("interrupt", "error", "an interrupt becomes an error"),
    ("encoding", "types", "keys and rows are made of values"),
    ("demo", "server", "the demonstration starts a server of its own"),
];

/// One door for each dependency: the places that may name it.
const DOORS: &[(&str, &[&str])] = &[
    ("heed", &["src/storage/"]),
    ("sqlparser", &["src/sql/parse/", "src/sql/bind/", "src/sql/ddl/"]),
    ("pgwire", &["src/wire/", "src/auth/"]),
    ("postgres_protocol", &["src/auth/", "src/sql/parse/role.rs", "src/wire/"]),
    ("tokio", &["src/wire/", "src/server/", "src/demo/", "src/main.rs"]),
    ("tokio_postgres", &["src/demo/"]),
    ("futures", &["src/wire/", "src/server/", "src/demo/"]),
    ("jiff", &["src/types/"]),
    ("bigdecimal", &["src/types/", "src/expr/library/math.rs"]),
    ("serde_json", &["src/types/", "src/live/", "src/demo/"]),
    ("indicatif", &["src/main.rs"]),
    ("clap", &["src/main.rs", "src/config.rs", "src/config/"]),
    ("rustix", &["src/storage/"]),
    ("getrandom", &["src/env.rs"]),
];

/// Words that are not to be used, what to use instead, and where they are right all the same.
const BANNED: &[(&str, &str, &[&str])] = &[
    ("SystemTime::now", "env::Env::now", &["src/env.rs"]),
    ("Instant::now", "env::Env::monotonic", &["src/env.rs", "src/demo/"]),
    ("thread_rng", "env::Env::fill_random", &[]),
    (
        "std::fs",
        "storage",
        &["src/storage/", "src/main.rs", "src/config.rs", "src/config/", "src/server/", "src/demo/"],
    ),
    ("println!", "tracing", &["src/main.rs", "src/demo/"]),
    ("dbg!(", "tracing", &[]),
    ("todo!(", "the real thing", &[]),
    ("unimplemented!(", "Error::unsupported", &[]),
    ("TODO", "an issue", &[]),
    ("FIXME", "an issue", &[]),
    ("#[allow", "#[expect(lint, reason = \"…\")]", &[]),
    ("#[ignore", "a test that runs", &[]),
    (".unwrap()", "expect(\"why it cannot fail\")", &[]),
    ("thread::sleep", "a wait::Wait", &[]),
];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const FUNCTION_LINES_P90: usize = 30;

struct Source {
    path: String,
    /// The file without its tests.
    code: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn collect(dir: &Path, extension: &str, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            collect(&path, extension, out);
        } else if path.extension().is_some_and(|found| found == extension) {
            out.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    collect(&root().join("src"), "rs", &mut paths);
    paths.sort();
    let relative = |path: &Path| path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    let load = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap().to_owned();
        Source { path: relative(&path), code }
    };
    paths.into_iter().map(load).filter(|source| !source.path.ends_with("/tests.rs")).collect()
}

/// The line without comment and string contents, roughly: enough to look for words of code.
fn code_of(line: &str) -> &str {
    let line = line.split(" //").next().unwrap_or(line);
    if line.trim_start().starts_with("//") { "" } else { line }
}

fn module_of(path: &str) -> &str {
    let inner = path.strip_prefix("src/").unwrap();
    inner.split('/').next().unwrap().trim_end_matches(".rs")
}

fn report(title: &str, found: &[String]) {
    assert!(found.is_empty(), "{title}:\n  {}", found.join("\n  "));
}

#[test]
fn modules_import_only_from_layers_below() {
    let layers: BTreeMap<&str, u32> = LAYERS.iter().copied().collect();
    let mut found = Vec::new();
    for source in sources() {
        let module = module_of(&source.path);
        if ["lib", "main"].contains(&module) {
            continue;
        }
        let Some(own) = layers.get(module) else {
            found.push(format!("{}: module {module} has no layer", source.path));
            continue;
        };
        for (number, line) in source.code.lines().enumerate() {
            for (at, _) in code_of(line).match_indices("crate::") {
                let rest = &line[at + 7..];
                let target = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
                let allowed = target == module
                    || SIDEWAYS.iter().any(|(from, to, _)| *from == module && *to == target)
                    || layers.get(target).is_some_and(|layer| layer < own);
                if !allowed && !target.is_empty() {
                    found.push(format!("{}:{}: {module} ({own}) imports {target}", source.path, number + 1));
                }
            }
        }
    }
    report("imports against the layer order", &found);
}

#[test]
fn every_dependency_has_one_door() {
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in source.code.lines().enumerate() {
            for (name, places) in DOORS {
                let code = code_of(line);
                let named = code.match_indices(&format!("{name}::")).any(|(at, _)| {
                    at == 0 || !code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':')
                });
                if named && !places.iter().any(|place| source.path.starts_with(place)) {
                    found.push(format!("{}:{}: {name} belongs to {places:?}", source.path, number + 1));
                }
            }
        }
    }
    report("dependencies outside their door", &found);
}

#[test]
fn banned_words_do_not_occur() {
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in source.code.lines().enumerate() {
            for (word, instead, places) in BANNED {
                let hit =
                    code_of(line).contains(word) || (word.chars().all(char::is_alphabetic) && line.contains(word));
                if hit && !places.iter().any(|place| source.path.starts_with(place)) {
                    found.push(format!("{}:{}: {word}, use {instead}", source.path, number + 1));
                }
            }
        }
    }
    report("banned words", &found);
}

#[test]
fn files_begin_with_their_purpose_and_stay_short() {
    let mut found = Vec::new();
    for source in sources() {
        if !source.code.starts_with("//!") {
            found.push(format!("{}: does not begin with //!", source.path));
        }
        let lines = source.code.lines().count();
        if lines > FILE_LINES_MAX {
            found.push(format!("{}: {lines} lines without tests, at most {FILE_LINES_MAX}", source.path));
        }
    }
    report("files", &found);
}

/// Name, first line and length of each function, found by the indentation that rustfmt gives.
fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    let mut functions = Vec::new();
    let mut open: Option<(String, usize, String)> = None;
    for (number, line) in source.code.lines().enumerate() {
        let indent = &line[..line.len() - line.trim_start().len()];
        if let Some((name, start, end)) = &open {
            if line == end {
                functions.push((name.clone(), start + 1, number - start + 1));
                open = None;
            }
            continue;
        }
        let words = line.trim_start();
        let is_function =
            ["fn ", "pub fn ", "async fn ", "pub async fn ", "pub(crate) fn ", "pub(super) fn ", "const fn "]
                .iter()
                .any(|start| words.starts_with(start));
        if is_function && !line.ends_with(';') && !line.ends_with('}') {
            let name = words.split("fn ").nth(1).unwrap().split(['(', '<']).next().unwrap().to_owned();
            open = Some((name, number, format!("{indent}}}")));
        }
    }
    functions
}

#[test]
fn functions_stay_short() {
    let mut found = Vec::new();
    let mut lengths = Vec::new();
    for source in sources() {
        for (name, line, length) in functions(&source) {
            lengths.push(length);
            if length > FUNCTION_LINES_MAX {
                found.push(format!("{}:{line}: {name} has {length} lines, at most {FUNCTION_LINES_MAX}", source.path));
            }
        }
    }
    report("functions", &found);
    lengths.sort_unstable();
    let p90 = lengths[lengths.len() * 9 / 10];
    assert!(p90 <= FUNCTION_LINES_P90, "nine of ten functions have at most {p90} lines, wanted {FUNCTION_LINES_P90}");
}

#[test]
fn public_items_are_documented() {
    let lib = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(lib.contains("missing_docs = \"warn\""), "clippy with warnings denied checks the documentation");
}

#[test]
fn what_the_architecture_names_exists() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let named: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    let all: String = sources().iter().fold(String::new(), |mut all, source| {
        let _ = write!(all, "{}", source.code);
        all
    });
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words: BTreeSet<&str> = all.split(|c| !is_part(c)).collect();
    let mut missing = BTreeSet::new();
    let mut functions = 0;
    for piece in named {
        let name = piece.trim_end_matches("()").rsplit("::").next().unwrap();
        let exists = if piece.ends_with("()") {
            functions += 1;
            all.contains(&format!("fn {name}(")) || all.contains(&format!("fn {name}<"))
        } else if piece.starts_with("src/") || piece.starts_with("tests/") {
            root().join(piece).exists()
        } else if piece.starts_with(char::is_uppercase) && piece.chars().all(|c| is_part(c) || c == ':') {
            words.contains(name)
        } else {
            true
        };
        if !exists {
            missing.insert(piece.to_owned());
        }
    }
    assert!(functions >= 20, "ARCHITECTURE.md tells its journeys through functions, `like_this()`; found {functions}");
    report("functions, types, bounds and files that ARCHITECTURE.md names and nobody has", &Vec::from_iter(missing));
}
