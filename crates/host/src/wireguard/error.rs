//! Why a device could not be found, read or changed, in words that say what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use pinhole_wg::uapi::ReplyError;

use crate::netlink;

/// What went wrong.
#[derive(Debug)]
pub enum Error {
    /// No interface can have this name.
    BadName(String),
    /// There is no such device.
    NotFound {
        /// The name that was looked for.
        name: String,
        /// The kind of the interface that has the name, empty if it has none; `None` if there is no interface.
        interface: Option<String>,
        /// The socket that was looked for.
        path: PathBuf,
    },
    /// The interface went away after the device was opened, or the name was never there.
    Gone(String),
    /// The interface exists and is no WireGuard device of the kernel's.
    NotKernel {
        /// Its name.
        name: String,
        /// Its kind.
        kind: String,
    },
    /// The kernel device is out of this user's reach.
    KernelPermission(String),
    /// The socket is out of this user's reach.
    SocketPermission(PathBuf),
    /// The socket is there and nobody listens on it.
    Stale(PathBuf),
    /// The program behind the socket did not answer in time.
    Silent(PathBuf),
    /// The device's answer was no use, or was a refusal.
    Reply {
        /// Whose.
        name: String,
        /// What it was.
        error: ReplyError,
    },
    /// The change is longer than any device takes.
    TooLong,
    /// The running kernel has no WireGuard.
    NoKernelModule,
    /// The socket failed in another way.
    Socket(PathBuf, io::Error),
    /// Netlink failed in another way.
    Netlink(netlink::Error),
}

impl Error {
    /// The meaning of a netlink error about the device `name`.
    pub(super) fn of_kernel(name: &str, error: netlink::Error) -> Self {
        if error.is_permission() {
            Self::KernelPermission(name.into())
        } else if error.is_not_found() {
            Self::Gone(name.into())
        } else {
            Self::Netlink(error)
        }
    }

    /// Whether the device does not exist, now or any more.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::Gone(_) | Self::Stale(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName(name) => write!(
                f,
                "\"{name}\" cannot be an interface: expected 1 to 15 characters without slash, colon or space"
            ),
            Self::NotFound { name, interface, path } => {
                write!(f, "no WireGuard device {name}: ")?;
                match interface.as_deref() {
                    None => write!(f, "this network namespace has no interface of that name")?,
                    Some("") => write!(f, "the interface is not one of the kernel's WireGuard devices")?,
                    Some(kind) => write!(f, "the interface is of kind {kind}, not wireguard")?,
                }
                write!(
                    f,
                    ", and there is no socket {}; make one with `ip link add {name} type wireguard`, or start a userspace \
                     device with `pinhole wg up`",
                    path.display()
                )
            }
            Self::Gone(name) => write!(f, "the WireGuard device {name} does not exist (any more)"),
            Self::NotKernel { name, kind } if kind.is_empty() => {
                write!(f, "{name} is not a WireGuard device of the kernel's")
            }
            Self::NotKernel { name, kind } => write!(f, "{name} is an interface of kind {kind}, not wireguard"),
            Self::KernelPermission(name) => write!(
                f,
                "the kernel device {name} is out of reach: reading and changing it takes CAP_NET_ADMIN in its network \
                 namespace; run as root, or give the service AmbientCapabilities=CAP_NET_ADMIN"
            ),
            Self::SocketPermission(path) => {
                write!(f, "{} may not be opened by this user; run as the user of the device, mostly root", path.display())
            }
            Self::Stale(path) => write!(
                f,
                "{} is left over from a device that has ended: nobody listens on it; start the device again or remove the \
                 file",
                path.display()
            ),
            Self::Silent(path) => write!(f, "the device behind {} does not answer", path.display()),
            Self::Reply { name, error } => write!(f, "{name}: {error}"),
            Self::TooLong => f.write_str("the change is too long for any device"),
            Self::NoKernelModule => f.write_str(
                "this kernel has no WireGuard (module wireguard); install it, or use a userspace device: `pinhole wg up`",
            ),
            Self::Socket(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Netlink(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Reply { error, .. } => Some(error),
            Self::Socket(_, error) => Some(error),
            Self::Netlink(error) => Some(error),
            _ => None,
        }
    }
}
