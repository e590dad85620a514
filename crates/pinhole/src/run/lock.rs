//! One agent per device: two would call each peer at two moments, and undo each other's changes.
//!
//! The lock is the kernel's (flock(2)), so that it ends with the process; its file, which says whose it is, goes with it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// A lock that is held.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

/// What became of the wish for a lock.
#[derive(Debug)]
pub enum Locked {
    /// It is ours.
    Ours(Lock),
    /// Another process has it: its number, if it has said so already.
    Taken(String),
}

impl Lock {
    /// Takes the lock, or tells who has it.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn take(path: PathBuf) -> io::Result<Locked> {
        if let Some(directory) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        }
        loop {
            let mut options = fs::OpenOptions::new();
            let mut file = options.read(true).write(true).create(true).truncate(false).mode(0o644).open(&path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if is_at(&file, &path) => {
                    file.set_len(0)?;
                    write!(file, "{}", std::process::id())?;
                    return Ok(Locked::Ours(Self { path, _file: file }));
                }
                // Its holder has ended since we opened it, and taken the file away.
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let mut holder = String::new();
                    file.read_to_string(&mut holder)?;
                    return Ok(Locked::Taken(holder));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Before the lock ends, so that it is ours that is removed.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether this file is the one that others will open.
fn is_at(file: &File, path: &Path) -> bool {
    let number = |metadata: io::Result<fs::Metadata>| metadata.ok().map(|metadata| (metadata.dev(), metadata.ino()));
    number(file.metadata()) == number(fs::metadata(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_one_processs_until_it_lets_go_and_its_file_goes_with_it() {
        let path = std::env::temp_dir().join(format!("pinhole-lock-{}", std::process::id()));
        let Ok(Locked::Ours(lock)) = Lock::take(path.clone()) else { panic!("nobody has it") };
        for _ in 0..2 {
            let Ok(Locked::Taken(holder)) = Lock::take(path.clone()) else { panic!("it is taken") };
            assert_eq!(holder, std::process::id().to_string());
        }
        drop(lock);
        assert!(!path.exists());
        assert!(matches!(Lock::take(path), Ok(Locked::Ours(_))), "it is free again");
    }
}
