//! Network namespaces as hosts: make one, run programs and closures in it, and leave nothing behind.
//!
//! The model: a [`Namespace`] is a network, mount and UTS namespace kept alive by a *holder*, a child process that does
//! nothing. It ends when the [`Namespace`] is dropped, and when this process dies in whatever way: the holder waits
//! on a pipe whose other end only this process has. `/run` is an empty tmpfs of its own, so that the WireGuard control
//! sockets of two hosts do not meet.
//!
//! Needs the privileges that [`privilege::acquire`] obtains, as root or through a user namespace.
//! Not here: links and addresses ([`crate::netlink::route`]), NAT ([`crate::nft`]), process and user isolation.

mod holder;
pub mod privilege;

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use holder::Holder;

/// The directories that get an empty tmpfs of their own, if they exist and are not links.
const PRIVATE_DIRECTORIES: [&str; 2] = ["/run", "/var/run"];

/// A network namespace with a name, an own `/run` and a running loopback.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    net: File,
    mnt: File,
    uts: File,
    holder: Holder,
}

impl Namespace {
    /// Makes a namespace; `name` becomes its host name and the name of its holder process.
    ///
    /// # Errors
    /// What the kernel refused. Without privilege that is `PermissionDenied`.
    pub fn create(name: &str) -> io::Result<Self> {
        let is_directory = |path: &str| std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
        let private = PRIVATE_DIRECTORIES.into_iter().filter(|path| is_directory(path)).map(CString::new);
        let private = private.collect::<Result<Vec<_>, _>>()?;
        let holder = Holder::start(&CString::new(name)?, &private)?;
        let open = |kind: &str| File::open(format!("/proc/{}/ns/{kind}", holder.pid()));
        let (net, mnt, uts) = (open("net")?, open("mnt")?, open("uts")?);
        let namespace = Self { name: name.to_owned(), net, mnt, uts, holder };
        namespace.run(raise_loopback)??;
        Ok(namespace)
    }

    /// The name it was made with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process that holds it: what `nsenter --target` wants.
    pub fn pid(&self) -> u32 {
        self.holder.pid()
    }

    /// The network namespace, to move a link there.
    pub fn net(&self) -> BorrowedFd<'_> {
        self.net.as_fd()
    }

    /// Makes `command` start inside. Its working directory stays as it was.
    ///
    /// The command must be spawned while this namespace exists.
    pub fn enter(&self, command: &mut Command) {
        let descriptors = [self.net.as_raw_fd(), self.uts.as_raw_fd(), self.mnt.as_raw_fd()];
        let directory = match command.get_current_dir() {
            Some(directory) => Some(directory.to_path_buf()),
            None => std::env::current_dir().ok(),
        };
        let directory = directory.and_then(|path| CString::new(path.into_os_string().into_encoded_bytes()).ok());
        let switch = move || {
            // SAFETY: these are system calls on descriptors and a string that outlive the fork; nothing is allocated.
            unsafe {
                for descriptor in descriptors {
                    check(libc::setns(descriptor, 0))?;
                }
                if let Some(directory) = &directory {
                    // A directory that is hidden by the private /run is no reason not to start.
                    libc::chdir(directory.as_ptr());
                }
            }
            Ok(())
        };
        // SAFETY: the closure makes system calls only and allocates nothing, as a forked child must.
        unsafe { command.pre_exec(switch) };
    }

    /// Runs `work` inside, on a thread of its own, and waits for it.
    ///
    /// Sockets and files it opens stay usable outside.
    ///
    /// # Errors
    /// When the thread cannot start or enter.
    ///
    /// # Panics
    /// With the panic of `work`.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let inside = || {
                self.enter_thread()?;
                Ok(work())
            };
            let thread = std::thread::Builder::new().name(self.name.clone()).spawn_scoped(scope, inside)?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread inside, for the rest of its life.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn enter_thread(&self) -> io::Result<()> {
        // SAFETY: system calls on descriptors that live in self. CLONE_FS first gives this thread a root and working
        // directory of its own, without which a thread may not change its mount namespace.
        unsafe {
            check(libc::setns(self.net.as_raw_fd(), libc::CLONE_NEWNET))?;
            check(libc::unshare(libc::CLONE_FS))?;
            check(libc::setns(self.mnt.as_raw_fd(), libc::CLONE_NEWNS))
        }
    }

    /// Writes a setting under `/proc/sys/`, for example `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// Not found when the kernel has no such setting; read-only in containers that forbid it.
    pub fn set(&self, setting: &str, value: &str) -> io::Result<()> {
        self.run(|| std::fs::write(Path::new("/proc/sys").join(setting), value))?
    }

    /// What a person types to enter it. `unprivileged` when this process made its own user namespace.
    pub fn enter_command(&self, unprivileged: bool) -> String {
        let user = if unprivileged { " --user --preserve-credentials" } else { "" };
        format!("nsenter --target {}{user} --net --mount --uts", self.pid())
    }

    /// A path inside, as this process sees it: through the holder's root.
    pub fn path(&self, inside: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid()));
        root.join(inside.strip_prefix("/").unwrap_or(inside))
    }
}

fn raise_loopback() -> io::Result<()> {
    use crate::netlink::route::{self, link};
    let up = || {
        let mut socket = route::open()?;
        let index = link::find(&mut socket, "lo")?.index;
        link::set(&mut socket, index, &link::Change { up: Some(true), ..Default::default() })
    };
    up().map_err(io::Error::other)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests;
