//! A stand-in in memory with the contract's signatures, so that the layers above compile; to be replaced whole.
#![expect(missing_docs, reason = "a stand-in")]
use crate::error::Result;
use crate::types::CommitSeq;
use bytes::Bytes;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Forward,
    Backward,
}
pub enum Pressure {
    None,
    Delay(Duration),
    Full,
}
pub struct Entry {
    pub key: Bytes,
    pub value: Option<Bytes>,
    pub volatile: bool,
}
pub struct StoreOptions {
    pub dir: PathBuf,
    pub map_size: usize,
    pub generation_bytes: usize,
    pub recent_bytes_max: usize,
    pub readers: u32,
}
type Map = BTreeMap<Bytes, Vec<(CommitSeq, Option<Bytes>)>>;
#[derive(Default)]
pub struct Store {
    map: Arc<RwLock<Map>>,
    seq: AtomicU64,
}
pub struct StoreSnapshot {
    map: Arc<RwLock<Map>>,
    seq: CommitSeq,
}
pub struct StoreCursor {
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    direction: Direction,
}
impl Store {
    pub fn open(_: StoreOptions) -> Result<Store> {
        Ok(Store::default())
    }
    pub fn position(&self) -> CommitSeq {
        CommitSeq::ZERO
    }
    pub fn published(&self) -> CommitSeq {
        CommitSeq(self.seq.load(Ordering::Acquire))
    }
    pub fn install(&self, seq: CommitSeq, entries: impl IntoIterator<Item = Entry>) {
        let mut map = self.map.write();
        for e in entries {
            map.entry(e.key).or_default().push((seq, e.value));
        }
    }
    pub fn publish(&self, seq: CommitSeq) {
        self.seq.store(seq.0, Ordering::Release)
    }
    pub fn snapshot(&self) -> Result<StoreSnapshot> {
        Ok(StoreSnapshot { map: self.map.clone(), seq: self.published() })
    }
    pub fn pressure(&self) -> Pressure {
        Pressure::None
    }
    pub fn wait_for_room(&self, _: Duration) -> Result<()> {
        Ok(())
    }
    pub fn needs_fold(&self) -> bool {
        false
    }
    pub fn fold(&self) -> Result<Option<CommitSeq>> {
        Ok(None)
    }
    pub fn on_frozen(&self, _: Box<dyn Fn() + Send + Sync>) {}
}
impl StoreSnapshot {
    pub fn seq(&self) -> CommitSeq {
        self.seq
    }
    fn pick(&self, v: &[(CommitSeq, Option<Bytes>)]) -> Option<Bytes> {
        v.iter().rev().find(|(s, _)| *s <= self.seq).and_then(|(_, v)| v.clone())
    }
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.map.read().get(key).and_then(|v| self.pick(v)))
    }
    pub fn cursor(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>, direction: Direction) -> StoreCursor {
        StoreCursor { from, to, direction }
    }
}
impl StoreCursor {
    pub fn next_batch(&mut self, s: &StoreSnapshot, out: &mut Vec<(Bytes, Bytes)>, max: usize) -> Result<bool> {
        let map = s.map.read();
        let r =
            map.range::<[u8], _>((self.from.as_ref().map(|v| v.as_slice()), self.to.as_ref().map(|v| v.as_slice())));
        let it: Box<dyn Iterator<Item = _>> =
            if self.direction == Direction::Forward { Box::new(r) } else { Box::new(r.rev()) };
        let mut n = 0;
        for (k, v) in it {
            if n == max {
                let (last, _) = out.last().unwrap();
                if self.direction == Direction::Forward {
                    self.from = Bound::Excluded(last.to_vec())
                } else {
                    self.to = Bound::Excluded(last.to_vec())
                }
                return Ok(true);
            }
            if let Some(v) = s.pick(v) {
                out.push((k.clone(), v));
                n += 1;
            }
        }
        Ok(false)
    }
}
pub mod disk {
    pub struct RealDisk;
    impl RealDisk {
        pub fn new() -> Self {
            RealDisk
        }
    }
}
pub mod datadir {
    use crate::error::Result;
    use std::path::*;
    pub struct DataDir(PathBuf);
    impl DataDir {
        pub fn open(p: &Path) -> Result<DataDir> {
            Ok(DataDir(p.into()))
        }
        pub fn store(&self) -> PathBuf {
            self.0.join("store")
        }
        pub fn log(&self) -> PathBuf {
            self.0.join("log")
        }
    }
}
pub mod log {
    use super::*;
    pub struct LogReport {
        pub tail_cut: Option<String>,
        pub last: CommitSeq,
    }
    #[derive(Default)]
    pub struct LogOptions {}
    pub trait CommitLog: Send + Sync {
        fn append(&self, first: CommitSeq, last: CommitSeq, payload: &[u8]) -> Result<()>;
        fn sync(&self) -> Result<()>;
        fn read_from(&self, after: CommitSeq) -> Result<LogReader>;
        fn release(&self, upto: CommitSeq) -> Result<()>;
        fn oldest(&self) -> CommitSeq;
    }
    pub struct LogRecord {
        pub first: CommitSeq,
        pub last: CommitSeq,
        pub payload: Bytes,
    }
    pub struct LogReader(std::vec::IntoIter<(CommitSeq, CommitSeq, Bytes)>);
    impl Iterator for LogReader {
        type Item = Result<LogRecord>;
        fn next(&mut self) -> Option<Self::Item> {
            self.0.next().map(|(first, last, payload)| Ok(LogRecord { first, last, payload }))
        }
    }
    pub struct FileLog(parking_lot::Mutex<Vec<(CommitSeq, CommitSeq, Bytes)>>);
    impl FileLog {
        pub fn open(_: Arc<super::disk::RealDisk>, _: &std::path::Path, _: LogOptions) -> Result<(FileLog, LogReport)> {
            Ok((FileLog(Default::default()), LogReport { tail_cut: None, last: CommitSeq::ZERO }))
        }
    }
    impl CommitLog for FileLog {
        fn append(&self, first: CommitSeq, last: CommitSeq, payload: &[u8]) -> Result<()> {
            self.0.lock().push((first, last, Bytes::copy_from_slice(payload)));
            Ok(())
        }
        fn sync(&self) -> Result<()> {
            Ok(())
        }
        fn read_from(&self, after: CommitSeq) -> Result<LogReader> {
            Ok(LogReader(self.0.lock().iter().filter(|r| r.1 > after).cloned().collect::<Vec<_>>().into_iter()))
        }
        fn release(&self, _: CommitSeq) -> Result<()> {
            Ok(())
        }
        fn oldest(&self) -> CommitSeq {
            CommitSeq::ZERO
        }
    }
}
