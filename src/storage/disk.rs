//! Files as the log and bulk commits need them, behind a trait: tests use files in memory, and a simulation loses writes
//! ([`FaultDisk`](super::fault::FaultDisk)).

use crate::error::{Error, Result, SqlState};
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// A place for files.
pub trait Disk: Send + Sync {
    /// Makes a directory and its parents; an existing one is fine.
    fn create_dir(&self, path: &Path) -> Result<()>;
    /// The names in a directory, sorted.
    fn list(&self, path: &Path) -> Result<Vec<String>>;
    /// Opens an existing file for reading and writing; 58P01 where there is none.
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>>;
    /// Makes a file, or empties an existing one.
    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>>;
    /// Gives a file another name, replacing what had it.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    /// Removes a file; 58P01 where there is none.
    fn remove(&self, path: &Path) -> Result<()>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, path: &Path) -> Result<()>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize>;
    /// Writes all of `data`, extending the file where needed.
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()>;
    /// Makes everything written durable (fdatasync).
    fn sync_data(&self) -> Result<()>;
    /// Bytes in the file.
    fn len(&self) -> Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// The operating system's files.
#[derive(Default)]
pub struct RealDisk;

impl RealDisk {
    /// The operating system's files.
    pub fn new() -> RealDisk {
        RealDisk
    }
}

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> Result<()> {
        Ok(fs::create_dir_all(path)?)
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        match fs::OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Ok(Arc::new(RealFile(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing(path)),
            Err(error) => Err(error.into()),
        }
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        Ok(fs::rename(from, to)?)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing(path)),
            removed => Ok(removed?),
        }
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        Ok(fs::File::open(path)?.sync_all()?)
    }
}

struct RealFile(fs::File);

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        Ok(self.0.write_all_at(data, offset)?)
    }

    fn sync_data(&self) -> Result<()> {
        Ok(self.0.sync_data()?)
    }

    fn len(&self) -> Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// 58P01 for a file that is not there.
pub(super) fn missing(path: &Path) -> Error {
    Error::new(SqlState::UNDEFINED_FILE, format!("file \"{}\" does not exist", path.display()))
}
