//! One group's state in one partition.
//!
//! A message is acknowledged, held by one consumer, returned (it comes again, perhaps later), or untouched. A lease
//! whose time has ended stays with its consumer until somebody else claims the message, so a late ACK that hurts nobody
//! is taken. What a transaction settles is decided at its end; until then nobody else gets the message.

use super::lease::{Lease, not_held};
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
    Held { pid: i32, secret: u64, until: u64, settling: bool },
    Returned { at: u64 },
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
    acked: BTreeSet<u64>,
    /// Messages that were claimed at least once and are not acknowledged.
    touched: BTreeMap<u64, Message>,
}

impl Claims {
    /// A group that begins at `position`, with what was acknowledged after it.
    pub fn new(position: u64, acked: impl IntoIterator<Item = u64>) -> Claims {
        let acked = acked.into_iter().filter(|&offset| offset >= position).collect();
        let mut claims = Claims { position, acked, touched: BTreeMap::new() };
        claims.advance();
        claims
    }

    /// All messages before it are acknowledged.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Acknowledged offsets from the position on, to be stored beside it.
    pub fn acked(&self) -> impl Iterator<Item = u64> {
        self.acked.iter().copied()
    }

    /// Messages held at `now`.
    pub fn in_flight(&self, now: u64) -> usize {
        self.touched.values().filter(|message| !message.is_free(now)).count()
    }

    /// Claims up to `max` messages before `end`, the lowest offsets first; `secret` makes the leases' random parts.
    pub fn claim(&mut self, end: u64, max: usize, claimer: Claimer, mut secret: impl FnMut() -> u64) -> Vec<Claimed> {
        let mut claimed = Vec::new();
        for offset in self.position..end {
            if claimed.len() >= max {
                break;
            }
            if self.acked.contains(&offset) {
                continue;
            }
            let attempts = match self.touched.get(&offset) {
                Some(message) if message.is_free(claimer.now) => message.attempts,
                Some(_) => continue,
                None if self.touched.len() >= GROUP_IN_FLIGHT_MAX => break,
                None => 0,
            };
            let secret = secret();
            let attempts = attempts.saturating_add(1);
            let state = State::Held { pid: claimer.pid, secret, until: claimer.until, settling: false };
            self.touched.insert(offset, Message { attempts, state });
            claimed.push(Claimed { offset, attempt: attempts, secret });
        }
        claimed
    }

    /// Gives claims back whose transaction rolled back: the messages return at once, the attempts count.
    pub fn give_back(&mut self, claimed: &[Claimed]) {
        for Claimed { offset, secret, .. } in claimed {
            if let Some(message) = self.touched.get_mut(offset)
                && message.holds(*secret)
            {
                message.state = State::Returned { at: 0 };
            }
        }
    }

    /// Begins to settle by lease. 55000 unless it is held and nobody settles it yet.
    pub fn settle_lease(&mut self, lease: &Lease, outcome: Outcome) -> Result<Settling> {
        let message = self.touched.get_mut(&lease.offset).filter(|message| message.attempts == lease.attempt);
        begin(message, lease.offset, outcome, |_, secret| secret == lease.secret)
            .ok_or_else(|| not_held(format_args!("lease \"{lease}\"")))
    }

    /// Begins to settle by offset, which only the session that consumed may. 55000 as above.
    pub fn settle_offset(&mut self, offset: u64, pid: i32, outcome: Outcome) -> Result<Settling> {
        begin(self.touched.get_mut(&offset), offset, outcome, |holder, _| holder == pid)
            .ok_or_else(|| not_held(format_args!("message at offset {offset}")))
    }

    /// Begins to settle all that the session holds up to and with an offset.
    pub fn settle_upto(&mut self, upto: u64, pid: i32, outcome: Outcome) -> Vec<Settling> {
        let messages = self.touched.range_mut(..=upto);
        messages
            .filter_map(|(&offset, message)| begin(Some(message), offset, outcome, |holder, _| holder == pid))
            .collect()
    }

    /// Ends what was begun: done when the transaction committed, else as before.
    pub fn end(&mut self, settling: Settling, committed: bool) {
        let Some(message) = self.touched.get_mut(&settling.offset).filter(|message| message.holds(settling.secret))
        else {
            return;
        };
        let State::Held { until, settling: being_settled, .. } = &mut message.state else { return };
        *being_settled = false;
        match settling.outcome {
            _ if !committed => {}
            Outcome::Extend(to) => *until = to,
            Outcome::Nack(at) => message.state = State::Returned { at },
            Outcome::Release => {
                message.attempts -= 1;
                message.state = State::Returned { at: 0 };
            }
            Outcome::Ack => {
                self.touched.remove(&settling.offset);
                self.acked.insert(settling.offset);
                self.advance();
            }
        }
    }

    fn advance(&mut self) {
        while self.acked.remove(&self.position) {
            self.position += 1;
        }
    }
}

/// Marks a held message as being settled, if it is the caller's.
fn begin(
    message: Option<&mut Message>,
    offset: u64,
    outcome: Outcome,
    is_callers: impl Fn(i32, u64) -> bool,
) -> Option<Settling> {
    match &mut message?.state {
        State::Held { pid, secret, settling, .. } if !*settling && is_callers(*pid, *secret) => {
            *settling = true;
            Some(Settling { offset, secret: *secret, outcome })
        }
        _ => None,
    }
}

impl Message {
    fn is_free(&self, now: u64) -> bool {
        match self.state {
            State::Held { until, settling, .. } => !settling && until <= now,
            State::Returned { at } => at <= now,
        }
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
                prop_assert_eq!(claims.acked().collect::<Vec<_>>(), acked);
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
        let mut claims = Claims::new(0, [2]);
        claims.claim(5, 2, Claimer { pid: 1, now: 0, until: 5 }, || 1);
        claims.claim(5, 2, Claimer { pid: 2, now: 0, until: 5 }, || 2);
        let settling = claims.settle_upto(3, 1, Outcome::Ack);
        assert_eq!(settling.iter().map(|settling| settling.offset).collect::<Vec<_>>(), [0, 1]);
        settling.into_iter().for_each(|settling| claims.end(settling, true));
        assert_eq!((claims.position(), claims.in_flight(0)), (3, 2));
        assert!(claims.settle_upto(9, 7, Outcome::Ack).is_empty());
    }
}
