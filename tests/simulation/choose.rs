//! What a simulated client says next.

use crate::client::{Client, Common};
use crate::model::{Model, Row, Table};
use crate::random::Random;
use crate::shape::{Definition, Index};
use crate::statement::{Also, Filter, Kind};

/// Ids of rows: few, so that transactions meet.
const IDS: u64 = 8;
/// Indexes of a table at most.
const INDEXES_MAX: usize = 3;

impl Client {
    pub fn choose(&mut self, common: &mut Common) -> Option<Kind> {
        if let Some(kind) = self.queue.pop() {
            return Some(kind);
        }
        let random = &mut *common.random;
        match &self.open {
            None if common.closing => None,
            None => Some(match random.below(20) {
                0 if random.once_in(2) => Kind::Snowflake,
                0 => Kind::Nextval,
                1 | 2 => Kind::Auto,
                3 | 4 => self.select(common),
                5 | 7 if self.live.is_none() => self.subscription(common),
                5 => Kind::Unlisten,
                6 if self.listening.is_none() => Kind::Listen,
                _ => Kind::Begin(common.random.pick(common.levels)),
            }),
            Some(open) if open.failed && !open.savepoints.is_empty() && !random.once_in(3) => Some(Kind::RollbackTo),
            Some(open) if open.failed => Some(Kind::Rollback),
            Some(open) if open.level.only_reads() => Some(match random.below(if common.closing { 1 } else { 4 }) {
                0 if random.once_in(8) => Kind::Rollback,
                0 => Kind::Commit,
                _ => self.select(common),
            }),
            Some(open) if !open.named => {
                if common.crowded && !open.volatile_only && !random.once_in(3) {
                    self.queue = meeting(random, common.model);
                }
                Some(Kind::Ledger)
            }
            Some(open) if self.may_define() && !open.volatile_only && random.once_in(common.definitions) => {
                Some(self.definition(common))
            }
            Some(open) => {
                let savepoints = open.savepoints.len();
                let volatile_only = open.volatile_only;
                Some(match random.below(if common.closing { 2 } else { 16 }) {
                    0 if random.once_in(4) => Kind::Rollback,
                    0 | 1 => Kind::Commit,
                    2 if random.once_in(4) => Kind::Nextval,
                    2 if savepoints < 3 => Kind::Savepoint,
                    3 if savepoints > 0 => {
                        if random.once_in(2) {
                            Kind::RollbackTo
                        } else {
                            Kind::Release
                        }
                    }
                    5 if !volatile_only && self.may_define() => Kind::Consume,
                    6 | 7 => self.select(common),
                    n => self.write(n, volatile_only, common),
                })
            }
        }
    }

    /// Definitions are the owner's.
    fn may_define(&self) -> bool {
        self.user == "tertulia"
    }

    /// A live query: one that was left, if there is one.
    fn subscription(&self, common: &mut Common) -> Kind {
        let own = common.left.iter().position(|live| live.user == self.scope(live.table));
        match own {
            Some(at) => Kind::Resume(common.left.remove(at)),
            None => Kind::Subscribe(common.random.pick(&[Table::Shared, Table::User])),
        }
    }

    fn select(&self, common: &mut Common) -> Kind {
        let table = self.any_table(common);
        Kind::Select(table, self.any_filter(table, common))
    }

    fn definition(&self, common: &mut Common) -> Kind {
        let extras = common.model.extras();
        let random = &mut *common.random;
        *common.next_name += 1;
        // those that have been defined before, so that there is something to drop
        let tables = common.model.tables().filter(|(_, shape)| shape.version > 0 || !shape.indexes.is_empty());
        let defined: Vec<Table> = tables.map(|(table, _)| table).collect();
        let table = match random.below(12) {
            1 if !extras.is_empty() => return Kind::Define(Table::Extra(random.pick(&extras)), Definition::Drop),
            0 | 1 => return Kind::Define(Table::Extra(*common.next_name), Definition::Create),
            2 | 3 if !extras.is_empty() => Table::Extra(random.pick(&extras)),
            4..=8 if !defined.is_empty() => random.pick(&defined),
            9 => Table::User,
            _ => Table::Shared,
        };
        // now and then what cannot be done
        let blind = random.once_in(10);
        let Some(shape) = self.shape(table, common.model) else { return Kind::Define(table, Definition::Truncate) };
        let numbers: Vec<u32> = shape.indexes.iter().map(|index| index.number).collect();
        let (number, has_extra) = (*common.next_name, shape.has_extra() != blind);
        let definition = match random.below(14) {
            0..=3 if numbers.len() < INDEXES_MAX => {
                let columns: &[&str] = match random.below(4) {
                    0 if has_extra => &["extra"],
                    1 if has_extra => &["extra", "n"],
                    2 => &["n", "body"],
                    _ => &["n"],
                };
                Definition::CreateIndex(Index { number, unique: random.once_in(2), columns })
            }
            0..=6 if blind || numbers.is_empty() => Definition::DropIndex(number),
            0..=6 => Definition::DropIndex(random.pick(&numbers)),
            7..=9 if has_extra => Definition::DropColumn,
            7..=9 => Definition::AddColumn(random.pick(&[None, Some(7), Some(8)])),
            10..=12 => Definition::Retype { wide: random.once_in(2), by: random.pick(&[0, 0, 1_000]) },
            _ => Definition::Truncate,
        };
        Kind::Define(table, definition)
    }

    fn any_table(&self, common: &mut Common) -> Table {
        let extras = common.model.extras();
        match common.random.below(10) {
            0..=4 => Table::Shared,
            5..=7 => Table::User,
            8 if self.user == "tertulia" && !extras.is_empty() => Table::Extra(common.random.pick(&extras)),
            _ => Table::Stream,
        }
    }

    fn write(&self, n: u64, volatile_only: bool, common: &mut Common) -> Kind {
        let table = if volatile_only { Table::Stream } else { self.any_table(common) };
        let filter = self.any_filter(table, common);
        let has_extra = self.shape(table, common.model).is_some_and(|shape| shape.has_extra());
        let random = &mut *common.random;
        // STREAM rows are not updated
        match if table == Table::Stream && n != 9 { 13 } else { n } {
            8 => Kind::Move(table, random.below(IDS) as i64, random.below(IDS) as i64),
            9 => Kind::Delete(table, filter),
            10 => Kind::Bump(table, filter, Also::Nothing),
            11 | 12 => {
                let also = match random.once_in(3) && has_extra {
                    true => Also::Extra(random.pick(&[None, Some(7), Some(8), Some(9)])),
                    false => Also::Body(any_body(random)),
                };
                Kind::Bump(table, Filter::Id(random.below(IDS) as i64), also)
            }
            _ => {
                let mut rows = Vec::new();
                for _ in 0..1 + random.below(3) {
                    let id = random.below(IDS) as i64;
                    if rows.iter().all(|(taken, _)| *taken != id) {
                        rows.push((id, Row { n: random.below(100) as i64, body: any_body(random), extra: None }));
                    }
                }
                Kind::Insert(table, random.once_in(3), rows)
            }
        }
    }

    fn any_filter(&self, table: Table, common: &mut Common) -> Filter {
        let random = &mut *common.random;
        match random.below(8) {
            0 => Filter::All,
            1 => Filter::From(random.below(IDS) as i64),
            2 => Filter::Body(format!("b{}", random.below(6))),
            3 => {
                let rows = common.model.rows_at(table, &self.scope(table), u64::MAX);
                let numbers: Vec<i64> = rows.values().map(|row| row.n).collect();
                Filter::Number(if numbers.is_empty() { random.below(100) as i64 } else { random.pick(&numbers) })
            }
            4 if self.shape(table, common.model).is_some_and(|shape| shape.has_extra()) => {
                Filter::Extra(random.pick(&[7, 8, 9]))
            }
            _ => Filter::Id(random.below(IDS) as i64),
        }
    }
}

/// What brings transactions into one another's way, the last thing first: to look at rows, to write one, and to end.
fn meeting(random: &mut Random, model: &Model) -> Vec<Kind> {
    let id = random.below(IDS) as i64;
    let write = match model.rows_at(Table::Shared, "", u64::MAX).contains_key(&id) {
        true => Kind::Bump(Table::Shared, Filter::Id(id), Also::Nothing),
        false => {
            let row = Row { n: random.below(100) as i64, body: None, extra: None };
            Kind::Insert(Table::Shared, true, vec![(id, row)])
        }
    };
    let looked = if random.once_in(3) { Filter::Id(random.below(IDS) as i64) } else { Filter::All };
    vec![Kind::Commit, write, Kind::Select(Table::Shared, looked)]
}

fn any_body(random: &mut Random) -> Option<String> {
    match random.below(8) {
        0 | 1 => None,
        2..=5 => Some(format!("b{}", random.below(6))),
        6 => Some(random.text(20, 200)),
        _ => Some(random.text(200, 1500)),
    }
}
