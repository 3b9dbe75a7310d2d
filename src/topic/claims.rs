//! One group's state in one partition.
//!
//! A message is acknowledged, held by one consumer, returned (it comes again, perhaps later), or untouched. A lease
//! whose time has ended stays with its consumer until somebody else claims the message, so a late ACK that hurts nobody
//! is taken. What a transaction settles is decided at its end; until then nobody else gets the message.
//!
//! Every claim takes the lowest offsets that are free. To find them without looking at all that is in flight, messages
//! that were claimed before stand either among those that are ready or, by the time at which they will be, among those
//! that are due; those that nobody ever claimed begin at one offset.

use super::lease::{Lease, not_held};
use super::ranges::Ranges;
use crate::error::Result;
use crate::limits::GROUP_IN_FLIGHT_MAX;
use std::collections::{BTreeMap, BTreeSet};

/// Who claims, and until when. Times are the environment's monotonic microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Claimer {
    /// The session's process id.
    pub pid: i32,
    /// Now.
    pub now: u64,
    /// When the leases end.
    pub until: u64,
}

/// A claimed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Its offset.
    pub offset: u64,
    /// From 1.
    pub attempt: u32,
    /// Random part of its lease.
    pub secret: u64,
}

/// What is to become of a held message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// ACK: it is done.
    Ack,
    /// NACK: it comes again from this time on, with the attempt counted.
    Nack(u64),
    /// EXTEND: it is held until this time.
    Extend(u64),
    /// RELEASE: it comes again at once, with the attempt not counted.
    Release,
}

/// A message that an open transaction settles; given back to [`Claims::end`] at the transaction's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settling {
    /// Its offset.
    pub offset: u64,
    secret: u64,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Held {
        pid: i32,
        secret: u64,
        until: u64,
        /// An open transaction decides what becomes of it.
        settling: bool,
        /// The transaction that claimed it rolled back while another one was settling it.
        given_back: bool,
    },
    Returned {
        at: u64,
    },
}

#[derive(Clone, Copy, Debug)]
struct Message {
    /// Attempts begun and not given back by a release.
    attempts: u32,
    state: State,
}

/// One group's state in one partition.
#[derive(Clone, Debug)]
pub struct Claims {
    /// All before it are acknowledged.
    position: u64,
    /// What is acknowledged after it.
    acked: Ranges,
    /// Messages that were claimed at least once and are not acknowledged.
    touched: BTreeMap<u64, Message>,
    /// Those of them that may be claimed now.
    ready: BTreeSet<u64>,
    /// Those of them that may be claimed from a time on, and when.
    due: BTreeSet<(u64, u64)>,
    /// From here on nothing was ever claimed.
    fresh: u64,
}

impl Claims {
    /// A group that begins at `position`, with the ranges of what was acknowledged after it.
    pub fn new(position: u64, acked: impl IntoIterator<Item = (u64, u64)>) -> Claims {
        let mut claims = Claims {
            position,
            acked: Ranges::default(),
            touched: BTreeMap::new(),
            ready: BTreeSet::new(),
            due: BTreeSet::new(),
            fresh: position,
        };
        for (start, end) in acked {
            claims.acked.insert(start.max(position), end);
        }
        claims.advance();
        claims
    }

    /// All messages before it are acknowledged.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What is acknowledged after the position.
    pub fn acked(&self) -> &Ranges {
        &self.acked
    }

    /// Messages held at `now`.
    pub fn in_flight(&self, now: u64) -> usize {
        self.touched.values().filter(|message| message.is_held(now)).count()
    }

    /// The first time after `now` at which a message becomes free that is not free now.
    pub fn next_due(&mut self, now: u64) -> Option<u64> {
        self.wake(now);
        self.due.first().map(|(at, _)| *at)
    }

    /// Claims up to `max` messages before `end`, the lowest offsets first; `secret` makes the leases' random parts.
    pub fn claim(&mut self, end: u64, max: usize, claimer: Claimer, mut secret: impl FnMut() -> u64) -> Vec<Claimed> {
        self.wake(claimer.now);
        let mut claimed = Vec::new();
        while claimed.len() < max {
            let Some(offset) = self.next_free(end) else { break };
            self.park(offset);
            let secret = secret();
            let attempts = self.touched.get(&offset).map_or(0, |message| message.attempts).saturating_add(1);
            let (pid, until) = (claimer.pid, claimer.until);
            let state = State::Held { pid, secret, until, settling: false, given_back: false };
            self.touched.insert(offset, Message { attempts, state });
            self.due.insert((claimer.until, offset));
            claimed.push(Claimed { offset, attempt: attempts, secret });
        }
        claimed
    }

    /// The lowest offset before `end` that may be claimed. All that were claimed before are lower than all others.
    fn next_free(&mut self, end: u64) -> Option<u64> {
        if let Some(&offset) = self.ready.first() {
            return (offset < end).then_some(offset);
        }
        while let Some((_, acked)) = self.acked.containing(self.fresh) {
            self.fresh = acked;
        }
        if self.fresh >= end || self.touched.len() >= GROUP_IN_FLIGHT_MAX {
            return None;
        }
        self.fresh += 1;
        Some(self.fresh - 1)
    }

    /// Gives claims back whose transaction rolled back: the messages return at once, the attempts count.
    pub fn give_back(&mut self, claimed: &[Claimed]) {
        for claim in claimed {
            self.return_claim(claim, false);
        }
    }

    /// Takes claims back as if they had not been made.
    pub fn undo(&mut self, claimed: &[Claimed]) {
        for claim in claimed {
            self.return_claim(claim, true);
        }
    }

    fn return_claim(&mut self, claim: &Claimed, uncount: bool) {
        let Some(message) = self.touched.get_mut(&claim.offset).filter(|message| message.holds(claim.secret)) else {
            return;
        };
        message.attempts -= u32::from(uncount);
        if let State::Held { settling: true, given_back, .. } = &mut message.state {
            *given_back = true;
            return;
        }
        self.park(claim.offset);
        self.set(claim.offset, State::Returned { at: 0 });
        self.ready.insert(claim.offset);
    }

    /// Begins to settle by lease. 55000 unless it is held and nobody settles it yet.
    pub fn settle_lease(&mut self, lease: &Lease, outcome: Outcome) -> Result<Settling> {
        let matches = |message: &Message| message.attempts == lease.attempt && message.holds(lease.secret);
        self.begin(lease.offset, outcome, matches).ok_or_else(|| not_held(format_args!("lease \"{lease}\"")))
    }

    /// Begins to settle by offset, which only the session that consumed may. 55000 as above.
    pub fn settle_offset(&mut self, offset: u64, pid: i32, outcome: Outcome) -> Result<Settling> {
        self.begin(offset, outcome, |message| message.is_held_by(pid))
            .ok_or_else(|| not_held(format_args!("message at offset {offset}")))
    }

    /// Begins to settle all that the session holds up to and with an offset.
    pub fn settle_upto(&mut self, upto: u64, pid: i32, outcome: Outcome) -> Vec<Settling> {
        let held = self.touched.range(..=upto).filter(|(_, message)| message.is_held_by(pid));
        let offsets: Vec<u64> = held.map(|(&offset, _)| offset).collect();
        offsets.into_iter().filter_map(|offset| self.begin(offset, outcome, |_| true)).collect()
    }

    /// Marks a held message as being settled, if it is the caller's.
    fn begin(&mut self, offset: u64, outcome: Outcome, is_callers: impl Fn(&Message) -> bool) -> Option<Settling> {
        let message = self.touched.get_mut(&offset).filter(|message| is_callers(message))?;
        let State::Held { secret, settling, .. } = &mut message.state else { return None };
        if std::mem::replace(settling, true) {
            return None;
        }
        let settling = Settling { offset, secret: *secret, outcome };
        self.park(offset);
        Some(settling)
    }

    /// Ends what was begun: done when the transaction committed, else as before. Whether something may be claimed
    /// earlier than was known.
    pub fn end(&mut self, settling: Settling, committed: bool) -> bool {
        let offset = settling.offset;
        let Some(message) = self.touched.get_mut(&offset).filter(|message| message.holds(settling.secret)) else {
            return false;
        };
        let State::Held { until, settling: being_settled, given_back, .. } = &mut message.state else { return false };
        *being_settled = false;
        match settling.outcome {
            Outcome::Ack if committed => {
                let was_full = self.touched.len() >= GROUP_IN_FLIGHT_MAX;
                self.touched.remove(&offset);
                self.acked.insert(offset, offset + 1);
                self.advance();
                return was_full;
            }
            Outcome::Nack(at) if committed => message.state = State::Returned { at },
            Outcome::Release if committed => {
                message.attempts -= 1;
                message.state = State::Returned { at: 0 };
            }
            _ if *given_back => message.state = State::Returned { at: 0 },
            Outcome::Extend(to) if committed => *until = to,
            _ => {}
        }
        self.due.insert((message.free_from(), offset));
        true
    }

    /// Goes on at `first` because the messages before it are no longer there. How many of them were not acknowledged.
    pub fn skip_to(&mut self, first: u64) -> u64 {
        if first <= self.position {
            return 0;
        }
        while let Some((&offset, _)) = self.touched.first_key_value().filter(|(offset, _)| **offset < first) {
            self.park(offset);
            self.touched.remove(&offset);
        }
        let lost = first - self.position - self.acked.cut_before(first);
        self.position = first;
        self.fresh = self.fresh.max(first);
        self.advance();
        lost
    }

    /// Messages that are due become ready.
    fn wake(&mut self, now: u64) {
        while let Some((_, offset)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.pop_first();
            self.ready.insert(offset);
        }
    }

    /// Takes a message out of those that are ready or due: its state is about to change.
    fn park(&mut self, offset: u64) {
        if self.ready.remove(&offset) {
            return;
        }
        if let Some(message) = self.touched.get(&offset) {
            self.due.remove(&(message.free_from(), offset));
        }
    }

    fn set(&mut self, offset: u64, state: State) {
        if let Some(message) = self.touched.get_mut(&offset) {
            message.state = state;
        }
    }

    fn advance(&mut self) {
        if let Some((_, end)) = self.acked.containing(self.position) {
            self.position = end;
            self.acked.cut_before(end);
        }
        self.fresh = self.fresh.max(self.position);
    }
}

impl Message {
    /// When it may be claimed, unless it is being settled.
    fn free_from(&self) -> u64 {
        match self.state {
            State::Held { until, .. } => until,
            State::Returned { at } => at,
        }
    }

    fn is_held(&self, now: u64) -> bool {
        matches!(self.state, State::Held { until, settling, .. } if settling || until > now)
    }

    fn is_held_by(&self, session: i32) -> bool {
        matches!(self.state, State::Held { pid, .. } if pid == session)
    }

    fn holds(&self, lease: u64) -> bool {
        matches!(self.state, State::Held { secret, .. } if secret == lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const END: u64 = 6;

    #[derive(Clone, Debug)]
    enum Step {
        Claim { pid: i32, max: usize, visibility: u64 },
        Settle { offset: u64, pid: i32, outcome: u8 },
        End { which: usize, committed: bool },
        Advance(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..3, 1_usize..4, 1_u64..5).prop_map(|(pid, max, visibility)| Step::Claim { pid, max, visibility }),
            (0..END, 0..3, 0_u8..4).prop_map(|(offset, pid, outcome)| Step::Settle { offset, pid, outcome }),
            (any::<usize>(), any::<bool>()).prop_map(|(which, committed)| Step::End { which, committed }),
            (0_u64..4).prop_map(Step::Advance),
        ];
        prop::collection::vec(step, 0..60)
    }

    /// The same as a table: attempts, holder with end of lease, time of return, whether it is done or being settled.
    #[derive(Clone, Copy, Default)]
    struct Line {
        attempts: u32,
        holder: Option<(i32, u64)>,
        returns: u64,
        done: bool,
        settling: bool,
    }

    proptest! {
        #[test]
        fn claims_do_as_a_table_of_messages_would(steps in steps()) {
            let mut claims = Claims::new(0, []);
            let mut lines = [Line::default(); END as usize];
            let mut open = Vec::new();
            let (mut now, mut secrets) = (0, 0);
            for step in steps {
                match step {
                    Step::Advance(by) => now += by,
                    Step::Claim { pid, max, visibility } => {
                        let claimer = Claimer { pid, now, until: now + visibility };
                        let got = claims.claim(END, max, claimer, || { secrets += 1; secrets });
                        let mut expected = Vec::new();
                        for (offset, line) in (0..).zip(&mut lines) {
                            let free = line.holder.map_or(line.returns <= now, |(_, until)| until <= now);
                            if expected.len() < max && !line.done && !line.settling && free {
                                line.attempts += 1;
                                line.holder = Some((pid, now + visibility));
                                expected.push((offset, line.attempts));
                            }
                        }
                        let got: Vec<_> = got.iter().map(|claimed| (claimed.offset, claimed.attempt)).collect();
                        prop_assert_eq!(got, expected);
                    }
                    Step::Settle { offset, pid, outcome } => {
                        let outcome = match outcome {
                            0 => Outcome::Ack,
                            1 => Outcome::Nack(now + 2),
                            2 => Outcome::Extend(now + 3),
                            _ => Outcome::Release,
                        };
                        let line = &mut lines[offset as usize];
                        let may = !line.settling && line.holder.is_some_and(|(holder, _)| holder == pid);
                        let settling = claims.settle_offset(offset, pid, outcome);
                        prop_assert_eq!(settling.is_ok(), may);
                        line.settling |= may;
                        open.extend(settling.ok().map(|settling| (settling, outcome)));
                    }
                    Step::End { which, committed } if !open.is_empty() => {
                        let (settling, outcome) = open.remove(which % open.len());
                        claims.end(settling, committed);
                        let line = &mut lines[settling.offset as usize];
                        line.settling = false;
                        match outcome {
                            _ if !committed => {}
                            Outcome::Ack => (line.done, line.holder) = (true, None),
                            Outcome::Nack(at) => (line.returns, line.holder) = (at, None),
                            Outcome::Extend(to) => line.holder = line.holder.map(|(pid, _)| (pid, to)),
                            Outcome::Release => {
                                line.attempts -= 1;
                                (line.returns, line.holder) = (0, None);
                            }
                        }
                    }
                    Step::End { .. } => {}
                }
                let position = lines.iter().position(|line| !line.done).unwrap_or(lines.len()) as u64;
                prop_assert_eq!(claims.position(), position);
                let acked: Vec<u64> = (position..END).filter(|&offset| lines[offset as usize].done).collect();
                let found: Vec<u64> = claims.acked().iter().flat_map(|(start, end)| start..end).collect();
                prop_assert_eq!(found, acked);
                let held = |line: &&Line| line.settling || line.holder.is_some_and(|(_, until)| until > now);
                prop_assert_eq!(claims.in_flight(now), lines.iter().filter(held).count());
                let times = lines.iter().filter(|line| !line.done && !line.settling);
                let times = times.map(|line| line.holder.map_or(line.returns, |(_, until)| until));
                prop_assert_eq!(claims.next_due(now), times.filter(|at| *at > now).min());
            }
        }
    }

    #[test]
    fn a_lease_that_passed_to_another_settles_nothing() {
        let mut claims = Claims::new(0, []);
        let first = claims.claim(1, 1, Claimer { pid: 1, now: 0, until: 5 }, || 11)[0];
        let second = claims.claim(1, 1, Claimer { pid: 2, now: 5, until: 9 }, || 22)[0];
        assert_eq!((first.attempt, second.attempt), (1, 2));
        let lease = |claimed: Claimed| Lease {
            partition: 0,
            offset: claimed.offset,
            attempt: claimed.attempt,
            secret: claimed.secret,
        };
        assert!(claims.settle_lease(&lease(first), Outcome::Ack).is_err());
        claims.give_back(&[first]);
        let settling = claims.settle_lease(&lease(second), Outcome::Ack).unwrap();
        assert!(claims.settle_lease(&lease(second), Outcome::Ack).is_err());
        claims.end(settling, true);
        assert_eq!(claims.position(), 1);
    }

    #[test]
    fn upto_settles_what_the_session_holds() {
        let mut claims = Claims::new(0, [(2, 3)]);
        claims.claim(5, 2, Claimer { pid: 1, now: 0, until: 5 }, || 1);
        claims.claim(5, 2, Claimer { pid: 2, now: 0, until: 5 }, || 2);
        let settling = claims.settle_upto(3, 1, Outcome::Ack);
        assert_eq!(settling.iter().map(|settling| settling.offset).collect::<Vec<_>>(), [0, 1]);
        for settling in settling {
            claims.end(settling, true);
        }
        assert_eq!((claims.position(), claims.in_flight(0)), (3, 2));
        assert!(claims.settle_upto(9, 7, Outcome::Ack).is_empty());
    }
}
