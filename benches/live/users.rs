//! Users with rows of their own.

use crate::common::servers::{Login, Server};
use crate::support::process::PASSWORD;
use std::fmt::Write as _;
use tokio_postgres::Client;

/// The verifier of [`PASSWORD`] with one iteration. A client spends a millisecond on the usual 4,096 before it can log
/// in, and a thousand clients on one machine would take that from the server; what the server does is the same.
const VERIFIER: &str = "SCRAM-SHA-256$1:dGVydHVsaWEgYmVuY2hlcw==$3pTAgh69yvHUBs4ZTe+yO91uqzRJQL49rl72Fz4BEPI=:\
                        UCwyi2tDC85G+6MFHbkZ4Zk1GuJiS8kv9gROZDq9duw=";

/// Users that are made with one query.
const AT_ONCE: usize = 500;

/// A user's name.
pub fn name(number: usize) -> String {
    format!("user{number}")
}

/// A user's login.
pub fn login(server: &Server, number: usize) -> Login {
    Login { user: name(number), password: PASSWORD.to_owned(), ..server.login.clone() }
}

/// Makes users.
pub async fn make(client: &Client, count: usize) {
    let mut first = 0;
    while first < count {
        let end = (first + AT_ONCE).min(count);
        let mut sql = String::new();
        for number in first..end {
            // writing into a string cannot fail
            let _ = write!(sql, "CREATE USER {} PASSWORD '{VERIFIER}'; ", name(number));
        }
        client.batch_execute(&sql).await.expect("users are made");
        first = end;
    }
}
