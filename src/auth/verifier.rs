//! SCRAM verifiers in PostgreSQL's text form: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pgwire::api::auth::sasl::scram::ScramSecret;
use sha2::{Digest, Sha256};

/// Iterations of the mock verifier; those that [`make_verifier`] uses, so that the two cannot be told apart.
const ITERATIONS: usize = 4_096;
const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 32;

/// What the server keeps of a password.
pub(super) struct Secret {
    iterations: usize,
    salt: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl Secret {
    /// Reads a stored verifier; none when it is not one.
    pub(super) fn parse(text: &str) -> Option<Secret> {
        let (iterations, rest) = text.strip_prefix("SCRAM-SHA-256$")?.split_once(':')?;
        let (salt, keys) = rest.split_once('$')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let secret = Secret {
            iterations: iterations.parse().ok().filter(|&count| count > 0)?,
            salt: STANDARD.decode(salt).ok()?,
            stored_key: STANDARD.decode(stored_key).ok()?,
            server_key: STANDARD.decode(server_key).ok()?,
        };
        let keys_fit = secret.stored_key.len() == KEY_BYTES && secret.server_key.len() == KEY_BYTES;
        keys_fit.then_some(secret)
    }

    /// A verifier that no password fits, the same for the same name.
    pub(super) fn mock(user: &str, key: &str) -> Secret {
        let derive = |purpose: &str| {
            let mut hash = Sha256::new();
            for part in [purpose, key, user] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
            hash.finalize().to_vec()
        };
        Secret {
            iterations: ITERATIONS,
            salt: derive("salt")[..SALT_BYTES].to_vec(),
            stored_key: derive("stored key"),
            server_key: derive("server key"),
        }
    }

    /// The form that the exchange takes.
    pub(super) fn to_scram(&self) -> ScramSecret {
        ScramSecret::Verifier {
            salt: self.salt.clone(),
            iterations: self.iterations,
            stored_key: self.stored_key.clone(),
            server_key: self.server_key.clone(),
        }
    }
}

/// The verifier of a password, with a new salt.
pub fn make_verifier(password: &str) -> String {
    postgres_protocol::password::scram_sha_256(password.as_bytes())
}

/// Whether a text is a verifier already, which CREATE ROLE stores as it is (pg_dumpall sends it so).
pub fn is_verifier(text: &str) -> bool {
    Secret::parse(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifiers_are_recognized_and_passwords_are_not() {
        assert!(is_verifier(&make_verifier("secret")));
        for text in ["secret", "SCRAM-SHA-256$", "SCRAM-SHA-256$4096:AAAA$AAAA:AAAA", "SCRAM-SHA-256$0:A$B:C"] {
            assert!(!is_verifier(text), "{text}");
        }
    }
}
