//! A relation prepared for reading and writing.

use super::violation;
use crate::catalog::{Catalog, Column, IndexColumn, Relation, RelationKind, TableKind};
use crate::encoding::key::{self, KeyColumn, Space};
use crate::encoding::row::{self, RowLayout, RowView};
use crate::env::UnixMicros;
use crate::error::Result;
use crate::types::{ScopeId, StorageId, Value, Zone, text};
use bytes::Bytes;
use std::sync::Arc;

/// A version of a table's relation with its layout and keys.
#[derive(Debug)]
pub struct Model {
    relation: Arc<Relation>,
    layout: RowLayout,
    space: Space,
    key: Vec<(usize, KeyColumn)>,
    indexes: Vec<IndexModel>,
    /// What a row has in a column that was added after it was stored.
    missing: Vec<Value>,
    /// Whether all rows that are seen stand in its storage.
    readable: bool,
}

/// An index: of a UNIQUE constraint, or one that stands for itself.
///
/// Each row has one entry. Its key is the row's values in the index's columns, and what tells the row from others after
/// them, unless the values alone must be unique and none of them is NULL; its value is the row's key.
#[derive(Debug)]
pub struct IndexModel {
    /// Name of the constraint or the index.
    pub name: String,
    /// Whether no two rows have the same values.
    pub unique: bool,
    /// Positions of the columns, in key order.
    pub columns: Vec<usize>,
    /// Where its entries are.
    pub storage: StorageId,
    /// Whether it leads to all rows that are seen; it is kept up in any case.
    pub readable: bool,
    /// What entries are sorted by: the columns, and those of the primary key where these follow.
    key: Vec<(usize, KeyColumn)>,
}

impl Model {
    /// Prepares a relation. The values of its rows are all its columns, dropped ones too (NULL).
    pub fn new(relation: &Arc<Relation>) -> Result<Arc<Model>> {
        Model::with(relation, |_| true).map(Arc::new)
    }

    /// Prepares a relation for who uses a version of the catalog.
    pub fn within(catalog: &Catalog, relation: &Arc<Relation>) -> Result<Arc<Model>> {
        Model::with(relation, |index| catalog.leads_to_all(index)).map(Arc::new)
    }

    fn with(relation: &Arc<Relation>, readable: impl Fn(StorageId) -> bool) -> Result<Model> {
        let types: Vec<_> = relation.columns.iter().map(|column| column.ty).collect();
        let key = relation.primary_key.iter().flat_map(|primary| &primary.columns);
        let mut key: Vec<_> = key.map(|&column| (column, KeyColumn::ascending(relation.columns[column].ty))).collect();
        if relation.topic().is_some() {
            // partition and offset, the first columns of every topic
            let bare = relation.columns.iter().take(2).map(|column| KeyColumn::bare(column.ty));
            key = bare.enumerate().collect();
        }
        let readable_rows = readable(relation.storage);
        let indexes = indexes(relation, &key, readable);
        let missing = relation.columns.iter().map(|column| match &column.missing {
            Some(value) => text::parse(value, column.ty, &Zone::utc()),
            None => Ok(Value::Null),
        });
        Ok(Model {
            missing: missing.collect::<Result<_>>()?,
            layout: RowLayout::new(&types),
            space: match &relation.kind {
                RelationKind::Table(TableKind::Stream { .. }) => Space::Stream,
                RelationKind::Topic(_) => Space::Topic,
                _ => Space::Row,
            },
            key,
            indexes,
            readable: readable_rows,
            relation: relation.clone(),
        })
    }

    /// The relation.
    pub fn relation(&self) -> &Arc<Relation> {
        &self.relation
    }

    /// How its rows are stored.
    pub fn layout(&self) -> &RowLayout {
        &self.layout
    }

    /// The space of its rows' keys.
    pub fn space(&self) -> Space {
        self.space
    }

    /// The primary key's columns with their order, of a topic partition and offset; empty for a table whose rows have a
    /// hidden row id.
    pub fn key_columns(&self) -> &[(usize, KeyColumn)] {
        &self.key
    }

    /// The indexes beside the primary key: first those of UNIQUE constraints.
    pub fn indexes(&self) -> &[IndexModel] {
        &self.indexes
    }

    /// Whether all rows that are seen stand in its storage: not where they got another primary key since then.
    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// Whether rows have a hidden row id instead of a primary key.
    pub fn has_row_id(&self) -> bool {
        self.key.is_empty()
    }

    /// Whether rows are in memory only.
    pub fn is_volatile(&self) -> bool {
        self.space == Space::Stream
    }

    /// The scope that a user's access goes to: the one shared scope for everything that is not scoped.
    pub fn scope(&self, user: ScopeId) -> ScopeId {
        if self.relation.is_scoped() { user } else { ScopeId::SHARED }
    }

    /// What the keys of a scope's rows begin with. A range of the primary key goes on from here with
    /// [`key::encode_column`].
    pub fn key_prefix(&self, scope: ScopeId) -> Vec<u8> {
        key::prefix(self.space, self.relation.storage, scope)
    }

    /// The key of a row. `row_id` is what identifies a row of a table without primary key.
    pub fn row_key(&self, scope: ScopeId, values: &[Value], row_id: i64) -> Result<Bytes> {
        let mut out = self.key_prefix(scope);
        if self.key.is_empty() {
            out.extend_from_slice(&(row_id as u64).to_be_bytes());
            return Ok(Bytes::from(out));
        }
        for (column, order) in &self.key {
            key::encode_column(&mut out, &values[*column], order)?;
        }
        let name = self.relation.primary_key.as_ref().map_or("", |primary| primary.name.as_str());
        key::check_size(&out, name)?;
        Ok(Bytes::from(out))
    }

    /// The hidden row id in a key made without a primary key.
    pub fn row_id(&self, key: &[u8]) -> Option<i64> {
        if !self.key.is_empty() {
            return None;
        }
        let tail = key.len().checked_sub(8)?;
        Some(u64::from_be_bytes(key[tail..].try_into().ok()?) as i64)
    }

    /// A row as it is stored, without its commit sequence. A STREAM row's life is counted from `now`, and again from
    /// its commit.
    pub fn encode_row(&self, values: &[Value], now: UnixMicros) -> Result<Bytes> {
        row::encode(&self.layout, self.relation.row_version, self.expires(now), values).map(Bytes::from)
    }

    /// When a row committed at `now` vanishes.
    pub fn expires(&self, now: UnixMicros) -> Option<UnixMicros> {
        match self.relation.kind {
            RelationKind::Table(TableKind::Stream { ttl_micros }) => Some(now.saturating_add(ttl_micros)),
            _ => None,
        }
    }

    /// A stored row, to be read a column at a time. 0A000 for one from before a column changed its type, as the log has
    /// them.
    pub fn view(&self, row: Bytes) -> Result<RowView<'_>> {
        if row::version(&row) < self.relation.readable_from {
            return Err(violation::other_types(&self.relation));
        }
        RowView::new(row, &self.layout)
    }

    /// One column of a stored row; for a row older than the column what ADD COLUMN said.
    pub fn column(&self, view: &RowView<'_>, column: usize) -> Result<Value> {
        Ok(view.column(column)?.unwrap_or_else(|| self.missing[column].clone()))
    }

    /// What a row has in a column that was added after it was stored.
    pub fn missing(&self, column: usize) -> &Value {
        &self.missing[column]
    }

    /// All values of a stored row.
    pub fn decode(&self, row: &Bytes) -> Result<Vec<Value>> {
        let view = self.view(row.clone())?;
        (0..self.relation.columns.len()).map(|column| self.column(&view, column)).collect()
    }

    /// Whether a row is still to be seen at `now`: STREAM rows vanish by themselves.
    pub fn is_live(&self, row: &Bytes, now: UnixMicros) -> Result<bool> {
        Ok(!self.is_volatile() || self.view(row.clone())?.expires().is_none_or(|expires| expires > now))
    }

    /// Whether new values differ from old ones in a column of the primary key or of another unique one.
    pub fn changes_keys(&self, old: &[Value], new: &[Value]) -> bool {
        let unique = self.indexes.iter().filter(|index| index.unique).flat_map(|index| index.columns.iter().copied());
        self.key.iter().map(|(column, _)| *column).chain(unique).any(|column| old[column] != new[column])
    }

    /// 23502 for the first NULL in a NOT NULL column.
    pub fn check_not_null(&self, values: &[Value], schema: &str, zone: &Zone) -> Result<()> {
        let null = |(at, column): &(usize, &Column)| column.not_null && values[*at].is_null();
        match self.relation.live_columns().find(null) {
            None => Ok(()),
            Some((_, column)) => Err(violation::not_null_violation(&self.relation, schema, column, values, zone)),
        }
    }
}

fn indexes(
    relation: &Relation,
    primary: &[(usize, KeyColumn)],
    readable: impl Fn(StorageId) -> bool,
) -> Vec<IndexModel> {
    let uniques = relation.uniques.iter().map(|unique| {
        let ascending = |&column: &usize| (column, KeyColumn::ascending(relation.columns[column].ty));
        let (name, columns) = (unique.name.clone(), unique.columns.clone());
        let key = columns.iter().map(ascending).collect();
        IndexModel { name, unique: true, columns, storage: unique.storage, readable: readable(unique.storage), key }
    });
    let others = relation.indexes.iter().map(|index| {
        let ordered = |of: &IndexColumn| {
            let ascending = KeyColumn::ascending(relation.columns[of.column].ty);
            (of.column, KeyColumn { descending: of.descending, nulls_first: of.nulls_first, ..ascending })
        };
        let mut key: Vec<_> = index.columns.iter().map(ordered).collect();
        if !index.unique {
            key.extend_from_slice(primary);
        }
        let columns = index.columns.iter().map(|of| of.column).collect();
        IndexModel {
            name: index.name.clone(),
            unique: index.unique,
            columns,
            storage: index.storage,
            readable: readable(index.storage),
            key,
        }
    });
    uniques.chain(others).collect()
}

impl IndexModel {
    /// What its entries are sorted by: its columns, then those of the primary key where they follow.
    pub fn key_columns(&self) -> &[(usize, KeyColumn)] {
        &self.key
    }

    /// The key that no other row may have; none where rows may have the same values: where one is NULL, or anyway.
    pub fn unique_key(&self, scope: ScopeId, values: &[Value]) -> Result<Option<Bytes>> {
        if !self.unique || self.columns.iter().any(|&column| values[column].is_null()) {
            return Ok(None);
        }
        let out = self.values_key(scope, values)?;
        key::check_size(&out, &self.name)?;
        Ok(Some(Bytes::from(out)))
    }

    /// The key of a row's entry.
    pub fn entry_key(&self, scope: ScopeId, values: &[Value], row_key: &[u8]) -> Result<Bytes> {
        if let Some(key) = self.unique_key(scope, values)? {
            return Ok(key);
        }
        let mut out = self.values_key(scope, values)?;
        out.extend_from_slice(row_key.get(key::PREFIX_BYTES..).unwrap_or_default());
        key::check_size(&out, &self.name)?;
        Ok(Bytes::from(out))
    }

    fn values_key(&self, scope: ScopeId, values: &[Value]) -> Result<Vec<u8>> {
        let mut out = self.key_prefix(scope);
        for (&column, (_, order)) in self.columns.iter().zip(&self.key) {
            key::encode_column(&mut out, &values[column], order)?;
        }
        Ok(out)
    }

    /// What the keys of a scope's entries begin with.
    pub fn key_prefix(&self, scope: ScopeId) -> Vec<u8> {
        key::prefix(Space::Index, self.storage, scope)
    }
}
