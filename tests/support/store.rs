//! The folded store of a data directory, changed behind the server's back.

use heed::types::{Bytes, Str};
use heed::{Database, Env, EnvOpenOptions};
use std::path::Path;

/// Keys and values of the store, in order.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Opens the store of a directory that no server has.
fn open(data: &Path) -> Env {
    let mut options = EnvOpenOptions::new();
    options.map_size(4 << 30).max_dbs(4);
    // SAFETY: no server has the directory, and each test has one of its own
    unsafe { options.open(data.join("index")) }.unwrap()
}

/// Changes the entries.
pub fn tamper(data: &Path, change: impl FnOnce(&mut Entries)) {
    let env = open(data);
    let txn = env.write_txn().unwrap();
    let opened = env.create_databases_and_commit(txn, |opener, txn| -> heed::Result<_> {
        Ok(heed::CommitOrAbort::<_, ()>::Commit(opener.create_database::<Bytes, Bytes>(txn, Some("map"))?))
    });
    let map: Database<Bytes, Bytes> = opened.unwrap().unwrap_commit();
    let mut txn = env.write_txn().unwrap();
    let entries = map.iter(&txn).unwrap().map(|entry| entry.unwrap());
    let mut entries: Entries = entries.map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
    change(&mut entries);
    map.clear(&mut txn).unwrap();
    for (key, value) in entries {
        map.put(&mut txn, &key, &value).unwrap();
    }
    txn.commit().unwrap();
}

/// Cuts the position that the store says it is complete up to.
pub fn tamper_with_position(data: &Path) {
    let env = open(data);
    let txn = env.write_txn().unwrap();
    let opened = env.create_databases_and_commit(txn, |opener, txn| -> heed::Result<_> {
        Ok(heed::CommitOrAbort::<_, ()>::Commit(opener.create_database::<Str, Bytes>(txn, Some("meta"))?))
    });
    let meta: Database<Str, Bytes> = opened.unwrap().unwrap_commit();
    let mut txn = env.write_txn().unwrap();
    let names: Vec<String> = meta.iter(&txn).unwrap().map(|entry| entry.unwrap().0.to_owned()).collect();
    assert_eq!(names, ["position"]);
    meta.put(&mut txn, "position", b"odd").unwrap();
    txn.commit().unwrap();
}

/// Puts a store in its place that has nothing at all.
pub fn make_empty(data: &Path) {
    std::fs::remove_file(data.join("index/data.mdb")).unwrap();
    drop(open(data));
}

/// Whether an entry is of a space: catalog entries are 1, counters and marks 2, rows 3, index entries 4, messages 5,
/// groups 6, user ids 8.
pub fn is_of(space: u8) -> impl Fn(&(Vec<u8>, Vec<u8>)) -> bool {
    move |(key, _)| key[0] == space
}
