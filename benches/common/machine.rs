//! The machine that the figures are of.

use serde_json::{Value, json};
use std::fmt;
use std::fs;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::Instant;

/// Syncs whose time is taken.
const SYNCS: usize = 300;
/// Bytes written before each.
const BLOCK: usize = 4 << 10;

/// What a reader must know of the machine.
pub struct Machine {
    /// The processor.
    pub processor: String,
    /// How many of it.
    pub cores: usize,
    /// Memory in GiB.
    pub memory: f64,
    /// The kernel.
    pub kernel: String,
    /// The compiler.
    pub compiler: String,
    /// The commit that was built, with a mark where files differ from it.
    pub commit: String,
    /// Load averages at the start.
    pub load: String,
    /// Microseconds of an fdatasync after 4 KiB into a file that is there already: median and 99 of 100.
    pub sync: (f64, f64),
    /// Unix time.
    pub time: u64,
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn field(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':')).map_or_else(String::new, |(_, value)| value.trim().to_owned())
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Machine {
    /// Looks around.
    pub fn look() -> Machine {
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kilobytes: f64 = memory.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Machine {
            processor: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory: kilobytes / f64::from(1 << 20),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            compiler: output("rustc", &["--version"]),
            commit: output("git", &["describe", "--always", "--dirty"]),
            load: read("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(" "),
            sync: sync_time(),
            time: now.map_or(0, |time| time.as_secs()),
        }
    }
}

impl Machine {
    /// The same for programs.
    pub fn json(&self) -> Value {
        json!({
            "processor": self.processor,
            "cores": self.cores,
            "memory_gib": self.memory,
            "kernel": self.kernel,
            "compiler": self.compiler,
            "commit": self.commit,
            "load": self.load,
            "sync_us": { "median": self.sync.0, "p99": self.sync.1 },
        })
    }
}

/// The disk that both data directories are on.
fn sync_time() -> (f64, f64) {
    let file = tempfile::tempfile().expect("a temporary file");
    file.write_all_at(&vec![0; SYNCS * BLOCK], 0).and_then(|()| file.sync_all()).expect("a file that is there");
    let mut times: Vec<f64> = (0..SYNCS)
        .map(|index| {
            let start = Instant::now();
            file.write_all_at(&[1; BLOCK], (index * BLOCK) as u64).and_then(|()| file.sync_data()).expect("a sync");
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[SYNCS / 2], times[SYNCS * 99 / 100])
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} x {}, {:.0} GiB, Linux {}; load {}",
            self.cores, self.processor, self.memory, self.kernel, self.load
        )?;
        writeln!(out, "fdatasync of the disk: {:.0} us, p99 {:.0} us", self.sync.0, self.sync.1)?;
        write!(out, "{}, commit {}", self.compiler, self.commit)
    }
}
