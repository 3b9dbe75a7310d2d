//! What the log says against what the store holds: the last write of each key in the log is what the store must have.

use super::{Progress, Report};
use crate::encoding::key::{Space, place_of};
use crate::error::Result;
use crate::limits::CHECK_KEYS_MAX;
use crate::txn::{Inspection, LoggedWrite};
use crate::types::StorageId;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

/// Compares every key that the log still has. Keys are taken in parts by their hashes, so that memory is bounded: each
/// part reads the log twice, once to learn which write of a key is the last and once to compare it.
pub(super) fn check(inspection: &Inspection, report: &mut Report, progress: &dyn Progress) -> Result<()> {
    let alive = storages(inspection);
    let is_kept = |write: &LoggedWrite| {
        place_of(&write.key).is_none_or(|(space, storage, _)| {
            // what was dropped is freed without a word in the log
            space != Space::Row as u8 && space != Space::Index as u8 && space != Space::Topic as u8
                || alive.contains(&storage)
        })
    };
    let mut writes = 0;
    inspection.for_each_logged(|_| {
        writes += 1;
        Ok(())
    })?;
    let parts = (writes / CHECK_KEYS_MAX as u64).max(1);
    progress.begin("log and store", writes * 2 * parts);
    let hasher = RandomState::new();
    let mut compared: u64 = 0;
    for part in 0..parts {
        let in_part = |write: &LoggedWrite| {
            progress.advance(1);
            let hash = hasher.hash_one(&write.key);
            (hash % parts == part && is_kept(write)).then_some(hash)
        };
        // by its number among all writes, for a commit may write a catalog entry twice; two keys of one hash would only
        // leave the earlier one uncompared
        let mut last: HashMap<u64, u64> = HashMap::new();
        let mut number = 0;
        inspection.for_each_logged(|write| {
            number += 1;
            if let Some(hash) = in_part(&write) {
                last.insert(hash, number);
            }
            Ok(())
        })?;
        number = 0;
        inspection.for_each_logged(|write| {
            number += 1;
            let newest = in_part(&write).is_some_and(|hash| last.get(&hash) == Some(&number));
            if newest {
                compared += 1;
                compare(inspection, &write, report)?;
            }
            Ok(())
        })?;
    }
    report.figures.push(format!("log and store: {writes} writes in the log, {compared} of them the last of their key"));
    Ok(())
}

/// The storages that the catalog names.
fn storages(inspection: &Inspection) -> HashSet<StorageId> {
    let relations = inspection.catalog().relations();
    relations.flat_map(|relation| relation.index_storages().chain([relation.storage])).collect()
}

fn compare(inspection: &Inspection, write: &LoggedWrite, report: &mut Report) -> Result<()> {
    let stored = inspection.snapshot().get(&write.key)?;
    if stored == write.value {
        return Ok(());
    }
    let what = match (&stored, &write.value) {
        (None, _) => "lacks",
        (_, None) => "still has",
        _ => "has another value of",
    };
    let (seq, key) = (write.seq, super::contents::shown(&write.key));
    report.damage(format!("the store {what} key {key}, which commit {seq} of the log wrote last"));
    Ok(())
}
