//! The superuser's password of a new data directory.

use crate::auth::make_verifier;
use crate::catalog::{CatalogEntry, Role};
use crate::error::{Error, Result, SqlState};
use crate::txn::{Engine, LockKey, LockMode, LockPolicy, TxnOptions};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// The file, in the data directory, that a made password is written to: libpq's format, so PGPASSFILE may name it.
const FILE: &str = "pgpass";

/// Gives the superuser a password if it has none: the one that is given, else a new one.
///
/// The file is written before the catalog: a crash between the two leaves a file that the next start writes again, and
/// never a password that nobody knows.
pub(super) fn ensure(engine: &Arc<Engine>, dir: &Path, given: Option<String>) -> Result<()> {
    let catalog = engine.catalog();
    let Some(role) = catalog.role(Role::BOOTSTRAP).filter(|role| role.verifier.is_none()) else { return Ok(()) };
    let password = match given.filter(|password| !password.is_empty()) {
        Some(password) => password,
        None => make(engine, dir, &role.name)?,
    };
    let role = Role { verifier: Some(make_verifier(&password)), ..Role::clone(role) };
    let mut transaction = engine.begin(TxnOptions::default())?;
    let entry = CatalogEntry::Role(Arc::new(role));
    transaction.lock(LockKey::Entry(entry.key()), LockMode::Exclusive, LockPolicy::NoWait)?;
    transaction.put_catalog(entry)?;
    transaction.start_commit()?.block()?;
    Ok(())
}

/// Makes a password, writes the file and shows it on a terminal; never in a log.
fn make(engine: &Arc<Engine>, dir: &Path, role: &str) -> Result<String> {
    let mut random = [0; 18];
    engine.env().fill_random(&mut random);
    let password = URL_SAFE_NO_PAD.encode(random);
    let path = dir.join(FILE);
    write_secret(&path, &format!("*:*:*:{role}:{password}\n"))
        .map_err(|error| Error::new(SqlState::IO_ERROR, format!("could not write \"{}\": {error}", path.display())))?;
    tracing::info!("the superuser's new password is in \"{}\"", path.display());
    let mut terminal = std::io::stderr();
    if terminal.is_terminal() {
        // a terminal that has gone is no reason to fail: the file has it
        let _ = writeln!(terminal, "password of {role}: {password}");
    }
    Ok(password)
}

fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    // removed first: the mode below counts only for a file that is made
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
