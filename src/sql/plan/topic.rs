//! Nodes of the statements on topics. They stand alone: nothing is above or below them.

use crate::catalog::Relation;
use crate::expr::Expr;
use crate::types::Str;
use std::sync::Arc;

/// A topic in a plan. What may change while a statement waits is looked up again in the catalog.
#[derive(Clone, Debug)]
pub struct TopicRef {
    /// The topic when it was bound.
    pub relation: Arc<Relation>,
    /// Its qualified name.
    pub qualified: Str,
}

/// A place in a topic.
#[derive(Clone, Debug)]
pub enum Place {
    /// Its first message.
    Earliest,
    /// Its next message.
    Latest,
    /// An offset, a bigint.
    Offset(Expr),
    /// The first message made at or after a time, a timestamptz.
    Time(Expr),
}

/// CONSUME: messages, claimed for a group or only read.
#[derive(Debug)]
pub struct Consume {
    /// The topic.
    pub topic: TopicRef,
    /// The group's name, a text.
    pub group: Option<Expr>,
    /// The only partition to look at, an integer.
    pub partition: Option<Expr>,
    /// Where a new group, or one that only reads, begins.
    pub from: Place,
    /// Messages at most, a bigint.
    pub limit: Option<Expr>,
    /// How long to wait for the first one, an interval.
    pub wait: Option<Expr>,
    /// How long the messages are held, an interval.
    pub visibility: Option<Expr>,
    /// Whether they are acknowledged at once.
    pub auto_ack: bool,
}

/// ACK and its kin.
#[derive(Debug)]
pub struct Settle {
    /// The topic.
    pub topic: TopicRef,
    /// The group's name, a text.
    pub group: Expr,
    /// The partition, an integer.
    pub partition: Option<Expr>,
    /// Which messages.
    pub target: SettleTarget,
    /// What becomes of them.
    pub verb: SettleVerb,
}

/// Which messages are settled.
#[derive(Debug)]
pub enum SettleTarget {
    /// By offset, bigints.
    Offsets(Vec<Expr>),
    /// All that are held up to and with an offset, a bigint.
    UpTo(Expr),
    /// By lease, texts.
    Leases(Vec<Expr>),
}

/// What becomes of settled messages.
#[derive(Debug)]
pub enum SettleVerb {
    /// They are done.
    Ack,
    /// They come again, after an interval if there is one.
    Nack(Option<Expr>),
    /// They are held for an interval from now.
    Extend(Expr),
    /// They come again as if they had not been consumed.
    Release,
}

/// RESET CONSUMER GROUP.
#[derive(Debug)]
pub struct ResetGroup {
    /// The topic.
    pub topic: TopicRef,
    /// The group's name, a text.
    pub group: Expr,
    /// Where to.
    pub to: Place,
}
