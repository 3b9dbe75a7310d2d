//! What is seen each second.

use crate::common::process::anonymous_bytes;
use crate::load::Clients;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// One second.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Seconds since the start.
    pub at: f64,
    /// Operations a second.
    pub rate: f64,
    /// Milliseconds.
    pub p50: f64,
    /// Milliseconds.
    pub p99: f64,
    /// Milliseconds.
    pub max: f64,
    /// Bytes of the server's memory, files that it maps not counted.
    pub memory: u64,
    /// Bytes that the log takes on the disk.
    pub log: u64,
    /// Bytes that the folded store takes.
    pub store: u64,
}

/// All of them, and the latencies of the whole run.
pub struct Samples {
    pub seconds: Vec<Sample>,
    /// Microseconds, sorted.
    pub latencies: Vec<u32>,
}

/// Takes samples.
pub struct Sampler {
    pid: u32,
    data: PathBuf,
    start: Instant,
    last: Instant,
    seconds: Vec<Sample>,
    latencies: Vec<u32>,
}

impl Sampler {
    pub fn start(pid: u32, data: &Path) -> Sampler {
        let now = Instant::now();
        Sampler { pid, data: data.to_owned(), start: now, last: now, seconds: Vec::new(), latencies: Vec::new() }
    }

    /// Looks at what happened since the last time.
    pub fn take(&mut self, clients: &Clients) {
        let mut latencies = std::mem::take(&mut *clients.latencies.borrow_mut());
        let now = Instant::now();
        let rate = latencies.len() as f64 / (now - self.last).as_secs_f64();
        latencies.sort_unstable();
        self.seconds.push(Sample {
            at: (now - self.start).as_secs_f64(),
            rate,
            p50: milliseconds(&latencies, 0.5),
            p99: milliseconds(&latencies, 0.99),
            max: milliseconds(&latencies, 1.0),
            memory: anonymous_bytes(self.pid),
            log: disk_bytes(&self.data.join("log")) + disk_bytes(&self.data.join("bulk")),
            store: disk_bytes(&self.data.join("index")),
        });
        self.latencies.extend(latencies);
        self.last = now;
    }

    pub fn finish(mut self) -> Samples {
        self.latencies.sort_unstable();
        Samples { seconds: self.seconds, latencies: self.latencies }
    }
}

/// A quantile of sorted microseconds, in milliseconds.
pub fn milliseconds(sorted: &[u32], quantile: f64) -> f64 {
    let at = (sorted.len().saturating_sub(1) as f64 * quantile).round() as usize;
    sorted.get(at).map_or(0.0, |&micros| f64::from(micros) / 1_000.0)
}

/// What a directory's files take on the disk.
fn disk_bytes(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.blocks() * 512)).sum()
}
