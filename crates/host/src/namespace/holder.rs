//! The child process that keeps a namespace alive.
//!
//! It is forked, not executed: it needs no program, and starts in a millisecond. Since the parent may have threads, the
//! child makes system calls only, on memory prepared before the fork.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The holder; dropping it ends it.
#[derive(Debug)]
pub(super) struct Holder {
    pid: libc::pid_t,
    /// Its other end tells the holder that this process is gone.
    _alive: OwnedFd,
}

impl Holder {
    /// Starts a holder in new network, mount and UTS namespaces, with a tmpfs on each directory of `private`.
    pub(super) fn start(name: &CStr, private: &[CString]) -> io::Result<Self> {
        let (alive_read, alive) = pipe()?;
        let (ready, ready_write) = pipe()?;
        let inherited = [alive_read.as_raw_fd(), ready_write.as_raw_fd()];
        // SAFETY: the child calls only `hold`, which keeps to system calls and never returns.
        let pid = unsafe { libc::fork() };
        match pid {
            -1 => return Err(io::Error::last_os_error()),
            // SAFETY: this is the forked child; the descriptors are open and all memory was prepared before the fork.
            0 => unsafe { hold(name, private, inherited[0], inherited[1]) },
            _ => {}
        }
        let holder = Self { pid, _alive: alive };
        drop((alive_read, ready_write));
        match read_status(&ready)? {
            0 => Ok(holder),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // SAFETY: the pid is that of our own child, which nobody else waits for, so it cannot have been reused.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            while libc::waitpid(self.pid, std::ptr::null_mut(), 0) == -1
                && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
            {}
        }
    }
}

/// The life of the holder.
///
/// # Safety
/// Only in a forked child: it ends the process. Both descriptors must be open.
unsafe fn hold(name: &CStr, private: &[CString], alive: RawFd, ready: RawFd) -> ! {
    // SAFETY: every pointer is to memory that was prepared before the fork and lives as long as this process.
    unsafe {
        // Ctrl-C goes to the whole process group; the parent decides when its hosts end.
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        libc::prctl(libc::PR_SET_NAME, name.as_ptr());
        close_others(alive, ready);
        let errno = isolate(name, private).err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
        let status = errno.to_ne_bytes();
        libc::write(ready, status.as_ptr().cast(), status.len());
        libc::close(ready);
        if errno == 0 {
            let mut byte = 0u8;
            while libc::read(alive, (&raw mut byte).cast(), 1) == -1 && *libc::__errno_location() == libc::EINTR {}
        }
        libc::_exit(0)
    }
}

/// Closes every descriptor but two: those of other holders must not live on in this one, nor the parent's output pipes.
///
/// # Safety
/// Only in a forked child.
unsafe fn close_others(a: RawFd, b: RawFd) {
    let close = |first: RawFd, last: libc::c_uint| {
        if first as libc::c_uint <= last {
            // SAFETY: this child uses no descriptor but `a` and `b`.
            unsafe { libc::syscall(libc::SYS_close_range, first as libc::c_uint, last, 0u32) };
        }
    };
    let (low, high) = (a.min(b), a.max(b));
    if low > 0 {
        close(0, (low - 1) as libc::c_uint);
    }
    if high - low > 1 {
        close(low + 1, (high - 1) as libc::c_uint);
    }
    close(high + 1, libc::c_uint::MAX);
}

/// # Safety
/// As [`hold`].
unsafe fn isolate(name: &CStr, private: &[CString]) -> io::Result<()> {
    // SAFETY: as the caller's.
    unsafe {
        super::check(libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWUTS))?;
        let none = std::ptr::null();
        // What is mounted in here must not appear outside; what is mounted outside may appear here.
        super::check(libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_SLAVE, none.cast()))?;
        for directory in private {
            let tmpfs = c"tmpfs".as_ptr();
            let flags = libc::MS_NOSUID | libc::MS_NODEV;
            super::check(libc::mount(tmpfs, directory.as_ptr(), tmpfs, flags, c"mode=0755".as_ptr().cast()))?;
        }
        libc::sethostname(name.as_ptr(), name.count_bytes());
    }
    Ok(())
}

/// Reads the holder's report: zero or an errno.
fn read_status(ready: &OwnedFd) -> io::Result<i32> {
    let mut status = [0; 4];
    match rustix::io::retry_on_intr(|| rustix::io::read(ready, &mut status))? {
        4 => Ok(i32::from_ne_bytes(status)),
        _ => Err(io::Error::other("the holder process of a namespace died while it was being set up")),
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the array has room for two descriptors, which are fresh and owned by nobody.
    unsafe {
        super::check(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC))?;
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}
