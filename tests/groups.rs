//! What is durable of a consumer group: whatever the order of acknowledgements, folds, resets and restarts, the group
//! is where a list of what was acknowledged says.

use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use tertulia::catalog::{Relation, RelationKind, Schema, Topic};
use tertulia::env::ManualEnv;
use tertulia::topic::{Claimer, Group, Lookup, Outcome, Target};
use tertulia::txn::{Engine, EngineOptions, LockKey, LockMode, LockPolicy, Transaction, TxnOptions};
use tertulia::types::Oid;

/// Messages in the only partition.
const END: u64 = 12;

#[derive(Clone, Debug)]
enum Step {
    /// Claims messages, and gives them back by a rollback or not.
    Claim {
        max: usize,
        committed: bool,
    },
    /// Begins a transaction that settles what is held among these.
    Settle {
        offsets: Vec<u64>,
        outcome: u8,
    },
    /// Ends one that was begun.
    End {
        which: usize,
        committed: bool,
    },
    Fold,
    Reset {
        to: Vec<u64>,
        committed: bool,
    },
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let offsets = prop::collection::vec(0..END, 1..5);
    let step = prop_oneof![
        4 => (1_usize..6, any::<bool>()).prop_map(|(max, committed)| Step::Claim { max, committed }),
        4 => (offsets, 0_u8..6).prop_map(|(offsets, outcome)| Step::Settle { offsets, outcome }),
        4 => (any::<usize>(), prop::bool::weighted(0.8))
            .prop_map(|(which, committed)| Step::End { which, committed }),
        2 => Just(Step::Fold),
        1 => (prop::collection::vec(0..END, 1..3), any::<bool>()).prop_map(|(to, committed)| Step::Reset { to, committed }),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..40)
}

struct Fixture {
    engine: Arc<Engine>,
    env: Arc<ManualEnv>,
    topic: Relation,
    group: Arc<Group>,
    dir: tempfile::TempDir,
}

fn options(dir: &tempfile::TempDir) -> EngineOptions {
    EngineOptions { map_size: 1 << 28, ..EngineOptions::new(dir.path().join("data")) }
}

fn found(engine: &Engine, topic: &Relation) -> Arc<Group> {
    match engine.find_group(topic, "g").unwrap() {
        Lookup::Found(group) => group,
        _ => panic!("the group is there"),
    }
}

impl Fixture {
    fn new(start: u64) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let env = Arc::new(ManualEnv::new(1_800_000_000_000_000, 1));
        let (engine, _) = Engine::open(options(&dir), env.clone()).unwrap();
        let transaction = engine.begin(TxnOptions::default()).unwrap();
        let topic = Relation {
            oid: transaction.alloc_oid(),
            schema: Schema::PUBLIC,
            name: "t".into(),
            owner: Oid(10),
            kind: RelationKind::Topic(Topic {
                partitions: 1,
                retention_micros: i64::MAX,
                retention_bytes: None,
                max_attempts: None,
                dead_letter: None,
                ordered: None,
                sources: Vec::new(),
            }),
            storage: transaction.alloc_storage(),
            columns: Vec::new(),
            row_version: 0,
            readable_from: 0,
            primary_key: None,
            indexes: Vec::new(),
            uniques: Vec::new(),
            checks: Vec::new(),
            acl: Vec::new(),
            options: Vec::new(),
        };
        let made = engine.make_group(&topic, "g", vec![start]).unwrap().expect("nobody else makes it");
        made.block().unwrap();
        assert!(engine.make_group(&topic, "g", vec![0]).unwrap().is_none(), "it is made once");
        let group = found(&engine, &topic);
        Fixture { engine, env, topic, group, dir }
    }

    fn restart(self) -> Fixture {
        let Fixture { engine, env, topic, group, dir } = self;
        engine.shutdown().unwrap();
        drop((engine, group));
        let (engine, _) = Engine::open(options(&dir), env.clone()).unwrap();
        let group = found(&engine, &topic);
        Fixture { engine, env, topic, group, dir }
    }

    fn begin(&self) -> Transaction {
        self.engine.begin(TxnOptions::default()).unwrap()
    }

    fn claim(&self, max: usize, committed: bool) {
        let mut transaction = self.begin();
        let claimer = Claimer { pid: 1, now: 0, until: 1_000 };
        let mut secrets = self.engine.env().random_u64();
        let claim = self.group.claim(0, END, max, claimer, || {
            secrets += 1;
            secrets
        });
        transaction.at_end(Box::new(claim));
        end(transaction, committed);
    }

    /// Begins to settle, one by one, what can be settled.
    fn settle(&self, offsets: &[u64], outcome: Outcome) -> (Transaction, Vec<u64>) {
        let mut transaction = self.begin();
        let mut settled = Vec::new();
        for offset in offsets {
            let Ok(settlement) = self.group.settle(&Target::Offsets(0, vec![*offset]), outcome, 1) else { continue };
            settled.push(*offset);
            for (key, value) in settlement.writes() {
                transaction.put_plain(key, value).unwrap();
            }
            transaction.at_end(Box::new(settlement));
        }
        (transaction, settled)
    }

    /// Resets in one transaction, the last of several counts.
    fn reset(&self, to: &[u64], committed: bool) {
        let mut transaction = self.begin();
        let key = LockKey::Key(self.group.key(0));
        transaction.lock(key, LockMode::AccessExclusive, LockPolicy::NoWait).unwrap();
        for to in to {
            let reset = self.group.reset(vec![*to]);
            for (key, value) in reset.writes() {
                transaction.put_plain(key, value).unwrap();
            }
            transaction.at_end(Box::new(reset));
        }
        end(transaction, committed);
    }
}

fn end(transaction: Transaction, committed: bool) {
    if committed {
        transaction.start_commit().unwrap().block().unwrap();
    } else {
        transaction.rollback();
    }
}

/// A transaction that settles, what it settles, whether it acknowledges, and how many resets there had been.
type Open = (Transaction, Vec<u64>, bool, u32);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_group_is_where_its_acknowledgements_say(start in 0_u64..3, steps in steps()) {
        let mut fixture = Fixture::new(start);
        let (mut begins, mut acked, mut resets) = (start, BTreeSet::new(), 0_u32);
        let mut open: Vec<Open> = Vec::new();
        for step in steps {
            match step {
                Step::Claim { max, committed } => fixture.claim(max, committed),
                Step::Settle { offsets, outcome } => {
                    let outcome = match outcome {
                        0 => Outcome::Nack(0),
                        1 => Outcome::Release,
                        _ => Outcome::Ack,
                    };
                    let (transaction, settled) = fixture.settle(&offsets, outcome);
                    open.push((transaction, settled, outcome == Outcome::Ack, resets));
                }
                Step::End { which, committed } if !open.is_empty() => {
                    let (transaction, offsets, acks, of) = open.remove(which % open.len());
                    end(transaction, committed);
                    if committed && acks && of == resets {
                        acked.extend(offsets);
                    }
                }
                Step::End { .. } => {}
                Step::Fold => fixture.engine.fold_groups().unwrap(),
                Step::Reset { to, committed } => {
                    fixture.reset(&to, committed);
                    if committed {
                        (begins, resets) = (to[to.len() - 1], resets + 1);
                        acked.clear();
                    }
                }
                Step::Restart => {
                    open.clear();
                    fixture = fixture.restart();
                }
            }
            let position = (begins..).find(|offset| !acked.contains(offset)).unwrap();
            let progress = fixture.group.progress(0, 0);
            prop_assert_eq!(progress.position, position);
            prop_assert_eq!(progress.acked, acked.iter().filter(|offset| **offset > position).count() as u64);
        }
    }
}
