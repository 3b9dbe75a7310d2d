//! DROP of schemas, tables and topics, with what depends on them.

use super::Definer;
use super::alter::space_of;
use super::names::{is_system, noun, refuse_system_relation};
use crate::catalog::{Catalog, CatalogKey, Relation, RelationKind, Topic, oids_in};
use crate::encoding::key::Space;
use crate::error::{Error, Result, SqlState};
use crate::sql::parse::{Dropped, ObjectName};
use crate::types::Oid;
use std::sync::Arc;

impl Definer<'_, '_> {
    pub(super) fn drop_relations(
        &mut self,
        kind: Dropped,
        names: &[ObjectName],
        if_exists: bool,
        cascade: bool,
    ) -> Result<()> {
        let wanted = match kind {
            Dropped::Table => "table",
            Dropped::Topic => "topic",
            Dropped::Sequence => "sequence",
        };
        let mut relations: Vec<Arc<Relation>> = Vec::new();
        for name in names {
            let Some(relation) = self.find_relation(name)? else {
                if self.find_indexed(name).is_some() {
                    let message = format!("\"{}\" is not a {wanted}", name.name);
                    return Err(
                        Error::new(SqlState::WRONG_OBJECT_TYPE, message).hint("Use DROP INDEX to remove an index.")
                    );
                }
                refuse_system_relation(name)?;
                self.missing(wanted, name, if_exists)?;
                continue;
            };
            if noun(&relation) != wanted {
                let message = format!("\"{}\" is not a {wanted}", relation.name);
                let other = noun(&relation);
                return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message)
                    .hint(format!("Use DROP {} to remove a {other}.", other.to_ascii_uppercase())));
            }
            // The owner of the schema may drop what is in it.
            let schema_owner = self.catalog().schema(relation.schema).map(|schema| schema.owner);
            if !schema_owner.is_some_and(|owner| self.is_owner(owner)) || is_system(relation.schema) {
                self.require_owner(&relation)?;
            }
            relations.push(relation);
        }
        let dropped: Vec<Oid> = relations.iter().map(|relation| relation.oid).collect();
        let dependents = self.dependents(&dropped);
        if !cascade && !dependents.is_empty() {
            let message = format!("cannot drop {wanted} {} because other objects depend on it", relations[0].name);
            return Err(depends(&message, &dependents));
        }
        self.drop_all(&relations, &dependents)
    }

    /// What is outside of `dropped` and uses something in it.
    fn dependents(&self, dropped: &[Oid]) -> Vec<Dependent> {
        let catalog = self.catalog();
        let mut found = dependents(&catalog, dropped);
        let is_sequence = |oid: &Oid| catalog.relation(*oid).is_some_and(|relation| relation.sequence().is_some());
        if !dropped.iter().any(is_sequence) {
            return found;
        }
        for table in catalog.relations().filter(|relation| !dropped.contains(&relation.oid)) {
            for (at, column) in table.live_columns() {
                let used = column.default.iter().flat_map(|default| oids_in(default));
                let Some(sequence) = used.filter(|oid| dropped.contains(oid)).find_map(|oid| catalog.relation(oid))
                else {
                    continue;
                };
                let what = format!("default value for column {} of table {}", column.name, self.visible_name(table));
                let on = format!("sequence {}", self.visible_name(sequence));
                found.push(Dependent { relation: table.oid, default: Some(at), what, on });
            }
        }
        found
    }

    /// The name of a relation, with its schema where the search path does not lead to it.
    fn visible_name(&self, relation: &Relation) -> String {
        let catalog = self.catalog();
        let schemas = self.cx.search_path.iter().filter_map(|schema| catalog.schema_by_name(schema));
        let found = schemas.into_iter().find_map(|schema| catalog.relation_by_name(schema.oid, &relation.name));
        match found.is_some_and(|found| found.oid == relation.oid) {
            true => relation.name.clone(),
            false => catalog.qualified_name(relation),
        }
    }

    pub(super) fn missing(&mut self, wanted: &str, name: &ObjectName, if_exists: bool) -> Result<()> {
        let schema = name.schema.as_ref().filter(|schema| self.catalog().schema_by_name(schema).is_none());
        let (code, message) = match schema {
            Some(schema) => (SqlState::UNDEFINED_SCHEMA, format!("schema \"{schema}\" does not exist")),
            None if wanted == "index" => {
                (SqlState::UNDEFINED_OBJECT, format!("index \"{}\" does not exist", name.name))
            }
            None => (SqlState::UNDEFINED_TABLE, format!("{wanted} \"{}\" does not exist", name.name)),
        };
        if !if_exists {
            return Err(Error::new(code, message));
        }
        self.notice(format!("{message}, skipping"));
        Ok(())
    }

    pub(super) fn drop_schemas(&mut self, names: &[String], if_exists: bool, cascade: bool) -> Result<()> {
        let catalog = self.catalog();
        let (mut schemas, mut relations) = (Vec::new(), Vec::new());
        for name in names {
            let Some(schema) = catalog.schema_by_name(name).cloned() else {
                let message = format!("schema \"{name}\" does not exist");
                if !if_exists {
                    return Err(Error::new(SqlState::UNDEFINED_SCHEMA, message));
                }
                self.notice(format!("{message}, skipping"));
                continue;
            };
            self.require_schema_owner(&schema)?;
            if is_system(schema.oid) {
                let message = format!("cannot drop schema {name} because it is required by the database system");
                return Err(Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message));
            }
            relations.extend(catalog.relations().filter(|relation| relation.schema == schema.oid).cloned());
            schemas.push(schema);
        }
        let dropped: Vec<Oid> = relations.iter().map(|relation| relation.oid).collect();
        let mut dependents = self.dependents(&dropped);
        if let (false, Some(schema)) = (cascade, schemas.first())
            && !relations.is_empty()
        {
            let lines = relations.iter().map(|relation| {
                let object = format!("{} {}", noun(relation), catalog.qualified_name(relation));
                format!("{object} depends on schema {}", schema.name)
            });
            let message = format!("cannot drop schema {} because other objects depend on it", schema.name);
            return Err(Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
                .detail(lines.collect::<Vec<_>>().join("\n"))
                .hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        let objects =
            relations.iter().map(|relation| format!("{} {}", noun(relation), catalog.qualified_name(relation)));
        let mut objects: Vec<String> = objects.collect();
        objects.extend(dependents.iter().map(|dependent| dependent.what.clone()));
        self.cascade_notice(&objects);
        dependents.iter_mut().for_each(|dependent| dependent.what.clear());
        self.drop_all(&relations, &dependents)?;
        schemas.iter().try_for_each(|schema| self.remove(CatalogKey::Schema(schema.oid)))?;
        Ok(())
    }

    pub(super) fn cascade_notice(&mut self, objects: &[String]) {
        match objects {
            [] => {}
            [one] => self.notice(format!("drop cascades to {one}")),
            many => {
                let detail: Vec<_> = many.iter().map(|object| format!("drop cascades to {object}")).collect();
                let notice = Error::notice(format!("drop cascades to {} other objects", many.len()));
                self.notices.push(notice.detail(detail.join("\n")));
            }
        }
    }

    /// Drops relations and takes their sources and dead letters out of the topics that stay.
    fn drop_all(&mut self, relations: &[Arc<Relation>], dependents: &[Dependent]) -> Result<()> {
        let named: Vec<_> = dependents.iter().map(|one| one.what.clone()).filter(|what| !what.is_empty()).collect();
        self.lock_dropped(relations, dependents)?;
        for relation in relations {
            self.refuse_in_use(relation, "DROP TABLE")?;
        }
        self.cascade_notice(&named);
        let dropped: Vec<Oid> = relations.iter().map(|relation| relation.oid).collect();
        for dependent in dependents {
            let catalog = self.catalog();
            let Some(relation) = catalog.relation(dependent.relation) else { continue };
            let mut relation = Relation::clone(relation);
            if let RelationKind::Topic(settings) = &mut relation.kind {
                detach(settings, &dropped);
            }
            if let Some(column) = dependent.default {
                relation.columns[column].default = None;
            }
            self.put_relation(relation)?;
        }
        for relation in relations {
            self.free(relation);
            self.remove(CatalogKey::Relation(relation.oid))?;
        }
        Ok(())
    }

    /// Locks what is dropped, and the tables that feed a topic: no commit after this one adds to it.
    fn lock_dropped(&mut self, relations: &[Arc<Relation>], dependents: &[Dependent]) -> Result<()> {
        for dependent in dependents.iter().filter(|dependent| dependent.default.is_some()) {
            self.lock_relation(dependent.relation)?;
        }
        for relation in relations {
            for source in relation.topic().into_iter().flat_map(|topic| &topic.sources) {
                self.lock_source(source.table)?;
            }
            self.lock_relation(relation.oid)?;
        }
        Ok(())
    }

    /// Has a relation's rows and index entries freed after the commit.
    fn free(&mut self, relation: &Relation) {
        match relation.kind {
            RelationKind::Table(_) => self.empty_storage(space_of(relation), relation.storage, None),
            RelationKind::Topic(_) => {
                self.free_storage(Space::Topic, relation.storage);
                self.free_storage(Space::Group, relation.storage);
            }
            RelationKind::Sequence(_) => self.end_sequence(relation.storage),
            RelationKind::System => {}
        }
        relation.index_storages().for_each(|storage| self.empty_storage(Space::Index, storage, None));
    }
}

/// A topic that uses something that is dropped, or a table with a default that does.
struct Dependent {
    relation: Oid,
    /// The column whose default it is.
    default: Option<usize>,
    /// As messages name it.
    what: String,
    /// What it depends on.
    on: String,
}

/// The topics outside of `dropped` that have a source or a dead-letter topic in it.
fn dependents(catalog: &Catalog, dropped: &[Oid]) -> Vec<Dependent> {
    let mut found = Vec::new();
    for topic in catalog.relations().filter(|relation| !dropped.contains(&relation.oid)) {
        let Some(settings) = topic.topic() else { continue };
        let name = catalog.qualified_name(topic);
        let sources = settings.sources.iter().map(|source| (source.table, "source"));
        for (oid, role) in sources.chain(settings.dead_letter.map(|topic| (topic, "dead letters"))) {
            if let (true, Some(used)) = (dropped.contains(&oid), catalog.relation(oid)) {
                let on = format!("{} {}", noun(used), catalog.qualified_name(used));
                let what = format!("{role} of topic {name}");
                found.push(Dependent { relation: topic.oid, default: None, what, on });
            }
        }
    }
    found
}

fn depends(message: &str, dependents: &[Dependent]) -> Error {
    let lines: Vec<_> = dependents.iter().map(|one| format!("{} depends on {}", one.what, one.on)).collect();
    Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
        .detail(lines.join("\n"))
        .hint("Use DROP ... CASCADE to drop the dependent objects too.")
}

fn detach(topic: &mut Topic, dropped: &[Oid]) {
    topic.sources.retain(|source| !dropped.contains(&source.table));
    if topic.dead_letter.is_some_and(|target| dropped.contains(&target)) {
        topic.dead_letter = None;
        topic.max_attempts = None;
    }
}
