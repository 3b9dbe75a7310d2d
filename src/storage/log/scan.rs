//! Looking through all segments of a log, without changing any.

use super::LogReport;
use super::segment::{Segment, Walk, corrupt};
use crate::error::{Error, Result, SqlState};
use crate::storage::disk::Disk;
use crate::types::CommitSeq;
use std::collections::VecDeque;
use std::path::Path;

/// What the files of a log hold.
#[derive(Default)]
pub struct Scan {
    pub(super) segments: VecDeque<Segment>,
    /// Where its records end, and how.
    pub report: LogReport,
}

impl Scan {
    /// Segments with records, or room for them.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Whether the log reaches the commit up to which the store has everything: where it does not, what it lacks is no
    /// unfinished write.
    ///
    /// # Errors
    /// XX001 with the place where it ends.
    pub fn check_end(&self, settled: CommitSeq) -> Result<()> {
        let last = self.report.last;
        if last >= settled {
            return Ok(());
        }
        let what = format!("the log ends at commit {last} but the store is at commit {settled}");
        Err(match self.segments.back() {
            Some(segment) => corrupt(&segment.name, segment.end, &what),
            None => Error::new(SqlState::DATA_CORRUPTED, format!("commit log is missing: {what}"))
                .hint("Restore the data directory as a whole."),
        })
    }

    /// Bytes of records.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.end).sum()
    }
}

/// Bytes that the segments of a directory take.
pub fn stored_bytes(disk: &dyn Disk, directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for name in disk.list(directory)?.into_iter().filter(|name| name.ends_with(".log")) {
        bytes += disk.open(&directory.join(name))?.len()?;
    }
    Ok(bytes)
}

/// Reads every segment of a directory. Each damage is given to `on_damage` (XX001 with its place), whose error ends the
/// scan; after damage it goes on with the next segment. `progress` hears the bytes of each segment that was read.
pub fn scan(
    disk: &dyn Disk,
    directory: &Path,
    on_damage: &mut dyn FnMut(Error) -> Result<()>,
    progress: &mut dyn FnMut(u64),
) -> Result<Scan> {
    let mut scan = Scan::default();
    for name in disk.list(directory)?.into_iter().filter(|name| name.ends_with(".log")) {
        let file = disk.open(&directory.join(&name))?;
        match Segment::open(&name, file) {
            Ok(segment) => scan.add(segment, on_damage, progress)?,
            Err(error) => on_damage(error)?,
        }
    }
    if let Some(last) = scan.segments.back() {
        last.check_is_last().or_else(on_damage)?;
    }
    Ok(scan)
}

impl Scan {
    fn add(
        &mut self,
        mut segment: Segment,
        on_damage: &mut dyn FnMut(Error) -> Result<()>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<()> {
        if let Some(before) = self.segments.back() {
            let torn = self.report.tail_cut.take().is_some();
            if before.last != segment.previous || torn {
                let what = match before.last == segment.previous {
                    true => format!("what stands there is no record, though segment {} follows", segment.name),
                    false => format!(
                        "it ends at commit {}, but the next segment, {}, continues after commit {}",
                        before.last, segment.name, segment.previous
                    ),
                };
                on_damage(corrupt(&before.name, before.end, &what))?;
            }
        }
        match segment.walk() {
            Ok(Walk::Clean) => {}
            Ok(Walk::Torn) => {
                self.report.tail_cut = Some(format!("segment {}, offset {}", segment.name, segment.end));
            }
            Err(error) => on_damage(error)?,
        }
        progress(segment.capacity);
        self.report.last = segment.last;
        self.segments.push_back(segment);
        Ok(())
    }
}
