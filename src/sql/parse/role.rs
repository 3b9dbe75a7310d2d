//! Roles, grants and memberships.

use super::cursor::Cursor;
use super::table::{relation_names, role_name};
use super::{Definition, Grant, GrantRole, GrantTarget, RoleName, RoleOption, Statement};
use crate::error::{Error, Result, SqlState};
use sqlparser::tokenizer::Token;

/// CREATE, ALTER and DROP ROLE or USER.
pub fn statement(cursor: &mut Cursor) -> Result<Definition> {
    let is_user = cursor.is_word_at(1, "user");
    let is_create = cursor.is_next(&["create"]);
    let is_drop = cursor.is_next(&["drop"]);
    cursor.at += 2;
    if is_user && cursor.is_next(&["mapping", "for"]) {
        return Err(cursor.unsupported("USER MAPPING"));
    }
    if is_drop {
        let if_exists = cursor.accept(&["if", "exists"]);
        return Ok(Definition::DropRole { names: cursor.list(role_name)?, if_exists });
    }
    if is_create {
        let name = new_role_name(cursor)?;
        cursor.accept(&["with"]);
        return Ok(Definition::CreateRole { name, login: is_user, options: options(cursor)? });
    }
    let name = role_name(cursor)?;
    if cursor.accept(&["rename", "to"]) {
        return Ok(Definition::RenameRole { name, to: new_role_name(cursor)? });
    }
    if cursor.is_next(&["set"]) || cursor.is_next(&["reset"]) || cursor.is_next(&["in", "database"]) {
        return Err(cursor.unsupported("ALTER ROLE … SET"));
    }
    cursor.accept(&["with"]);
    Ok(Definition::AlterRole { name, options: options(cursor)? })
}

/// The name of a role that is to be: none of the words that stand for one.
fn new_role_name(cursor: &mut Cursor) -> Result<String> {
    let position = cursor.position();
    let is_current_role = cursor.is_next(&["current_role"]);
    let message = match role_name(cursor)? {
        RoleName::Named(name, _) => return Ok(name),
        RoleName::Public => "role name \"public\" is reserved",
        RoleName::Current if is_current_role => "CURRENT_ROLE cannot be used as a role name here",
        RoleName::Current => "CURRENT_USER cannot be used as a role name here",
        RoleName::Session => "SESSION_USER cannot be used as a role name here",
    };
    Err(Error::new(SqlState::RESERVED_NAME, message).at(position))
}

fn options(cursor: &mut Cursor) -> Result<Vec<RoleOption>> {
    let mut options: Vec<RoleOption> = Vec::new();
    while !cursor.is_done() {
        let position = cursor.position();
        let option = option(cursor)?;
        let again = options.iter().any(|other| std::mem::discriminant(other) == std::mem::discriminant(&option));
        if again {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "conflicting or redundant options").at(position));
        }
        options.push(option);
    }
    Ok(options)
}

fn option(cursor: &mut Cursor) -> Result<RoleOption> {
    type Flag = (&'static str, &'static str, fn(bool) -> RoleOption);
    let flags: [Flag; 6] = [
        ("superuser", "nosuperuser", RoleOption::Superuser),
        ("service", "noservice", RoleOption::Service),
        ("login", "nologin", RoleOption::Login),
        ("inherit", "noinherit", RoleOption::Inherit),
        ("createrole", "nocreaterole", RoleOption::CreateRole),
        ("createdb", "nocreatedb", RoleOption::CreateDb),
    ];
    for (on, off, make) in flags {
        if cursor.accept(&[on]) {
            return Ok(make(true));
        }
        if cursor.accept(&[off]) {
            return Ok(make(false));
        }
    }
    if cursor.accept(&["connection", "limit"]) {
        return cursor.integer().map(RoleOption::ConnectionLimit);
    }
    if cursor.accept(&["encrypted", "password"]) || cursor.accept(&["password"]) {
        return password(cursor);
    }
    if cursor.accept(&["in", "role"]) || cursor.accept(&["in", "group"]) {
        return cursor.list(role_name).map(RoleOption::InRole);
    }
    if cursor.accept(&["role"]) || cursor.accept(&["user"]) {
        return cursor.list(role_name).map(RoleOption::Members);
    }
    if cursor.accept(&["admin"]) {
        return cursor.list(role_name).map(RoleOption::Admins);
    }
    let refused = ["bypassrls", "nobypassrls", "replication", "noreplication", "valid", "sysid"];
    match refused.iter().find(|word| cursor.is_next(&[word])) {
        Some(word) => Err(cursor.unsupported(format!("role option {}", word.to_ascii_uppercase()))),
        None => match cursor.peek(0) {
            Some(Token::Word(word)) if word.quote_style.is_none() => {
                let message = format!("unrecognized role option \"{}\"", word.value);
                Err(Error::new(SqlState::SYNTAX_ERROR, message).at(cursor.position()))
            }
            _ => Err(cursor.unexpected()),
        },
    }
}

/// A password becomes a verifier here, before anything could keep or log it.
fn password(cursor: &mut Cursor) -> Result<RoleOption> {
    if cursor.accept(&["null"]) {
        return Ok(RoleOption::Password(None));
    }
    let position = cursor.position();
    let password = cursor.string()?;
    if password.is_empty() {
        return Ok(RoleOption::Password(None));
    }
    if password.starts_with("md5") && password.len() == 35 {
        return Err(Error::unsupported("an MD5 password").hint("Give the password or a SCRAM verifier.").at(position));
    }
    let is_verifier = password.starts_with("SCRAM-SHA-256$") && password.matches(['$', ':']).count() == 4;
    let verifier = if is_verifier { password } else { postgres_protocol::password::scram_sha_256(password.as_bytes()) };
    Ok(RoleOption::Password(Some(verifier)))
}

/// GRANT and REVOKE.
pub fn grant(cursor: &mut Cursor) -> Result<Statement> {
    let revoke = cursor.is_next(&["revoke"]);
    cursor.at += 1;
    let grant_option = revoke && cursor.accept(&["grant", "option", "for"]);
    let admin = revoke && cursor.accept(&["admin", "option", "for"]);
    let on = cursor.find_end(|cursor, ahead| cursor.is_word_at(ahead, "on"));
    let definition = if on == cursor.end {
        Definition::GrantRole(membership(cursor, revoke, admin)?)
    } else {
        Definition::Grant(privileges(cursor, revoke, grant_option)?)
    };
    Ok(Statement::Define(Box::new(definition)))
}

fn membership(cursor: &mut Cursor, revoke: bool, admin: bool) -> Result<GrantRole> {
    let roles = cursor.list(|cursor| {
        let present = ["current_user", "current_role", "session_user"];
        if present.iter().any(|word| cursor.is_next(&[word])) { Err(cursor.unexpected()) } else { role_name(cursor) }
    })?;
    cursor.expect(&[if revoke { "from" } else { "to" }])?;
    let members = cursor.list(role_name)?;
    let admin = admin || (!revoke && cursor.accept(&["with", "admin", "option"]));
    refuse_granted_by(cursor)?;
    if revoke && cursor.is_next(&["cascade"]) {
        return Err(cursor.unsupported("CASCADE of a membership"));
    }
    cursor.accept(&["restrict"]);
    Ok(GrantRole { revoke, admin, roles, members })
}

fn refuse_granted_by(cursor: &Cursor) -> Result<()> {
    if cursor.is_next(&["granted", "by"]) { Err(cursor.unsupported("GRANTED BY")) } else { Ok(()) }
}

fn privileges(cursor: &mut Cursor, revoke: bool, option_for: bool) -> Result<Grant> {
    let privileges = if cursor.accept(&["all"]) {
        cursor.accept(&["privileges"]);
        None
    } else {
        Some(cursor.list(Cursor::label)?)
    };
    if cursor.peek(0) == Some(&Token::LParen) {
        return Err(cursor.unsupported("a privilege on columns"));
    }
    cursor.expect(&["on"])?;
    let on = target(cursor)?;
    cursor.expect(&[if revoke { "from" } else { "to" }])?;
    let grantees: Vec<RoleName> = cursor.list(|cursor| {
        cursor.accept(&["group"]);
        role_name(cursor)
    })?;
    let grant_option = option_for || (!revoke && cursor.accept(&["with", "grant", "option"]));
    refuse_granted_by(cursor)?;
    let cascade = revoke && cursor.accept(&["cascade"]);
    if revoke && !cascade {
        cursor.accept(&["restrict"]);
    }
    Ok(Grant { revoke, grant_option, privileges, on, grantees, cascade })
}

fn target(cursor: &mut Cursor) -> Result<GrantTarget> {
    if cursor.accept(&["all", "tables", "in", "schema"]) || cursor.accept(&["all", "tables", "in", "namespace"]) {
        return cursor.list(Cursor::name).map(GrantTarget::AllTables);
    }
    if cursor.accept(&["schema"]) || cursor.accept(&["namespace"]) {
        return cursor.list(Cursor::name).map(GrantTarget::Schemas);
    }
    if cursor.accept(&["all", "sequences", "in", "schema"]) || cursor.accept(&["all", "sequences", "in", "namespace"]) {
        return cursor.list(Cursor::name).map(GrantTarget::AllSequences);
    }
    if cursor.accept(&["sequence"]) {
        return relation_names(cursor).map(GrantTarget::Sequences);
    }
    let others = ["all", "database", "function", "procedure", "routine", "language", "domain", "type"];
    if others.iter().any(|word| cursor.is_next(&[word])) {
        return Err(cursor.unsupported("a privilege on this kind of object"));
    }
    let topic = cursor.accept(&["topic"]);
    if !topic {
        cursor.accept(&["table"]);
    }
    Ok(GrantTarget::Relations { names: relation_names(cursor)?, topic })
}
