//! `tertulia check`: verifies a data directory offline, without changing it.
//!
//! Three passes: every segment of the log is read and its checksums compared; the store as the next start would find
//! it (LMDB with the log after its position) is walked in key order, each entry decoded and compared with what belongs
//! to it; and every write that the log still has is compared with the store. Memory is bounded whatever the size.

mod agreement;
mod contents;
mod rows;

use crate::error::{Error, Result, SqlState};
use crate::limits::CHECK_FINDINGS_MAX;
use crate::storage::Index;
use crate::storage::datadir::DataDir;
use crate::storage::disk::{Disk, RealDisk};
use crate::storage::log::{self, Scan};
use crate::txn::Inspection;
use std::path::Path;
use std::sync::Arc;

/// Hears how far a check has come.
pub trait Progress {
    /// A pass begins that has about so many steps.
    fn begin(&self, pass: &str, steps: u64);
    /// Some of them are done.
    fn advance(&self, steps: u64);
}

/// What a check has found.
#[derive(Debug, Default)]
pub struct Report {
    /// Figures, a line each.
    pub figures: Vec<String>,
    /// What is no damage but worth knowing, a line each.
    pub notes: Vec<String>,
    /// Damage, a line each, the first [`CHECK_FINDINGS_MAX`].
    pub findings: Vec<String>,
    /// How many findings there were in all.
    pub damaged: u64,
}

impl Report {
    fn damage(&mut self, what: String) {
        self.damaged += 1;
        if self.findings.len() < CHECK_FINDINGS_MAX {
            self.findings.push(what);
        }
    }

    fn error(&mut self, error: &Error) {
        let fields = error.fields();
        self.damage(match &fields.detail {
            Some(detail) => format!("{} ({detail})", fields.message),
            None => fields.message.clone(),
        });
    }
}

/// Checks a data directory that no server has open. `map_size` is the setting of that name.
///
/// # Errors
/// What keeps the check from being made: the directory is none, a server has it, a file cannot be read. Damage is in
/// the report.
pub fn run(dir: &Path, map_size: usize, progress: &dyn Progress) -> Result<Report> {
    let dir = DataDir::open_existing(dir)?;
    let index = || Index::lmdb_to_read(&dir.store(), map_size);
    run_on(Arc::new(RealDisk::new()), dir.path(), index, progress)
}

/// The same of a directory on any disk, whose index `index` opens; nobody else may use it meanwhile.
///
/// # Errors
/// As of [`run`].
pub fn run_on(
    disk: Arc<dyn Disk>,
    dir: &Path,
    index: impl FnOnce() -> Result<Index>,
    progress: &dyn Progress,
) -> Result<Report> {
    let mut report = Report::default();
    let scan = check_log(&*disk, &dir.join("log"), &mut report, progress)?;
    if report.damaged > 0 {
        report.notes.push("the tables were not checked, for they are what the log says".to_owned());
        return Ok(report);
    }
    match index().and_then(|index| Inspection::open(disk, dir, index, scan)) {
        Ok(inspection) => check_recovered(&inspection, &mut report, progress)?,
        Err(error) => report.error(&error),
    }
    Ok(report)
}

fn check_log(disk: &dyn Disk, dir: &Path, report: &mut Report, progress: &dyn Progress) -> Result<Scan> {
    progress.begin("commit log", log::stored_bytes(disk, dir)?);
    let mut damage = |error: Error| {
        report.error(&error);
        Ok(())
    };
    let scan = log::scan(disk, dir, &mut damage, &mut |bytes| progress.advance(bytes))?;
    let (segments, bytes, last) = (scan.segments(), scan.bytes(), scan.report.last);
    report.figures.push(format!("commit log: {segments} segments, {bytes} bytes of records, last commit {last}"));
    if let Some(place) = &scan.report.tail_cut {
        report
            .notes
            .push(format!("the commit log ends in an unfinished write ({place}), which the next start cuts off"));
    }
    Ok(scan)
}

fn check_recovered(inspection: &Inspection, report: &mut Report, progress: &dyn Progress) -> Result<()> {
    let (position, replayed) = (inspection.position, inspection.replayed);
    report.figures.push(format!("store: folded up to commit {position}, {replayed} later commits in the log alone"));
    for pass in [contents::check, agreement::check] {
        match pass(inspection, report, progress) {
            Err(error) if [SqlState::DATA_CORRUPTED, SqlState::UNDEFINED_FILE].contains(&error.code()) => {
                report.error(&error);
            }
            other => other?,
        }
    }
    Ok(())
}
