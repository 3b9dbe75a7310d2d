//! Large snapshots: a live query over more rows than a client takes at once, while others write.
//!
//! TERTULIA_SNAPSHOT_ROWS=1000000 cargo test --release --test live_snapshot -- --nocapture

mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use support::client::Event;
use support::live::Session;
use support::process::{PASSWORD, Running, own_bytes};

/// Rows of the table unless TERTULIA_SNAPSHOT_ROWS says otherwise: tens of megabytes.
const ROWS: u64 = 100_000;
/// Bytes that the server's own memory may grow by, whatever the table holds.
const GROWTH_MAX: u64 = 48 << 20;
/// Rows that a client takes at once.
const TAKEN: i32 = 1_000;

fn connect(address: SocketAddr) -> Session {
    Session::connect(address, "tertulia", PASSWORD)
}

/// How a client takes a snapshot.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// A portal in a transaction, some rows at a time.
    Portal,
    /// All of it at once, by a simple query.
    AtOnce,
}

/// The ids of the rows, in the order in which they came.
fn snapshot(session: &mut Session, manner: Manner) -> Vec<u64> {
    const SQL: &str = "SUBSCRIBE live TO SELECT id, body FROM big WHERE id >= 0 ORDER BY id";
    let mut ids = Vec::new();
    let mut take = |events: &[Event]| {
        let mut is_over = false;
        for event in events {
            match event {
                Event::Row(cells) => {
                    let id = cells[0].as_ref().unwrap();
                    ids.push(std::str::from_utf8(id).unwrap().parse().unwrap());
                }
                Event::Tag(tag) => is_over |= tag.starts_with("SELECT"),
                Event::Error(report) => panic!("{report:?}"),
                _ => {}
            }
        }
        is_over
    };
    match manner {
        Manner::Portal => {
            session.run("BEGIN");
            session.client.write_parse("", SQL, &[]);
            session.client.write_bind("rows", "", &[], 0);
            loop {
                session.client.write_execute("rows", TAKEN);
                session.client.write_sync();
                session.client.send();
                if take(&session.client.until_ready()) {
                    break;
                }
            }
            session.run("COMMIT");
        }
        Manner::AtOnce => {
            let events = session.client.simple(SQL);
            assert!(take(&events));
            session.keep(events, SQL);
        }
    }
    ids
}

#[test]
fn a_large_snapshot_costs_the_server_no_memory_and_loses_no_change() {
    let rows = std::env::var("TERTULIA_SNAPSHOT_ROWS").map_or(ROWS, |rows| rows.parse().expect("a number"));
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path(), &[]);
    let process = server.id();
    let mut root = connect(server.address);
    root.run("CREATE TABLE big (id BIGINT PRIMARY KEY, body TEXT)");
    for from in (0..rows).step_by(10_000) {
        let to = rows.min(from + 10_000) - 1;
        root.run(&format!("INSERT INTO big SELECT id, repeat('x', 300) FROM generate_series({from}, {to}) AS g(id)"));
    }
    for manner in [Manner::Portal, Manner::AtOnce] {
        root.run(&format!("DELETE FROM big WHERE id >= {rows}"));
        let mut session = connect(server.address);
        let before = own_bytes(server.id());
        let most = AtomicU64::new(before);
        let stop = AtomicBool::new(false);
        let (ids, written) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut written = rows;
                while !stop.load(Ordering::Acquire) {
                    root.run(&format!("INSERT INTO big VALUES ({written}, 'new')"));
                    written += 1;
                }
                written
            });
            scope.spawn(|| {
                while !stop.load(Ordering::Acquire) {
                    most.fetch_max(own_bytes(process), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
            let ids = snapshot(&mut session, manner);
            stop.store(true, Ordering::Release);
            (ids, writer.join().unwrap())
        });
        assert!(ids.len() as u64 >= rows);
        assert!(ids.iter().copied().eq(0..ids.len() as u64), "every row once and in order");
        session.acknowledged();
        for id in ids.len() as u64..written {
            assert_eq!(session.change(), format!("insert {id}"));
        }
        let most = most.into_inner();
        eprintln!("{manner:?}: {rows} rows, {} written meanwhile, {} MB more", written - rows, (most - before) >> 20);
        assert!(most < before + GROWTH_MAX, "{manner:?}: from {before} to {most} bytes");
    }
}
