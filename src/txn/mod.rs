//! Transactions: snapshots, locks, the committer and the changefeed. The only writer.
