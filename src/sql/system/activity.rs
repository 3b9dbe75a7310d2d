//! pg_stat_activity: who is connected, and what each session does.

use super::{SystemContext, SystemRelation, oid, text};
use crate::activity::{Activity, Awaited, Sessions, State, cut};
use crate::env::UnixMicros;
use crate::error::Result;
use crate::types::datetime::from_unix_micros;
use crate::types::{Oid, Row, SqlType, Value};

pub(super) const RELATIONS: &[SystemRelation] = &[SystemRelation {
    oid: Oid(12222),
    schema: "pg_catalog",
    name: "pg_stat_activity",
    columns: &[
        ("datid", SqlType::OID),
        ("datname", SqlType::NAME),
        ("pid", SqlType::INT4),
        ("leader_pid", SqlType::INT4),
        ("usesysid", SqlType::OID),
        ("usename", SqlType::NAME),
        ("application_name", SqlType::TEXT),
        // inet in PostgreSQL
        ("client_addr", SqlType::TEXT),
        ("client_hostname", SqlType::TEXT),
        ("client_port", SqlType::INT4),
        ("backend_start", SqlType::TIMESTAMPTZ),
        ("xact_start", SqlType::TIMESTAMPTZ),
        ("query_start", SqlType::TIMESTAMPTZ),
        ("state_change", SqlType::TIMESTAMPTZ),
        ("wait_event_type", SqlType::TEXT),
        ("wait_event", SqlType::TEXT),
        ("state", SqlType::TEXT),
        // xid in PostgreSQL
        ("backend_xid", SqlType::INT8),
        ("backend_xmin", SqlType::INT8),
        ("query_id", SqlType::INT8),
        ("query", SqlType::TEXT),
        ("backend_type", SqlType::TEXT),
    ],
    rows: activity,
}];

/// What only those see who have the role's rights.
#[derive(Default)]
struct Private {
    client: Option<Value>,
    port: Option<i64>,
    /// backend_start, xact_start, query_start, state_change
    times: [Option<UnixMicros>; 4],
    event: Option<(&'static str, &'static str)>,
    state: Option<State>,
    backend: Option<&'static str>,
}

fn activity(cx: &SystemContext) -> Result<Vec<Row>> {
    let roles = cx.catalog.effective_roles(cx.identity.role);
    let superuser = cx.catalog.role(cx.identity.role).is_some_and(|role| role.superuser);
    let row = |of: &Activity| {
        let doing = of.doing();
        let (private, query) = match superuser || roles.contains(&of.role) {
            true => (Private::of(of, doing.state, [doing.query_start, Some(doing.since)], cx), {
                let cut = cut(&doing.query);
                text(cut.as_ref().unwrap_or(&doing.query))
            }),
            false => (Private::default(), text("<insufficient privilege>")),
        };
        // a session's own setting counts at once, others see it with the end of the statement
        let own = (of.pid == cx.identity.pid).then(|| cx.settings.get("application_name")).flatten();
        let or_text = |known: Option<&str>| known.map_or(Value::Null, text);
        let [begun, transaction, query_start, since] =
            private.times.map(|time| time.map_or(Value::Null, |time| Value::Timestamp(from_unix_micros(time))));
        vec![
            oid(Oid::DATABASE),
            Value::Text(cx.identity.database.clone()),
            Value::Int(of.pid.into()),
            Value::Null,
            oid(of.role),
            cx.catalog.role(of.role).map_or(Value::Null, |role| text(&role.name)),
            own.map_or(Value::Text(doing.application), text),
            private.client.unwrap_or(Value::Null),
            Value::Null,
            private.port.map_or(Value::Null, Value::Int),
            begun,
            transaction,
            query_start,
            since,
            or_text(private.event.map(|(kind, _)| kind)),
            or_text(private.event.map(|(_, event)| event)),
            or_text(private.state.map(State::name)),
            Value::Null,
            Value::Null,
            Value::Null,
            query,
            or_text(private.backend),
        ]
    };
    let all = cx.sessions.map(Sessions::all).unwrap_or_default();
    Ok(all.iter().map(|of| row(of)).collect())
}

impl Private {
    fn of(of: &Activity, state: State, [query_start, since]: [Option<UnixMicros>; 2], cx: &SystemContext) -> Private {
        Private {
            client: of.client.map(|client| text(client.ip().to_string())),
            // as of a socket in the file system
            port: Some(of.client.map_or(-1, |client| client.port().into())),
            times: [Some(of.begun), of.transaction_start(), query_start, since],
            event: event(of, cx),
            state: Some(state),
            backend: Some("client backend"),
        }
    }
}

/// The wait event's type and name.
fn event(of: &Activity, cx: &SystemContext) -> Option<(&'static str, &'static str)> {
    match of.awaited() {
        Awaited::Nothing => None,
        Awaited::ClientRead => Some(("Client", "ClientRead")),
        Awaited::ClientWrite => Some(("Client", "ClientWrite")),
        Awaited::Lock => cx.tx.engine().lock_awaited(of.pid).map(|thing| ("Lock", thing.kind())),
        Awaited::LogSync => Some(("IO", "WALSync")),
        Awaited::Sleep => Some(("Timeout", "PgSleep")),
        Awaited::SafeSnapshot => Some(("IPC", "SafeSnapshot")),
        Awaited::Termination => Some(("IPC", "BackendTermination")),
        Awaited::Other => Some(("Extension", "Extension")),
    }
}
