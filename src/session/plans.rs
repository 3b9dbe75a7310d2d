//! Statements that have been read and planned, kept by text for all sessions.
//!
//! Reading and binding cost more than running a point query, and clients send the same few texts again and again, in
//! simple queries too. An entry serves every session that would bind its text to the same meaning: the same role,
//! search path and time zone ([`Environment`]) and the same declared parameter types. A plan made against an older
//! catalog is not served.

use super::prepared::Prepared;
use crate::catalog::Catalog;
use crate::limits::{CACHED_TEXT_BYTES_MAX, CACHED_TEXTS_MAX, CACHED_VARIANTS_MAX};
use crate::sql::bind::BindContext;
use crate::types::{Oid, SqlType, Str, Zone};
use lru::LruCache;
use parking_lot::Mutex;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// What a text's meaning depends on beside the catalog.
#[derive(Debug)]
pub(super) struct Environment {
    /// The current role.
    pub role: Oid,
    /// Schemas to search, `$user` resolved.
    pub search_path: Vec<String>,
    /// The database's name.
    pub database: Str,
    /// The time zone.
    pub zone: Zone,
}

impl Environment {
    /// What a statement of this text is bound against.
    pub(super) fn bind_context<'a>(
        &'a self,
        catalog: &'a Arc<Catalog>,
        text: &'a str,
        params: &'a [SqlType],
        open_params: bool,
    ) -> BindContext<'a> {
        let (search_path, zone) = (&self.search_path[..], &self.zone);
        let database = &self.database;
        BindContext { catalog, role: self.role, search_path, database, text, params, open_params, zone }
    }

    /// Whether a text means the same in both.
    pub(super) fn is_like(&self, other: &Environment) -> bool {
        std::ptr::eq(self, other)
            || (self.role == other.role
                && self.search_path == other.search_path
                && self.zone.name() == other.zone.name())
    }
}

/// What a client asks to have prepared.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The text.
    pub text: &'a str,
    /// Declared parameter types.
    pub declared: &'a [SqlType],
    /// Whether parameters may appear that nobody declared: not in a simple query.
    pub open: bool,
    /// Where the text gets its meaning.
    pub environment: &'a Environment,
    /// The newest catalog's version.
    pub catalog_version: u64,
}

/// The shared cache; the least recently used text goes first.
pub struct PlanCache {
    texts: Mutex<LruCache<Arc<str>, Vec<Arc<Prepared>>>>,
}

impl Default for PlanCache {
    fn default() -> PlanCache {
        let texts = NonZeroUsize::new(CACHED_TEXTS_MAX).expect("the bound is not zero");
        PlanCache { texts: Mutex::new(LruCache::new(texts)) }
    }
}

impl PlanCache {
    /// A statement prepared before, if its meaning is still what it was.
    pub(super) fn get(&self, wanted: Wanted) -> Option<Arc<Prepared>> {
        let mut texts = self.texts.lock();
        let variants = texts.get(wanted.text)?;
        variants.iter().find(|prepared| prepared.serves(wanted)).cloned()
    }

    /// Keeps a statement, in the place of one that it supersedes.
    pub(super) fn put(&self, prepared: &Arc<Prepared>) {
        if prepared.text.len() > CACHED_TEXT_BYTES_MAX {
            return;
        }
        let mut texts = self.texts.lock();
        let variants = texts.get_or_insert_mut(prepared.text.clone(), Vec::new);
        variants.retain(|kept| !prepared.supersedes(kept));
        if variants.len() >= CACHED_VARIANTS_MAX {
            variants.remove(0);
        }
        variants.push(prepared.clone());
    }
}
