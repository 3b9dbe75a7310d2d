//! Live rows: channels, subscriptions and the reader of the commit sequence that feeds them.
