//! Every bound of the server with its reason and its rule for full, in one place.
//!
//! Constants are bounds that nobody should need to change; what an operator may change is a setting in
//! [`config`](crate::config) whose default stands here.

use std::time::Duration;

/// Bytes of one protocol message before login. Nobody may make us allocate before we know who it is; full: the
/// connection ends. PostgreSQL's start-up packet has the same bound (MAX_STARTUP_PACKET_LENGTH).
pub const STARTUP_PACKET_BYTES_MAX: usize = 10_000;

/// Bytes of one protocol message after login; full: 08P01 and the connection ends. PostgreSQL's bound is 1 GiB.
pub const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// Bytes of one CopyData message; full: 08P01 and the connection ends. It is PostgreSQL's bound (PQ_LARGE_MESSAGE_LIMIT),
/// which costs nothing: rows are read from such a message as it comes.
pub const COPY_DATA_BYTES_MAX: usize = (1 << 30) - 2;

/// Client connections unless `max_connections` says otherwise; full: 53300. An idle one costs a few kilobytes.
pub const CONNECTIONS_DEFAULT: usize = 1_000;

/// Sockets that have not sent a start-up packet yet, beside the connections that have; full: a new one is closed
/// unheard.
pub const HANDSHAKES_MAX: usize = 256;

/// Bytes of output that a connection collects before it writes to its socket; full: the statement stops stepping until
/// the client has taken them.
pub const OUTPUT_BYTES: usize = 64 << 10;

/// Bytes of input that a connection reads ahead while a statement runs, to notice a client that went away; full: it
/// reads no further until the statement is done.
pub const READ_AHEAD_BYTES: usize = 64 << 10;

/// Bytes of a primary or index key as stored. LMDB with longer keys takes about half a page; full: 54000.
pub const KEY_BYTES_MAX: usize = 1_900;

/// Bytes of a row as stored; full: 54000. A row must fit a log record and a message.
pub const ROW_BYTES_MAX: usize = 128 << 20;

/// Bytes of one line of a COPY: a row's text is about as long as the row, or twice as long with escapes; full: 54000.
pub const COPY_LINE_BYTES_MAX: usize = 2 * ROW_BYTES_MAX;

/// Bytes that a COPY is given at once; what comes after them waits in the socket until they are rows.
pub const COPY_FEED_BYTES: usize = 64 << 10;

/// Bytes of one transaction's writes, with what memory adds to them, at which it spills to disk; at its commit the messages
/// that sources make of them count too. A smaller commit is written to the log and installed by the committer, so this
/// bounds how long others wait for it. A very large one spills four times as much at once.
pub const WRITE_SET_CHUNK_BYTES: usize = 16 << 20;

/// Bytes that one transaction spills, and bytes of the messages that it makes; full: 53400.
pub const BIG_COMMIT_BYTES_MAX: u64 = 64 << 30;

/// Bytes of one transaction's writes that cannot be spilled (rows of STREAM tables, notifications); full: 53400.
pub const WRITE_SET_BYTES_MAX: usize = 512 << 20;

/// Changes of a bulk commit to one table and scope that live queries are shown; more: they get `lagged`, and begin anew.
pub const BULK_CHANGES_SHOWN_MAX: usize = 50_000;

/// Bytes of those changes; more: the same.
pub const BULK_BYTES_SHOWN_MAX: usize = 32 << 20;

/// Bulk commits that wait to be folded; full: the next one waits with its commit, and nobody else. Each is one more
/// place where every read looks.
pub const BULKS_MAX: usize = 4;

/// Bytes of one of LMDB's commits while a bulk commit is folded: other folds get their turn after it.
pub const BULK_FOLD_PART_BYTES: usize = 32 << 20;

/// Bytes of the commits that share one log record; full: the others are the next group. A larger commit has a record of
/// its own.
pub const GROUP_BYTES_MAX: usize = 64 << 20;

/// Bytes of the rows of all STREAM tables, which are in memory only; full: 53200 until some of them expire.
pub const STREAM_BYTES_MAX: usize = 1 << 30;

/// Bytes of the active generation of recent commits at which it is frozen and folded into LMDB, with what the map around
/// them takes: some 350 bytes for a row of 120.
pub const GENERATION_BYTES: usize = 96 << 20;

/// Bytes of all generations together at which writers wait; they are slowed from half of it on. One that fills up while
/// another is folded does not slow them.
pub const RECENT_BYTES_MAX: usize = 384 << 20;

/// The longest that a group of commits is delayed so that folding keeps up, just before writers must wait: fifty groups a
/// second are still let in.
pub const WRITER_DELAY_MAX: Duration = Duration::from_millis(20);

/// Bytes of generations that are folded but which old snapshots still read; full: the oldest are given up, and statements
/// that read them get 72000. A snapshot keeps the two or three generations of its beginning, so a few that are held
/// for an hour are no trouble: many that began at different times are.
pub const RETIRED_BYTES_MAX: usize = 512 << 20;

/// Bytes of memory that LMDB needs for one of a fold's commits, which are mostly of the pages that it changes; full:
/// another follows, and only the last moves the position. LMDB keeps this memory for the next one.
pub const FOLD_PART_BYTES: usize = 128 << 20;

/// How long the commit log is kept after it is folded unless `change_retention` says otherwise: a client that was away
/// for a day resumes its live queries. Over: they begin anew.
pub const CHANGE_RETENTION: Duration = Duration::from_secs(24 * 3600);

/// Bytes of the commit log and of large commits' files that are kept after they are folded unless `change_retention_bytes`
/// says otherwise; full: the oldest segment goes, however young. A day of a busy server is more than a disk.
pub const CHANGE_RETENTION_BYTES: u64 = 16 << 30;

/// Entries that a reader takes from the recent map under one lock, so that point reads stay quick beside scans.
pub const SCAN_BATCH: usize = 256;

/// Bytes at which a batch of a scan is complete however few its entries are: a row may have [`ROW_BYTES_MAX`]. The one that
/// passes the bound is in it.
pub const SCAN_BATCH_BYTES: usize = 1 << 20;

/// Words, values and signs of a query string; full: 54000. Each costs some hundred bytes until the statement is done, in
/// its syntax and its plan: a gigabyte all together. PostgreSQL goes on until its memory ends. They are enough for 350,000
/// rows of two values, which COPY loads quicker.
pub const TOKENS_MAX: usize = 2 << 20;

/// Nesting of a statement's syntax; full: 54001. Bounds the parser's and the binder's stack.
pub const NESTING_MAX: usize = 256;

/// Nesting of a JSON document; full: 54001. Bounds the reader's stack.
pub const JSON_NESTING_MAX: usize = 512;

/// Operators on one path through a statement's expressions, whose trees lean to the left; full: 54001. Bounds the stack
/// of all that walks them.
pub const OPERATOR_CHAIN_MAX: usize = 1_000;

/// Stack of a thread that binds or evaluates expressions: a worker's and the live reader's. Enough for the nesting and
/// the operator chains that are allowed: sub-selects as deep as they may be took more than 8 MiB without optimisation.
/// What is not used costs no memory.
pub const STACK_BYTES: usize = 32 << 20;

/// Rows that a definition judges or stores anew before others may have the thread, and before an interrupt is looked at.
pub const DEFINITION_STEP_ROWS: usize = 1_024;

/// Columns of a relation (PostgreSQL's MaxHeapAttributeNumber); full: 54011.
pub const COLUMNS_MAX: usize = 1_600;

/// Columns of an index (PostgreSQL's INDEX_MAX_KEYS); full: 54011.
pub const INDEX_COLUMNS_MAX: usize = 32;

/// Texts whose statements are kept prepared for all sessions; full: the least recently used goes.
pub const CACHED_TEXTS_MAX: usize = 4_096;

/// Bytes of a text that is kept prepared: a longer one is a load of literals that does not come again.
pub const CACHED_TEXT_BYTES_MAX: usize = 8 << 10;

/// Meanings of one text (by role, search path, declared types) that are kept; full: the oldest goes.
pub const CACHED_VARIANTS_MAX: usize = 16;

/// Prepared statements of one session; full: 53400. They live as long as the session.
pub const PREPARED_STATEMENTS_MAX: usize = 10_000;

/// Portals of one session that are open at once; full: 53400. Each may hold a snapshot.
pub const PORTALS_MAX: usize = 1_000;

/// Savepoints of one transaction; full: 53400. Each keeps the settings as they were.
pub const SAVEPOINTS_MAX: usize = 10_000;

/// Bytes of a statement that are kept of an idle session, for pg_stat_activity (PostgreSQL's track_activity_query_size,
/// with the byte that ends it); longer: its start.
pub const ACTIVITY_QUERY_BYTES_MAX: usize = 1_023;

/// Parameters of a statement: the wire protocol counts them in 16 bits; full: 42P02, as in PostgreSQL.
pub const PARAMETERS_MAX: usize = 65_535;

/// Bytes of an identifier; longer ones are cut with a NOTICE, as PostgreSQL's NAMEDATALEN does.
pub const IDENTIFIER_BYTES_MAX: usize = 63;

/// Bytes of a channel name that is a relation's name or a query; full: 42622.
pub const CHANNEL_NAME_BYTES_MAX: usize = 8 << 10;

/// Bytes of one NOTIFY payload or live event; full: 22023 for a NOTIFY, several events for a live query.
pub const NOTIFY_PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Bytes of a user id; full: 22023.
pub const USER_ID_BYTES_MAX: usize = 512;

/// Bytes of events that wait for one session's socket; full: a live query is closed with `lagged`, a plain LISTEN
/// session ends with an error.
pub const OUTBOX_BYTES_MAX: usize = 16 << 20;

/// Bytes of events of one live query that wait for its session's socket; full: it gets `lagged` and is closed. Half of
/// the session's bound, so that one busy query leaves room for the others.
pub const LIVE_QUERY_BYTES_MAX: usize = OUTBOX_BYTES_MAX / 2;

/// Bytes of a live event that are left for what stands around its rows: its type, kind, position and marks.
pub const EVENT_ENVELOPE_BYTES: usize = 512;

/// Rows of a live event unless batch_size says otherwise.
pub const LIVE_BATCH_ROWS_DEFAULT: usize = 1_000;

/// Commits that a live query which is behind the others is shown in one turn, so that it does not hold them up.
pub const CATCH_UP_COMMITS: usize = 256;

/// How many times shorter the way of live queries that catch up by themselves must be than that of any others which do:
/// so there are few such groups, each held up little by the others. Whose way is longer joins the group that is nearest
/// behind it, or waits.
pub const FOLLOWER_SHARE: u64 = 4;

/// Commits that a live query lets pass which are not new to it, to catch up together with others.
pub const FOLLOWER_DETOUR_MAX: u64 = 4_096;

/// Recent commits that the changefeed keeps; full: the oldest go, and a reader that has not seen them continues from the
/// log.
pub const FEED_COMMITS_MAX: usize = 65_536;

/// Live queries of one session; full: 53400.
pub const SUBSCRIPTIONS_PER_SESSION_MAX: usize = 1_000;

/// Live queries of one user id in all its sessions unless `live_queries_per_user_max` says otherwise; full: 53400. Each
/// costs about a kilobyte.
pub const SUBSCRIPTIONS_PER_USER_MAX: usize = 10_000;

/// Bytes that a sort or an aggregate may hold; full: 53200.
pub const WORK_MEMORY_BYTES: usize = 256 << 20;

/// Messages that a CONSUME returns unless it has a LIMIT.
pub const CONSUME_LIMIT_DEFAULT: u64 = 100;

/// Bytes of payload at which a CONSUME stops, though it returns at least one message.
pub const CONSUME_BYTES_MAX: usize = 1 << 20;

/// Milliseconds for which a consumed message is hidden from its group unless VISIBILITY says otherwise.
pub const VISIBILITY_MS_DEFAULT: u64 = 30_000;

/// Sequence numbers that a log record reserves for commits that write no record (STREAM tables, NOTIFY alone).
pub const SEQ_RESERVE: u64 = 1 << 20;

/// Microseconds of SNOWFLAKE_ID values that a log record reserves, so that ids never go back over a restart whatever the
/// clock does. After a start they are ahead of the clock by so much at most.
pub const SNOWFLAKE_RESERVE_MICROS: i64 = 10_000_000;

/// Numbers of a sequence that are reserved with one log record at least: PostgreSQL's 32 and the one that is asked for.
pub const SEQUENCE_RESERVE_MIN: u64 = 33;

/// Numbers of a sequence that are reserved with one log record at most, however quickly they are used up: so many may be
/// lost by a crash, twice.
pub const SEQUENCE_RESERVE_MAX: u64 = 1 << 16;

/// Sequences whose numbers a session remembers for currval; full: 53400.
pub const SEQUENCES_REMEMBERED_MAX: usize = 10_000;

/// Parts of the table of row locks, each with a mutex of its own: enough that sessions on different rows do not meet, and
/// that a part which grows or shrinks beside a big transaction is small.
pub const LOCK_SHARDS: usize = 256;

/// Rows and keys that all transactions together hold locked, some 60 bytes each; full: 53200. Three times the five
/// million rows of a large load, each with a primary and a unique key.
pub const ROW_LOCKS_MAX: usize = 32 << 20;

/// Of those the ones that several transactions hold or wait for, some 250 bytes each; full: 53200.
pub const SHARED_ROW_LOCKS_MAX: usize = 4 << 20;

/// Row locks that are given back in one go by the committer, or in one step of the session whose they were where there
/// are more: a few milliseconds.
pub const LOCKS_RELEASED_AT_ONCE: usize = 16 << 10;

/// Parts of the tables of object locks and of open transactions.
pub const OBJECT_LOCK_SHARDS: usize = 64;

/// Relations and advisory locks that are held or awaited at once, some 200 bytes each; full: 53200, as when PostgreSQL's
/// lock table is full.
pub const OBJECT_LOCKS_MAX: usize = 1 << 20;

/// Waits for an object that are put into another order to open one circle of waits: a circle that needs more is a
/// deadlock, which fails the one that closed it.
pub const REORDERINGS_MAX: usize = 3;

/// Places of one circle of waits at which another order is tried.
pub const REORDERED_WAITS_MAX: usize = 8;

/// Bytes of recent commits that the changefeed keeps for readers and for resuming STREAM subscriptions; full: the
/// oldest go, and a reader that has not seen them continues from the log.
pub const FEED_BYTES_MAX: usize = 64 << 20;

/// User ids whose scope numbers are kept in memory; full: those that are stored are forgotten and read again.
pub const SCOPES_CACHED_MAX: usize = 100_000;

/// Rows that one sweep of expired STREAM rows, or one step of freeing a dropped table's memory, removes at most, so that
/// its commit stays small.
pub const SWEEP_ROWS_MAX: usize = 1_024;

/// Keys of a dropped storage that are removed from the folded store in one step, so that a fold never waits long for it.
pub const FREED_KEYS_MAX: usize = 16 << 10;

/// Pieces of dropped storages that are freed before the other background steps have their turn.
pub const FREED_PIECES_MAX: usize = 64;

/// How long a commit waits for room in the recent map, or a bulk commit for an earlier one's fold, while no fold gets on;
/// over: 53100, for folding must be failing. A part of a fold takes a few seconds on a disk that is slow.
pub const ROOM_WAIT_MAX: Duration = Duration::from_secs(30);

/// How long the work of one session, however large, may hold up a statement of another that needs nothing of it: on a
/// disk that syncs `SYNC_BYTES` of a bulk file (`storage::bulk`) in a fraction of this, with a processor to spare. Kept by
/// doing large work in pieces that take milliseconds each: `DEFINITION_STEP_ROWS`, `LOCKS_RELEASED_AT_ONCE`,
/// `WRITE_SET_CHUNK_BYTES`, `SCAN_BATCH`, `FREED_KEYS_MAX`, `BULK_FOLD_PART_BYTES`, and by threads of their own for what
/// cannot be divided. `tests/big_work.rs` and `benches/big.rs` hold a server to it.
pub const STALL_MAX: Duration = Duration::from_secs(1);

/// Messages of one group and partition that are held or wait to come again; full: a claim takes no message that was
/// never claimed before.
pub const GROUP_IN_FLIGHT_MAX: usize = 100_000;

/// Bytes of a consumer group's name; full: 42622. Its length is one byte of its key.
pub const GROUP_NAME_BYTES_MAX: usize = 255;

/// Keys that an offline check of log against store holds at once; more are taken in several passes over the log.
pub const CHECK_KEYS_MAX: usize = 4_000_000;

/// Findings that an offline check prints; the others are counted.
pub const CHECK_FINDINGS_MAX: usize = 100;

/// Bytes of key ranges that one serializable transaction remembers of what it read, and as many of what it wrote; full:
/// it remembers whole relations instead, and may fail for a conflict that is none.
pub const SERIALIZABLE_RANGE_BYTES_MAX: usize = 1 << 20;

/// Bytes of key ranges that all serializable transactions remember; full: those that go on reading and writing remember
/// whole relations instead.
pub const SERIALIZABLE_BYTES_MAX: usize = 64 << 20;

/// Committed serializable transactions that are remembered for those that overlapped them; full: the one that has been
/// open longest fails with 40001.
pub const SERIALIZABLE_HISTORY_MAX: usize = 16_384;

/// The default of snapshot_age_max: how long the snapshot of a portal, or of a running statement, is held while its client
/// says nothing and takes no rows; over: the rest of its rows is written to a file and the snapshot let go.
pub const SNAPSHOT_AGE_MAX: Duration = Duration::from_secs(60);

/// The default of transaction_age_max: how long a REPEATABLE READ or SERIALIZABLE transaction may hold its snapshot, and a
/// statement that waits for its client's taking of rows; over: 72000. Long enough for a dump.
pub const TRANSACTION_AGE_MAX: Duration = Duration::from_secs(3600);

/// Bytes that one portal writes to a file when its snapshot grows old; full: 53400 when it is fetched from again.
pub const PORTAL_SPILL_BYTES_MAX: u64 = 1 << 30;
