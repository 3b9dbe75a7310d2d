//! What can be locked, and the short form in which rows stand in the table.

use crate::catalog::{CatalogKey, CatalogName};
use crate::env::Env;
use crate::types::Oid;
use bytes::Bytes;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// What can be locked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LockKey {
    /// An entry of the catalog: in mode Exclusive by who changes it, in AccessExclusive by who
    /// removes it, in AccessShare by who adds something that needs it.
    Entry(CatalogKey),
    /// A name in the catalog, by who gives it to an object.
    Name(CatalogName),
    /// A relation.
    Relation(Oid),
    /// A row of a table, present or not, by its key in the ordered map.
    Row(Oid, Bytes),
    /// Another key of the ordered map: an entry of a unique constraint, a mark.
    Key(Bytes),
    /// A number that only applications know the meaning of.
    Advisory(AdvisoryKey),
}

/// The number of an advisory lock, as pg_locks shows it. There is one database in a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdvisoryKey {
    /// The high half of a bigint, or the first of two integers.
    pub class: u32,
    /// The low half of a bigint, or the second of two integers.
    pub object: u32,
    /// 1 for a bigint, 2 for two integers: the two kinds do not meet.
    pub sub: u16,
}

impl AdvisoryKey {
    /// pg_advisory_lock(bigint)
    pub fn of_bigint(key: i64) -> AdvisoryKey {
        AdvisoryKey { class: (key as u64 >> 32) as u32, object: key as u32, sub: 1 }
    }

    /// pg_advisory_lock(int, int)
    pub fn of_pair(first: i32, second: i32) -> AdvisoryKey {
        AdvisoryKey { class: first as u32, object: second as u32, sub: 2 }
    }
}

/// Objects that are locked by name: few at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Object {
    Entry(CatalogKey),
    Relation(Oid),
    Advisory(AdvisoryKey),
}

/// A row or key as the table knows it: a keyed hash of it, whose lowest four bits are free for other use.
///
/// A lock must cost a few dozen bytes however long the key is. With 124 bits of a hash whose secret nobody knows, two
/// keys that share one are not to be found; and should it happen by chance, one transaction waits for another without
/// need, which is harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RowKey([u64; 2]);

impl RowKey {
    const FREE: u64 = 15;

    /// The key with four bits of something else beside it.
    pub(super) fn with(self, bits: u8) -> RowKey {
        RowKey([self.0[0] | u64::from(bits) & Self::FREE, self.0[1]])
    }

    /// The key alone, and what was beside it.
    pub(super) fn split(self) -> (RowKey, u8) {
        (RowKey([self.0[0] & !Self::FREE, self.0[1]]), (self.0[0] & Self::FREE) as u8)
    }

    pub(super) fn shard(self, shards: usize) -> usize {
        (self.0[0] >> 4) as usize % shards
    }
}

impl Hash for RowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[1]);
    }
}

/// Takes a [`RowKey`] as the hash that it is.
#[derive(Default)]
pub(super) struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _: &[u8]) {
        debug_assert!(false, "only row keys are hashed so");
    }
}

pub(super) type ByRowKey = BuildHasherDefault<AlreadyHashed>;

/// The secret of this run's hashes.
pub(super) struct Secret(u64, u64);

impl Secret {
    pub(super) fn new(env: &dyn Env) -> Secret {
        Secret(env.random_u64(), env.random_u64())
    }

    pub(super) fn row(&self, key: &[u8]) -> RowKey {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        hasher.write(key);
        row_key(&hasher)
    }

    /// Names are as many as a transaction likes to give, and long.
    fn name(&self, name: &CatalogName) -> RowKey {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1 ^ 1);
        name.hash(&mut hasher);
        row_key(&hasher)
    }

    pub(super) fn object(&self, object: &Object) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        object.hash(&mut hasher);
        hasher.finish128().h1
    }
}

fn row_key(hasher: &SipHasher13) -> RowKey {
    let hash = hasher.finish128();
    RowKey([hash.h1 & !RowKey::FREE, hash.h2])
}

/// Where a lock stands: among the objects, or among the rows (with the table, where it is a row of one).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Object(Object),
    Row(RowKey, Option<Oid>),
}

impl Place {
    pub(super) fn of(key: &LockKey, secret: &Secret) -> Place {
        match key {
            LockKey::Entry(key) => Place::Object(Object::Entry(*key)),
            LockKey::Name(name) => Place::Row(secret.name(name), None),
            LockKey::Relation(oid) => Place::Object(Object::Relation(*oid)),
            LockKey::Advisory(key) => Place::Object(Object::Advisory(*key)),
            LockKey::Row(relation, key) => Place::Row(secret.row(key), Some(*relation)),
            LockKey::Key(key) => Place::Row(secret.row(key), None),
        }
    }
}
