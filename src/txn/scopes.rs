//! User ids and the numbers that stand for them in keys.
//!
//! A number is chosen when a user id is first seen and stored by the first commit that writes in its scope; until then
//! it is known in memory only, which is enough, for there is nothing stored under it. Stored numbers may be forgotten
//! and read again, so memory is bounded; those not stored yet are kept, and the maintenance thread stores them when
//! they are many.

use crate::encoding::key::{self, Space};
use crate::error::{Error, Result, SqlState};
use crate::limits::{SCOPES_CACHED_MAX, USER_ID_BYTES_MAX};
use crate::storage::StoreSnapshot;
use crate::types::{ScopeId, StorageId, Str};
use bytes::Bytes;
use parking_lot::RwLock;
use std::collections::HashMap;

#[derive(Default)]
struct Known {
    by_name: HashMap<Str, ScopeId>,
    by_scope: HashMap<ScopeId, Name>,
    unstored: usize,
    next: u64,
}

struct Name {
    user: Str,
    stored: bool,
}

/// The user ids that are known in memory.
pub(super) struct Scopes {
    known: RwLock<Known>,
}

impl Scopes {
    /// Continues with the number `next`.
    pub(super) fn new(next: u64) -> Scopes {
        Scopes { known: RwLock::new(Known { next, ..Known::default() }) }
    }

    /// The number of a user id; a new one for a user id never seen. 22023 for an empty or oversize user id.
    pub(super) fn scope_of(&self, user: &str, snapshot: impl FnOnce() -> Result<StoreSnapshot>) -> Result<ScopeId> {
        if let Some(scope) = self.known.read().by_name.get(user.as_bytes()) {
            return Ok(*scope);
        }
        if user.is_empty() || user.len() > USER_ID_BYTES_MAX || user.contains('\0') {
            let message = format!("user id must have 1 to {USER_ID_BYTES_MAX} bytes");
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let mut known = self.known.write();
        if let Some(scope) = known.by_name.get(user.as_bytes()) {
            return Ok(*scope);
        }
        // read under the lock: a number that was stored and forgotten must be found, not given anew
        let stored = snapshot()?.get(&number_key(user))?;
        let scope = match &stored {
            Some(number) => decode_number(number)?,
            None => {
                known.next += 1;
                known.unstored += 1;
                ScopeId(known.next - 1)
            }
        };
        known.add(Str::from(user), scope, stored.is_some());
        Ok(scope)
    }

    /// The user id of a number.
    pub(super) fn user_of(&self, scope: ScopeId, snapshot: impl FnOnce() -> Result<StoreSnapshot>) -> Option<Str> {
        if let Some(name) = self.known.read().by_scope.get(&scope) {
            return Some(name.user.clone());
        }
        let user = Str::from_utf8(snapshot().ok()?.get(&name_key(scope)).ok()??).ok()?;
        self.known.write().add(user.clone(), scope, true);
        Some(user)
    }

    /// The entries that store a number, unless it is stored already.
    pub(super) fn entries_if_unstored(&self, scope: ScopeId) -> Option<[(Bytes, Bytes); 2]> {
        let known = self.known.read();
        let name = known.by_scope.get(&scope)?;
        if name.stored {
            return None;
        }
        Some([
            (Bytes::from(name_key(scope)), name.user.clone().into_bytes()),
            (Bytes::from(number_key(&name.user)), Bytes::copy_from_slice(&scope.0.to_be_bytes())),
        ])
    }

    /// Numbers to be stored by the maintenance thread, when there are many.
    pub(super) fn unstored_if_many(&self) -> Vec<ScopeId> {
        let known = self.known.read();
        if known.unstored < SCOPES_CACHED_MAX / 2 {
            return Vec::new();
        }
        known.by_scope.iter().filter(|(_, name)| !name.stored).map(|(scope, _)| *scope).collect()
    }

    /// Notes that a published commit has stored a number.
    pub(super) fn mark_stored(&self, scope: ScopeId) {
        let mut known = self.known.write();
        let newly = known.by_scope.get_mut(&scope).is_some_and(|name| !std::mem::replace(&mut name.stored, true));
        if newly {
            known.unstored -= 1;
        }
    }
}

impl Known {
    fn add(&mut self, user: Str, scope: ScopeId, stored: bool) {
        if self.by_scope.len() >= SCOPES_CACHED_MAX {
            self.by_scope.retain(|_, name| !name.stored);
            let by_scope = &self.by_scope;
            self.by_name.retain(|_, scope| by_scope.contains_key(scope));
        }
        self.by_name.insert(user.clone(), scope);
        self.by_scope.insert(scope, Name { user, stored });
    }
}

/// Where the user id of a number stands.
fn name_key(scope: ScopeId) -> Vec<u8> {
    key::prefix(Space::ScopeName, StorageId(0), scope)
}

/// Where the number of a user id stands.
fn number_key(user: &str) -> Vec<u8> {
    let mut out = key::prefix(Space::ScopeName, StorageId(1), ScopeId::SHARED);
    out.extend_from_slice(user.as_bytes());
    out
}

/// The range of all stored numbers.
pub(super) fn names_range() -> (Vec<u8>, Vec<u8>) {
    let from = name_key(ScopeId(0));
    let to = key::prefix(Space::ScopeName, StorageId(1), ScopeId(0));
    (from, to)
}

/// The number in a key of [`names_range`].
pub(super) fn scope_in_key(key: &[u8]) -> Result<ScopeId> {
    decode_number(key.get(5..).unwrap_or_default())
}

/// Whether the entry that leads back to this one of [`Space::ScopeName`] is there: from a number to its user id and from
/// a user id to its number.
pub(super) fn is_named_both_ways(
    key: &[u8],
    value: &[u8],
    get: impl FnOnce(&[u8]) -> Result<Option<Bytes>>,
) -> Result<bool> {
    let (from, to) = names_range();
    if (from.as_slice()..to.as_slice()).contains(&key) {
        let number = get(&number_key(&String::from_utf8_lossy(value)))?;
        return Ok(number.is_some_and(|number| key.ends_with(&number)));
    }
    let user = get(&name_key(decode_number(value)?))?;
    Ok(user.is_some_and(|user| key.ends_with(&user)))
}

fn decode_number(bytes: &[u8]) -> Result<ScopeId> {
    let bytes = bytes.try_into().map_err(|_| Error::new(SqlState::DATA_CORRUPTED, "stored user id has no number"))?;
    Ok(ScopeId(u64::from_be_bytes(bytes)))
}
