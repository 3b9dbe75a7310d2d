//! Notifications on their way from a commit to the sessions that listen.

use std::sync::Arc;
use tertulia::env::SystemEnv;
use tertulia::live::{Hub, Listener};
use tertulia::txn::{Engine, EngineOptions, TxnOptions};
use tertulia::types::Str;

fn notify(engine: &Arc<Engine>, hub: &Hub, notifications: &[(&str, &str)]) {
    let mut transaction = engine.begin(TxnOptions { pid: 7, ..TxnOptions::default() }).unwrap();
    for (channel, payload) in notifications {
        transaction.notify(Str::from(*channel), Str::from(*payload));
    }
    let seq = transaction.start_commit().unwrap().block().unwrap();
    hub.wait_for(seq).block();
}

fn received(listener: &Listener) -> Vec<String> {
    let waiting = listener.outbox().drain().unwrap();
    waiting.iter().map(|notification| format!("{} {}", notification.channel, notification.payload)).collect()
}

#[test]
fn sessions_receive_what_is_said_on_their_channels_in_commit_order() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _) = Engine::open(EngineOptions::new(dir.path()), Arc::new(SystemEnv::new())).unwrap();
    let hub = Hub::start(&engine).unwrap();
    let (mut one, mut both) = (hub.listener(), hub.listener());
    assert!(one.listen(Str::from("a")));
    assert!(!one.listen(Str::from("a")));
    assert!(both.listen(Str::from("a")) && both.listen(Str::from("b")));

    let woken = both.outbox().wait();
    notify(&engine, &hub, &[("a", "1"), ("b", "2"), ("a", "1"), ("c", "3")]);
    notify(&engine, &hub, &[("a", "4")]);
    assert!(woken.is_done());
    assert_eq!(received(&one), ["a 1", "a 4"]);
    assert_eq!(received(&both), ["a 1", "b 2", "a 4"]);

    one.unlisten("a");
    both.unlisten_all();
    both.listen(Str::from("b"));
    notify(&engine, &hub, &[("a", "5"), ("b", "6")]);
    assert!(received(&one).is_empty());
    assert_eq!(received(&both), ["b 6"]);

    hub.stop();
    engine.shutdown().unwrap();
}

#[test]
fn what_is_rolled_back_is_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _) = Engine::open(EngineOptions::new(dir.path()), Arc::new(SystemEnv::new())).unwrap();
    let hub = Hub::start(&engine).unwrap();
    let mut listener = hub.listener();
    listener.listen(Str::from("a"));
    let mut transaction = engine.begin(TxnOptions::default()).unwrap();
    transaction.notify(Str::from("a"), Str::from("never"));
    transaction.rollback();
    notify(&engine, &hub, &[("a", "told")]);
    assert_eq!(received(&listener), ["a told"]);
    hub.stop();
    engine.shutdown().unwrap();
}
