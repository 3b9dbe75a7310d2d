//! The commit log, the recent commits in memory, and LMDB behind them.
