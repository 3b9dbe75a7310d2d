//! The data directory: its format version, and the lock that keeps a second server out.
//!
//! ```text
//! VERSION   "tertulia 1\n"
//! LOCK      the server's process id, locked while it runs
//! log/      the commit log
//! bulk/     commits that are too large for a record of it; what open transactions spill
//! index/    LMDB
//! pgpass    the superuser's password, where the server made it
//! ```

use crate::error::{Error, Result, SqlState};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The format that this version writes and reads.
const VERSION: &str = "tertulia 1";
/// VERSION while it is written.
const UNFINISHED: &str = "VERSION.new";

/// An open data directory; nobody else opens it while this lives.
pub struct DataDir {
    path: PathBuf,
    /// Keeps the lock.
    _lock: File,
    /// Whether it was made by this opening.
    fresh: bool,
}

impl DataDir {
    /// Opens or makes a data directory.
    ///
    /// # Errors
    /// 55006 where another server has it, 0A000 for a format that this version does not know, 58030 where it cannot be
    /// made, F0000 where the directory holds something else.
    pub fn open(path: &Path) -> Result<DataDir> {
        fs::create_dir_all(path).map_err(|error| of_directory(path, error))?;
        let version = path.join("VERSION");
        // also before the lock's file is made in it
        if !version.try_exists()? {
            refuse_foreign(path)?;
        }
        let lock = lock(path)?;
        let fresh = match fs::read_to_string(&version) {
            Ok(found) => {
                check_version(path, found.trim_end())?;
                false
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                refuse_foreign(path)?;
                true
            }
            Err(error) => return Err(error.into()),
        };
        for name in ["log", "bulk", "index"] {
            fs::create_dir_all(path.join(name))?;
        }
        if fresh {
            // under its name only when it is whole: a crash in between leaves a new directory
            let unfinished = path.join(UNFINISHED);
            let mut file = File::create(&unfinished)?;
            file.write_all(format!("{VERSION}\n").as_bytes())?;
            file.sync_all()?;
            fs::rename(&unfinished, &version)?;
        }
        // what is synced in a directory is lost with it, unless its own name is durable
        File::open(path)?.sync_all()?;
        if let Some(parent) = path.parent().filter(|parent| fresh && !parent.as_os_str().is_empty())
            // where it may not be read it has been there for long
            && let Ok(parent) = File::open(parent)
        {
            parent.sync_all()?;
        }
        Ok(DataDir { path: path.to_owned(), _lock: lock, fresh })
    }

    /// Opens a data directory that is there already.
    ///
    /// # Errors
    /// 58P01 where it is none; else as [`open`](DataDir::open).
    pub fn open_existing(path: &Path) -> Result<DataDir> {
        match fs::read_to_string(path.join("VERSION")) {
            Ok(found) => check_version(path, found.trim_end())?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let message = format!("\"{}\" is no data directory", path.display());
                return Err(Error::new(SqlState::UNDEFINED_FILE, message).detail("It has no file VERSION."));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(DataDir { path: path.to_owned(), _lock: lock(path)?, fresh: false })
    }

    /// Whether this opening made the directory.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where LMDB is.
    pub fn store(&self) -> PathBuf {
        self.path.join("index")
    }
}

fn lock(path: &Path) -> Result<File> {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path.join("LOCK"));
    let mut file = file.map_err(|error| of_directory(path, error))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut holder = String::new();
        file.read_to_string(&mut holder)?;
        let message = format!("data directory \"{}\" is in use by another server", path.display());
        let detail = format!("Its process id is {}.", holder.trim());
        return Err(Error::new(SqlState::OBJECT_IN_USE, message).detail(detail));
    }
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

/// An error of the data directory as a whole, which names it.
fn of_directory(path: &Path, error: std::io::Error) -> Error {
    Error::from(error).context(format!("data directory \"{}\"", path.display()))
}

fn check_version(path: &Path, found: &str) -> Result<()> {
    if found == VERSION {
        return Ok(());
    }
    let message = format!("data directory \"{}\" has the format \"{found}\"", path.display());
    let hint = format!("This version of the server reads \"{VERSION}\". Use the version that wrote it.");
    Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message).hint(hint))
}

/// A directory without VERSION must hold nothing of anybody else's.
fn refuse_foreign(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if !["LOCK", "log", "bulk", "index", "pgpass", UNFINISHED].iter().any(|ours| name == *ours) {
            let message = format!("directory \"{}\" is not empty and is no data directory", path.display());
            let detail = format!("It holds \"{}\".", name.to_string_lossy());
            return Err(Error::new(SqlState::CONFIG_FILE_ERROR, message).detail(detail));
        }
    }
    Ok(())
}
