//! Login: SCRAM-SHA-256 (RFC 5802, RFC 7677) against stored verifiers, never passwords.
//!
//! Nobody learns from the exchange whether a role exists: a name without a role, or a role without a password, gets
//! the same messages, computed from a mock verifier, and fails at the end as a wrong password does. The mock salt is a
//! function of the name and a secret of the server, so that asking twice tells nothing either. What is sent and
//! received is [`wire`](crate::wire)'s.

mod verifier;

use crate::catalog::{Catalog, Role};
use crate::error::{Error, Result, SqlState};
use pgwire::api::auth::sasl::scram::{ScramServerAuth, ScramServerAuthWaitingForClientFinal};
use pgwire::error::PgWireError;
use std::sync::Arc;
pub use verifier::{is_verifier, make_verifier};

/// The only mechanism that is offered; there is no TLS yet to bind a channel to.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// One login: the server's side of the exchange for one name.
pub struct Login {
    user: String,
    role: Option<Arc<Role>>,
    secret: verifier::Secret,
    pending: Option<ScramServerAuthWaitingForClientFinal>,
}

impl Login {
    /// Begins the exchange for the name in the start-up packet.
    pub fn new(user: &str, catalog: &Catalog) -> Login {
        let known = catalog.role_by_name(user).and_then(|role| {
            let secret = verifier::Secret::parse(role.verifier.as_deref()?)?;
            Some((role.clone(), secret))
        });
        let (role, secret) = match known {
            Some((role, secret)) => (Some(role), secret),
            None => (None, verifier::Secret::mock(user, &mock_key(catalog))),
        };
        Login { user: user.to_owned(), role, secret, pending: None }
    }

    /// Takes SASLInitialResponse; returns the data of AuthenticationSASLContinue.
    pub fn first(&mut self, mechanism: &str, client_first: &[u8]) -> Result<Vec<u8>> {
        if mechanism != MECHANISM {
            return Err(violation("client selected an invalid SASL authentication mechanism"));
        }
        let (answer, pending) = ScramServerAuth::new()
            .on_client_first_message_with_secret(client_first, self.secret.to_scram())
            .map_err(|error| self.failure(error))?;
        self.pending = Some(pending);
        Ok(answer.into_bytes())
    }

    /// Takes SASLResponse; returns the role and the data of AuthenticationSASLFinal.
    pub fn finish(&mut self, client_final: &[u8]) -> Result<(Arc<Role>, Vec<u8>)> {
        let pending = self.pending.take().ok_or_else(|| violation("unexpected SASL response"))?;
        let answer = pending.on_client_final_message(client_final).map_err(|error| self.failure(error))?;
        let role = self.role.take().ok_or_else(|| wrong_password(&self.user))?;
        if !role.login {
            let message = format!("role \"{}\" is not permitted to log in", role.name);
            return Err(Error::fatal(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, message));
        }
        Ok((role, answer.into_bytes()))
    }

    fn failure(&self, error: PgWireError) -> Error {
        match error {
            PgWireError::InvalidPassword(_) => wrong_password(&self.user),
            _ => violation("malformed SCRAM message"),
        }
    }
}

fn wrong_password(user: &str) -> Error {
    Error::fatal(SqlState::INVALID_PASSWORD, format!("password authentication failed for user \"{user}\""))
}

fn violation(message: &str) -> Error {
    Error::fatal(SqlState::PROTOCOL_VIOLATION, message)
}

/// What mock salts are made from: secret, and the same after a restart. The first role's verifier is both.
fn mock_key(catalog: &Catalog) -> String {
    catalog.role(Role::BOOTSTRAP).and_then(|role| role.verifier.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::CatalogEntry;
    use crate::types::Oid;
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

    fn catalog() -> Catalog {
        let mut catalog = Catalog::default();
        for (oid, name, login) in [(10, "tertulia", true), (20, "idle", false)] {
            catalog.put(CatalogEntry::Role(Arc::new(Role {
                oid: Oid(oid),
                name: name.to_owned(),
                login,
                superuser: oid == 10,
                service: false,
                inherit: true,
                create_role: false,
                create_db: false,
                connection_limit: -1,
                verifier: Some(make_verifier("right")),
                memberships: Vec::new(),
            })));
        }
        catalog
    }

    fn attempt(user: &str, password: &str) -> Result<Arc<Role>> {
        let mut login = Login::new(user, &catalog());
        let mut client = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        let first = login.first(MECHANISM, client.message())?;
        client.update(&first).expect("a well-formed first answer");
        let (role, last) = login.finish(client.message())?;
        client.finish(&last).expect("the server proves that it knows the verifier");
        Ok(role)
    }

    #[test]
    fn the_right_password_logs_in() {
        assert_eq!(attempt("tertulia", "right").expect("login").name, "tertulia");
    }

    #[test]
    fn wrong_password_and_unknown_user_fail_alike() {
        for (user, password) in [("tertulia", "wrong"), ("nobody", "right")] {
            let error = attempt(user, password).expect_err("refused");
            assert_eq!(error.code(), SqlState::INVALID_PASSWORD);
            assert_eq!(error.fields().message, format!("password authentication failed for user \"{user}\""));
        }
    }

    #[test]
    fn nologin_is_told_only_with_the_right_password() {
        assert_eq!(attempt("idle", "right").expect_err("refused").code().as_str(), "28000");
        assert_eq!(attempt("idle", "wrong").expect_err("refused").code().as_str(), "28P01");
    }

    #[test]
    fn an_unknown_user_sees_the_same_salt_twice() {
        let salt = |user: &str| {
            let mut login = Login::new(user, &catalog());
            login.secret = verifier::Secret::mock(user, "secret");
            let answer = login.first(MECHANISM, b"n,,n=,r=abc").expect("answer");
            let text = String::from_utf8(answer).expect("text");
            text.split(",s=").nth(1).expect("a salt").to_owned()
        };
        assert_eq!(salt("nobody"), salt("nobody"));
        assert_ne!(salt("nobody"), salt("somebody"));
    }

    #[test]
    fn garbage_is_a_protocol_violation() {
        let mut login = Login::new("tertulia", &catalog());
        assert_eq!(login.first("PLAIN", b"").expect_err("refused").code().as_str(), "08P01");
        assert_eq!(login.first(MECHANISM, b"\xff\xff").expect_err("refused").code().as_str(), "08P01");
        assert_eq!(login.finish(b"c=biws").expect_err("refused").code().as_str(), "08P01");
    }
}
