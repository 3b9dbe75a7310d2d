//! DROP of schemas, tables and topics, with what depends on them.

use super::Definer;
use super::names::{is_system, noun};
use crate::catalog::{Catalog, CatalogKey, Relation, RelationKind, TableKind, Topic};
use crate::encoding::key::Space;
use crate::error::{Error, Result, SqlState};
use crate::sql::parse::ObjectName;
use crate::types::Oid;
use std::sync::Arc;

impl Definer<'_, '_> {
    pub(super) fn drop_relations(
        &mut self,
        topic: bool,
        names: &[ObjectName],
        if_exists: bool,
        cascade: bool,
    ) -> Result<()> {
        let wanted = if topic { "topic" } else { "table" };
        let mut relations: Vec<Arc<Relation>> = Vec::new();
        for name in names {
            let Some(relation) = self.find_relation(name)? else {
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
        let dependents = dependents(&self.catalog(), &dropped);
        if !cascade && !dependents.is_empty() {
            let message = format!("cannot drop {wanted} {} because other objects depend on it", relations[0].name);
            return Err(depends(&message, &dependents));
        }
        self.drop_all(&relations, &dependents)
    }

    fn missing(&mut self, wanted: &str, name: &ObjectName, if_exists: bool) -> Result<()> {
        let schema = name.schema.as_ref().filter(|schema| self.catalog().schema_by_name(schema).is_none());
        let (code, message) = match schema {
            Some(schema) => (SqlState::UNDEFINED_SCHEMA, format!("schema \"{schema}\" does not exist")),
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
        let mut dependents = dependents(&catalog, &dropped);
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
        self.lock_dropped(relations)?;
        for relation in relations {
            self.refuse_in_use(relation, "DROP TABLE")?;
        }
        self.cascade_notice(&named);
        let dropped: Vec<Oid> = relations.iter().map(|relation| relation.oid).collect();
        for dependent in dependents {
            let catalog = self.catalog();
            let Some(topic) = catalog.relation(dependent.topic) else { continue };
            let mut topic = Relation::clone(topic);
            if let RelationKind::Topic(settings) = &mut topic.kind {
                detach(settings, &dropped);
            }
            self.put_relation(topic)?;
        }
        for relation in relations {
            self.free(relation);
            self.remove(CatalogKey::Relation(relation.oid))?;
        }
        Ok(())
    }

    /// Locks what is dropped, and the tables that feed a topic: no commit after this one adds to it.
    fn lock_dropped(&mut self, relations: &[Arc<Relation>]) -> Result<()> {
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
            RelationKind::Table(TableKind::Stream { .. }) => self.free_storage(Space::Stream, relation.storage),
            RelationKind::Table(_) => self.free_storage(Space::Row, relation.storage),
            RelationKind::Topic(_) => {
                self.free_storage(Space::Topic, relation.storage);
                self.free_storage(Space::Group, relation.storage);
            }
            RelationKind::System => {}
        }
        relation.index_storages().for_each(|storage| self.free_storage(Space::Index, storage));
    }
}

/// A topic that uses something that is dropped.
struct Dependent {
    topic: Oid,
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
                found.push(Dependent { topic: topic.oid, what: format!("{role} of topic {name}"), on });
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
