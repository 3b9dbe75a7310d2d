//! LOCK TABLE.

use super::Flow;
use super::conversation::Session;
use super::statement::{Outcome, done};
use crate::error::{Error, Result, SqlState};
use crate::sql::ddl::{lockable, require_lock};
use crate::sql::parse::LockTables;
use crate::txn::{LockKey, LockPolicy, Locked};

impl Session {
    /// LOCK TABLE: table after table, as they are named. After a wait it begins again, for the name may mean another
    /// table by now; what it has it keeps.
    pub(super) fn lock_table(&mut self, lock: &LockTables) -> Result<Outcome> {
        if !self.is_in_block() {
            let message = "LOCK TABLE can only be used in transaction blocks";
            return Err(Error::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
        }
        self.ensure_transaction()?;
        let environment = self.environment();
        let policy = if lock.nowait { LockPolicy::NoWait } else { LockPolicy::Wait };
        for name in &lock.names {
            loop {
                let transaction = self.transaction()?;
                let catalog = transaction.catalog();
                let relation = lockable(&catalog, environment.role, &environment.search_path, name)?;
                require_lock(&catalog, environment.role, &relation, lock.mode)?;
                match transaction.lock(LockKey::Relation(relation.oid), lock.mode, policy)? {
                    Locked::Granted => {}
                    Locked::Wait(wait) => return Ok(Outcome::Pause(Flow::Wait(wait))),
                    Locked::NotAvailable => {
                        let message = format!("could not obtain lock on relation \"{}\"", name.display());
                        return Err(Error::new(SqlState::LOCK_NOT_AVAILABLE, message));
                    }
                }
                if transaction.catalog().version == catalog.version {
                    break;
                }
            }
        }
        done("LOCK TABLE")
    }
}
