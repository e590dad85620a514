//! What a process does to go on without the terminal that started it.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;

/// Leaves the terminal and its session (setsid(2)), and puts `/dev/null` in the place of standard input, output and error.
/// To be called by a child that its parent waits for no longer.
///
/// # Errors
/// When `/dev/null` cannot be opened.
pub fn detach() -> io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    for standard in 0..=2 {
        // SAFETY: both are numbers of descriptors; what stood at `standard` is closed, and nobody keeps it by number.
        if unsafe { libc::dup2(null.as_raw_fd(), standard) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: setsid takes nothing. It fails only for the leader of a process group, which has no terminal to leave then.
    let _ = unsafe { libc::setsid() };
    Ok(())
}
