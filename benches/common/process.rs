//! What a server's processes use, as the kernel counts it.

use std::fs;
use std::time::Duration;

/// Length of the kernel's tick in /proc, whatever its own is.
const TICK: Duration = Duration::from_millis(10);

/// Private memory of a process and its children. What they share (buffers, program text) is counted for none of them.
pub fn private_bytes(pid: u32) -> u64 {
    family(pid).into_iter().filter_map(private_bytes_of).sum()
}

/// Memory of a process that is not of mapped files: those are the kernel's to give back.
pub fn anonymous_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) << 10
}

/// Processor time so far of a process's threads of this name, which the kernel counts in nanoseconds.
pub fn thread_time(pid: u32, name: &str) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let time_of = |thread: fs::DirEntry| -> Option<u64> {
        let is_named = fs::read_to_string(thread.path().join("comm")).ok()?.trim() == name;
        let schedule = is_named.then(|| fs::read_to_string(thread.path().join("schedstat")).ok())??;
        schedule.split_whitespace().next()?.parse().ok()
    };
    Duration::from_nanos(threads.filter_map(|thread| time_of(thread.ok()?)).sum())
}

/// Processor time of a process and its children so far, user and system.
pub fn processor_time(pid: u32) -> Duration {
    TICK * family(pid).into_iter().filter_map(ticks).sum()
}

/// Processor time of this process alone: the client's.
fn own_processor_time() -> Duration {
    TICK * ticks(std::process::id()).unwrap_or(0)
}

fn ticks(pid: u32) -> Option<u32> {
    let stat = stat(pid)?;
    let mut fields = stat.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u32>().ok()? + fields.next()?.parse::<u32>().ok()?)
}

/// Processor time that a server and its client take between two moments.
pub struct Watch {
    pid: u32,
    before: (Duration, Duration),
}

impl Watch {
    /// Begins to count.
    pub fn start(pid: u32) -> Watch {
        Watch { pid, before: (processor_time(pid), own_processor_time()) }
    }

    /// What the server and the client took since.
    pub fn read(&self) -> (Duration, Duration) {
        (processor_time(self.pid) - self.before.0, own_processor_time() - self.before.1)
    }
}

fn family(pid: u32) -> Vec<u32> {
    let children = fs::read_dir("/proc").expect("/proc").filter_map(|entry| {
        let child: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let parent: u32 = stat(child)?.split_whitespace().nth(1)?.parse().ok()?;
        (parent == pid).then_some(child)
    });
    std::iter::once(pid).chain(children).collect()
}

/// The fields of /proc/PID/stat from the state on: what is before may hold anything.
fn stat(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.to_owned())
}

fn private_bytes_of(pid: u32) -> Option<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let private = maps.lines().filter(|line| line.starts_with("Private_"));
    Some(private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum::<u64>() << 10)
}
