//! bpf(2): a command, and its arguments as the part of `union bpf_attr` that it reads (include/uapi/linux/bpf.h).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// What the kernel is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Command {
    MapCreate = 0,
    MapLookup = 1,
    ProgLoad = 5,
    ProgTestRun = 10,
    LinkCreate = 28,
    LinkUpdate = 29,
}

/// Calls.
///
/// # Safety
/// `T` is `repr(C)`, has no padding, and is laid out as the command's part of `union bpf_attr`. Pointers in it lead to memory
/// that is as long as the arguments say, and may be written to where the command writes.
pub(super) unsafe fn bpf<T>(command: Command, arguments: &mut T) -> io::Result<i32> {
    // SAFETY: the size is that of the arguments; the rest is the caller's promise.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_int, std::ptr::from_mut(arguments), size_of::<T>()) };
    match i32::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

/// As [`bpf`], for commands that return a descriptor.
///
/// # Safety
/// As of [`bpf`].
pub(super) unsafe fn open<T>(command: Command, arguments: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let descriptor: RawFd = unsafe { bpf(command, arguments) }?;
    // SAFETY: the kernel has just made it for us (with O_CLOEXEC), and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// A name as the kernel takes it: 15 bytes and a zero.
pub(super) fn name(text: &str) -> [u8; 16] {
    let mut name = [0; 16];
    for (to, from) in name[..15].iter_mut().zip(text.bytes()) {
        *to = from;
    }
    name
}
