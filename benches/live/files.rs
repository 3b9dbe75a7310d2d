//! The limit of open files, for thousands of sockets; the servers inherit it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files beside the sockets: of the servers, of the runtimes, of whoever writes.
const OTHERS: u64 = 1_000;

/// Raises the limit so that so many sockets can be open.
pub fn raise_limit(sockets: usize) {
    let wanted = sockets as u64 + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    // above the hard limit only where the system lets us
    let maximum = limit.maximum.map(|maximum| maximum.max(wanted));
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
        eprintln!("{wanted} open files are needed, and the limit of {:?} stands: {error}", limit.maximum);
        std::process::exit(1);
    }
}
