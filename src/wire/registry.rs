//! The connections of a server: how many there may be, whom a CancelRequest means, and whom a shutdown ends.

use crate::catalog::Role;
use crate::env::Env;
use crate::error::{Error, Result, SqlState};
use crate::interrupt::{Interrupt, Reason};
use crate::types::Oid;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// All connections that have sent a start-up packet.
pub(super) struct Registry {
    max: usize,
    env: Arc<dyn Env>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last_pid: i32,
    entries: HashMap<i32, Entry>,
}

struct Entry {
    secret: i32,
    /// Known after login.
    role: Option<Oid>,
    interrupt: Arc<Interrupt>,
}

/// One connection's place; dropping it frees the place.
pub(super) struct Place {
    registry: Arc<Registry>,
    /// The process id that clients know the session by.
    pub(super) pid: i32,
    /// What a CancelRequest must repeat.
    pub(super) secret: i32,
    /// Interrupts the session.
    pub(super) interrupt: Arc<Interrupt>,
}

impl Registry {
    /// For at most `max` connections.
    pub(super) fn new(max: usize, env: Arc<dyn Env>) -> Arc<Registry> {
        Arc::new(Registry { max, env, state: Mutex::default() })
    }

    /// Takes a place, or 53300.
    pub(super) fn enter(self: &Arc<Registry>) -> Result<Place> {
        let mut state = self.state.lock();
        if state.entries.len() >= self.max {
            return Err(Error::fatal(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already"));
        }
        let mut pid = state.last_pid;
        loop {
            // pids come again after two thousand million connections; the map's bound ends the search
            pid = if pid == i32::MAX { 1 } else { pid + 1 };
            if !state.entries.contains_key(&pid) {
                break;
            }
        }
        state.last_pid = pid;
        let secret = self.env.random_u64() as i32;
        let interrupt = Arc::new(Interrupt::default());
        state.entries.insert(pid, Entry { secret, role: None, interrupt: interrupt.clone() });
        Ok(Place { registry: self.clone(), pid, secret, interrupt })
    }

    /// Carries out a CancelRequest: whoever asks gets no answer, whether it was right or not.
    pub(super) fn cancel(&self, pid: i32, secret: i32) {
        let state = self.state.lock();
        match state.entries.get(&pid) {
            Some(entry) if entry.secret == secret && entry.role.is_some() => entry.interrupt.set(Reason::Cancel),
            Some(_) => tracing::info!(pid, "cancel request with a wrong secret"),
            None => tracing::info!(pid, "cancel request for no session"),
        }
    }

    /// Interrupts every session because the server ends.
    pub(super) fn shut_down(&self) {
        for entry in self.state.lock().entries.values() {
            entry.interrupt.set(Reason::Shutdown);
        }
    }
}

impl Place {
    /// Notes who logged in, within the role's CONNECTION LIMIT.
    pub(super) fn log_in(&self, role: &Role) -> Result<()> {
        let mut state = self.registry.state.lock();
        let had = state.entries.values().filter(|entry| entry.role == Some(role.oid)).count();
        let limited = usize::try_from(role.connection_limit).is_ok_and(|limit| had >= limit);
        if limited && !role.superuser {
            let message = format!("too many connections for role \"{}\"", role.name);
            return Err(Error::fatal(SqlState::TOO_MANY_CONNECTIONS, message));
        }
        if let Some(entry) = state.entries.get_mut(&self.pid) {
            entry.role = Some(role.oid);
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.state.lock().entries.remove(&self.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::ManualEnv;

    #[test]
    fn places_are_counted_and_come_back() {
        let registry = Registry::new(2, Arc::new(ManualEnv::new(0, 1)));
        let first = registry.enter().expect("room");
        let second = registry.enter().expect("room");
        assert_ne!(first.pid, second.pid);
        assert_eq!(registry.enter().err().expect("full").code(), SqlState::TOO_MANY_CONNECTIONS);
        drop(first);
        assert!(registry.enter().is_ok());
    }

    #[test]
    fn a_cancel_needs_the_secret_and_a_login() {
        let registry = Registry::new(2, Arc::new(ManualEnv::new(0, 1)));
        let place = registry.enter().expect("room");
        registry.cancel(place.pid, place.secret);
        assert!(!place.interrupt.is_set(), "before login");
        let catalog = crate::catalog::bootstrap("tertulia");
        place.log_in(catalog.role(Role::BOOTSTRAP).expect("made at first")).expect("no limit");
        registry.cancel(place.pid, place.secret.wrapping_add(1));
        assert!(!place.interrupt.is_set(), "a wrong secret");
        registry.cancel(place.pid, place.secret);
        assert!(place.interrupt.is_set());
    }
}
