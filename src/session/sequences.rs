//! Sequences as a session uses them: by name, under its rights, with what it remembers of each.

use super::conversation::Session;
use super::output::Flow;
use super::plans::Environment;
use crate::catalog::{Catalog, Privilege, Privileges, Relation, Schema, Sequence};
use crate::error::{Error, Result, SqlState};
use crate::expr::{IdSource, Identity, Number, Pending, SequenceCall, SequenceName, split_name};
use crate::limits::SEQUENCES_REMEMBERED_MAX;
use crate::txn::{CommitTicket, Counted, Counter, Engine};
use crate::types::{Oid, StorageId};
use crate::wait::Wait;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

/// What a session remembers of the sequences that it has used, until DISCARD.
#[derive(Default)]
pub(super) struct Remembered {
    sequences: HashMap<Oid, Used>,
    /// The one that nextval was last called for.
    last: Option<Oid>,
}

/// A sequence that was used.
struct Used {
    counter: Arc<Counter>,
    storage: StorageId,
    increment: i64,
    /// The number that this session got last, and the last of those that it got with it (CACHE).
    current: Option<(i64, i64)>,
    /// The last transaction that has locked it.
    locked_by: Option<u64>,
}

/// The engine as the giver of numbers to one session.
pub(super) struct Ids<'a> {
    pub(super) engine: &'a Arc<Engine>,
    /// The transaction's catalog; where it has none of its own, the newest once it is asked for.
    pub(super) catalog: OnceCell<Arc<Catalog>>,
    pub(super) identity: &'a Identity,
    pub(super) environment: Option<&'a Environment>,
    pub(super) read_only: bool,
    /// The transaction's number.
    pub(super) transaction: u64,
    pub(super) remembered: RefCell<&'a mut Remembered>,
}

impl IdSource for Ids<'_> {
    fn snowflake(&self) -> i64 {
        self.engine.snowflake()
    }

    fn sequence(&self, call: SequenceCall<'_>, waits: bool) -> Result<Number> {
        match call {
            SequenceCall::Next(name) => self.next(name, waits),
            SequenceCall::Current(name) => self.current(name, waits),
            SequenceCall::Last => self.last(waits),
            SequenceCall::Set { name, value, is_called } => self.set(name, value, is_called, waits),
        }
    }

    fn sequence_locked(&self, sequence: Oid) {
        if let Some(used) = self.remembered.borrow_mut().sequences.get_mut(&sequence) {
            used.locked_by = Some(self.transaction);
        }
    }

    fn blockers(&self, pid: i32) -> Vec<i32> {
        self.engine.lock_blockers(pid)
    }

    fn sequence_state(&self, sequence: Oid) -> Result<(i64, i64, bool)> {
        let relation = self.find(SequenceName::Oid(sequence))?;
        self.require(&relation, &[Privilege::Select])?;
        let state = self.engine.counter(&relation)?.state(counting(&relation)?);
        Ok((state.last, i64::try_from(state.reserved).unwrap_or(i64::MAX), state.is_called))
    }
}

impl Session {
    /// Over when no id that the client is about to see can be given again after a restart: asked before anything goes
    /// out. A log that has failed is reported by the statements that write.
    pub(super) fn wait_for_ids(&mut self) -> Option<Flow> {
        if self.reserving.is_none() {
            self.reserving = self.services.engine.reserve_ids().ok().flatten();
        }
        match &self.reserving {
            Some(ticket) if ticket.poll().is_none() => return Some(Flow::Wait(ticket.wait().firmly())),
            _ => self.reserving = None,
        }
        None
    }
}

impl Ids<'_> {
    fn catalog(&self) -> &Arc<Catalog> {
        self.catalog.get_or_init(|| self.engine.catalog())
    }

    fn next(&self, name: SequenceName, waits: bool) -> Result<Number> {
        let relation = self.find(name)?;
        let sequence = counting(&relation)?;
        self.require(&relation, &[Privilege::Usage, Privilege::Update])?;
        self.refuse_read_only("nextval")?;
        let remembered = &mut **self.remembered.borrow_mut();
        let used = remembered.used(self.engine, &relation, sequence)?;
        if waits && used.locked_by != Some(self.transaction) {
            return Ok(Number::Unlocked(relation.oid));
        }
        let number = match used.current {
            Some((current, cached)) if current != cached => {
                let next = current + sequence.increment;
                used.current = Some((next, cached));
                next
            }
            _ => {
                let numbers = match waits {
                    false => used.counter.next_now(self.engine, sequence, &relation.name)?,
                    true => match used.counter.next(self.engine, sequence, &relation.name)? {
                        Counted::Numbers(numbers) => numbers,
                        Counted::Later(ticket) => return Ok(Number::Later(Box::new(Settled(ticket)))),
                    },
                };
                used.current = Some((numbers.first, numbers.last));
                numbers.first
            }
        };
        remembered.last = Some(relation.oid);
        Ok(Number::Is(number))
    }

    fn current(&self, name: SequenceName, waits: bool) -> Result<Number> {
        let relation = self.find(name)?;
        counting(&relation)?;
        self.require(&relation, &[Privilege::Usage, Privilege::Select])?;
        let remembered = self.remembered.borrow();
        remembered.number(relation.oid, waits.then_some(self.transaction)).ok_or_else(|| {
            let message = format!("currval of sequence \"{}\" is not yet defined in this session", relation.name);
            Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        })
    }

    fn last(&self, waits: bool) -> Result<Number> {
        let undefined = || {
            let message = "lastval is not yet defined in this session";
            Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        };
        let remembered = self.remembered.borrow();
        let last = remembered.last.ok_or_else(undefined)?;
        let relation = self.catalog().relation(last).ok_or_else(undefined)?;
        self.require(relation, &[Privilege::Usage, Privilege::Select])?;
        remembered.number(last, waits.then_some(self.transaction)).ok_or_else(undefined)
    }

    fn set(&self, name: SequenceName, value: i64, is_called: bool, waits: bool) -> Result<Number> {
        let relation = self.find(name)?;
        let sequence = counting(&relation)?;
        self.require(&relation, &[Privilege::Update])?;
        self.refuse_read_only("setval")?;
        if !(sequence.min..=sequence.max).contains(&value) {
            let bounds = format!("({}..{})", sequence.min, sequence.max);
            let message = format!("setval: value {value} is out of bounds for sequence \"{}\" {bounds}", relation.name);
            return Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message));
        }
        let mut remembered = self.remembered.borrow_mut();
        let used = remembered.used(self.engine, &relation, sequence)?;
        if waits && used.locked_by != Some(self.transaction) {
            return Ok(Number::Unlocked(relation.oid));
        }
        let ticket = used.counter.set(self.engine, value, is_called)?;
        used.current = match is_called {
            true => Some((value, value)),
            false => used.current.map(|(current, _)| (current, current)),
        };
        if waits {
            return Ok(Number::After(value, Box::new(ticket)));
        }
        self.engine.finish(&ticket)?;
        Ok(Number::Is(value))
    }

    fn refuse_read_only(&self, function: &str) -> Result<()> {
        if !self.read_only {
            return Ok(());
        }
        let message = format!("cannot execute {function}() in a read-only transaction");
        Err(Error::new(SqlState::READ_ONLY_SQL_TRANSACTION, message))
    }

    fn find(&self, name: SequenceName) -> Result<Arc<Relation>> {
        match name {
            SequenceName::Oid(oid) => self.catalog().relation(oid).cloned().ok_or_else(|| {
                Error::new(SqlState::UNDEFINED_TABLE, format!("relation with OID {} does not exist", oid.0))
            }),
            SequenceName::Text(text) => self.find_named(text),
        }
    }

    fn find_named(&self, text: &str) -> Result<Arc<Relation>> {
        let catalog = self.catalog();
        let parts = split_name(text)?;
        let may_use = |schema: &Schema| {
            let usage = Privileges::of(Privilege::Usage);
            catalog.has_privileges(self.identity.role, schema.owner, &schema.acl, usage)
        };
        let found = match parts.as_slice() {
            [name] => self.environment.and_then(|environment| {
                environment.search_path.iter().find_map(|schema| {
                    let schema = catalog.schema_by_name(schema).filter(|schema| may_use(schema))?;
                    catalog.relation_by_name(schema.oid, name)
                })
            }),
            [schema, name] | [_, schema, name] => {
                let missing = || {
                    let message = format!("schema \"{schema}\" does not exist");
                    Error::new(SqlState::UNDEFINED_SCHEMA, message)
                };
                let schema = catalog.schema_by_name(schema).ok_or_else(missing)?;
                if !may_use(schema) {
                    return Err(crate::sql::ddl::denied_schema(schema));
                }
                catalog.relation_by_name(schema.oid, name)
            }
            _ => None,
        };
        found.cloned().ok_or_else(|| {
            Error::new(SqlState::UNDEFINED_TABLE, format!("relation \"{}\" does not exist", parts.join(".")))
        })
    }

    fn require(&self, relation: &Relation, any: &[Privilege]) -> Result<()> {
        let catalog = self.catalog();
        let has = |privilege: &Privilege| {
            let wanted = Privileges::of(*privilege);
            catalog.has_privileges(self.identity.role, relation.owner, &relation.acl, wanted)
        };
        if any.iter().any(has) { Ok(()) } else { Err(crate::sql::ddl::denied_relation(relation)) }
    }
}

/// Over with a commit, whatever became of it.
struct Settled(CommitTicket);

impl Pending for Settled {
    fn poll(&self) -> Result<Option<Wait>> {
        Ok(self.0.poll().is_none().then(|| self.0.wait()))
    }
}

impl Remembered {
    /// The number that a sequence gave last; its lock comes first where a transaction is to have it.
    fn number(&self, sequence: Oid, locked_by: Option<u64>) -> Option<Number> {
        let used = self.sequences.get(&sequence)?;
        let (current, _) = used.current?;
        let is_locked = locked_by.is_none() || used.locked_by == locked_by;
        Some(if is_locked { Number::Is(current) } else { Number::Unlocked(sequence) })
    }

    /// What is remembered of a sequence. Numbers that came from another storage or by another increment are not given
    /// out any more.
    fn used(&mut self, engine: &Arc<Engine>, relation: &Relation, sequence: &Sequence) -> Result<&mut Used> {
        if self.sequences.len() >= SEQUENCES_REMEMBERED_MAX && !self.sequences.contains_key(&relation.oid) {
            let message = format!("a session uses {SEQUENCES_REMEMBERED_MAX} sequences at most");
            return Err(Error::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message).hint("DISCARD SEQUENCES."));
        }
        let used = match self.sequences.entry(relation.oid) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => entry.insert(Used {
                counter: engine.counter(relation)?,
                storage: relation.storage,
                increment: sequence.increment,
                current: None,
                locked_by: None,
            }),
        };
        if used.storage != relation.storage {
            (used.counter, used.storage) = (engine.counter(relation)?, relation.storage);
            used.current = used.current.map(|(current, _)| (current, current));
        }
        if used.increment != sequence.increment {
            used.increment = sequence.increment;
            used.current = used.current.map(|(current, _)| (current, current));
        }
        Ok(used)
    }
}

fn counting(relation: &Relation) -> Result<&Sequence> {
    relation
        .sequence()
        .ok_or_else(|| Error::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not a sequence", relation.name)))
}
