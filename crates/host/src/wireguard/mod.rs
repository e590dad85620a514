//! Live WireGuard devices, whoever runs them: the kernel (generic netlink) or a program (the UAPI socket).
//!
//! The model: [`Control::open`] finds a device by the name of its interface, [`Control::device`] reads it whole,
//! [`Control::apply`] changes it. Both kinds speak the types of `pinhole_wg`; what one of them has no word for, here the
//! handshake that is to start now, is made from what it has ([`restart`]). Calls block: on the kernel for no longer than a
//! system call, on a socket for at most [`ANSWER_TIMEOUT`]. A kernel device is looked up in the
//! network namespace of the thread that opens it and the handle stays bound to that; a socket belongs to the file system.
//!
//! It does not run a device itself, and gives interfaces no addresses or routes.

mod codec;
mod error;
mod kernel;
mod restart;
mod socket;

use std::path::Path;

use pinhole_wg::{Device, DeviceUpdate, PeerUpdate};

use crate::netlink::{self, route};
pub use error::Error;
use kernel::Kernel;
pub use socket::{ANSWER_TIMEOUT, DIRECTORY, Uapi};

/// The kind of interface that the kernel's own devices are.
const KERNEL_KIND: &str = "wireguard";

/// Who runs a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The kernel.
    Kernel,
    /// A program behind a UAPI socket.
    Userspace,
}

/// A handle to one live device.
#[derive(Debug)]
pub struct Control {
    name: String,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Kernel(Kernel),
    Socket(Uapi),
}

impl Control {
    /// Finds the device `name`: the kernel's if the calling thread's network namespace has an interface of that name and of
    /// kind `wireguard`, else the one behind `/var/run/wireguard/<name>.sock`. Reads it once, so that a missing privilege
    /// shows now.
    ///
    /// # Errors
    /// What was looked for and what to do about it; see [`Error`].
    pub fn open(name: &str) -> Result<Self, Error> {
        Self::open_in(name, Path::new(DIRECTORY))
    }

    /// As [`open`](Self::open), with the sockets in another directory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_in(name: &str, directory: &Path) -> Result<Self, Error> {
        check_name(name)?;
        let found = match route::link::find(&mut route::open()?, name) {
            Ok(link) => Some(link.kind.unwrap_or_default()),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let way = if found.as_deref() == Some(KERNEL_KIND) {
            Way::Kernel(Kernel::open(name)?)
        } else {
            Way::Socket(Uapi::open(name, directory, found)?)
        };
        Ok(Self { name: name.into(), way })
    }

    /// The name of its interface.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who runs it.
    pub fn kind(&self) -> Kind {
        match self.way {
            Way::Kernel(_) => Kind::Kernel,
            Way::Socket(_) => Kind::Userspace,
        }
    }

    /// Its present state, peers in the device's order.
    ///
    /// # Errors
    /// When the device has gone, or does not answer.
    pub fn device(&mut self) -> Result<Device, Error> {
        match &mut self.way {
            Way::Kernel(kernel) => kernel.device(),
            Way::Socket(uapi) => uapi.device(),
        }
    }

    /// Changes it.
    ///
    /// A change that fits one netlink message (some 800 prefixes) is one transaction in the kernel; a longer one is several
    /// in order, and the first that fails ends it.
    ///
    /// Where [`PeerUpdate::handshake`](pinhole_wg::PeerUpdate::handshake) is set, our own device starts one. In all others
    /// the peer is removed and added again as it was and as the change has it, which forgets WireGuard's 5 s retry timer,
    /// and its keepalive is switched on, which makes the new peer send an initiation at once. After that the peer has the
    /// keepalive that the change or, without one, the device had, 0 included; only gotatun, which takes no peer twice in
    /// one request, is left with 25 s where 0 was meant. What the peer has lost is its session, its byte counters and the
    /// time of its last handshake. A peer refuses a second initiation within 20 ms, so ask no more often.
    ///
    /// # Errors
    /// When the device has gone, does not answer or refuses.
    pub fn apply(&mut self, update: &DeviceUpdate) -> Result<(), Error> {
        match &mut self.way {
            Way::Kernel(kernel) => kernel.apply(update),
            Way::Socket(uapi) => uapi.apply(update),
        }
    }

    /// Makes the device choose anew from which of the host's addresses it sends to each peer, after they have changed.
    ///
    /// The kernel does so by itself. wireguard-go goes on sending from an address that the host has lost, which is to send
    /// nothing at all; an endpoint that is set, be it to what it is, forgets that address.
    ///
    /// # Errors
    /// When the device has gone, does not answer or refuses.
    pub fn forget_sources(&mut self) -> Result<(), Error> {
        let Way::Socket(uapi) = &mut self.way else { return Ok(()) };
        let peers = uapi.device()?.peers.into_iter().filter(|peer| peer.endpoint.is_some()).map(|peer| PeerUpdate {
            endpoint: peer.endpoint,
            update_only: true,
            ..PeerUpdate::new(peer.public_key)
        });
        uapi.apply(&DeviceUpdate { peers: peers.collect(), ..DeviceUpdate::default() })
    }
}

/// Every device that [`Control::open`] would find, kernel devices first, each kind by name. A socket that nobody listens on
/// or that this user may not open is not listed.
///
/// # Errors
/// When the kernel does not list its interfaces.
pub fn list() -> Result<Vec<(String, Kind)>, Error> {
    list_in(Path::new(DIRECTORY))
}

/// As [`list`], with the sockets in another directory.
///
/// # Errors
/// As [`list`].
pub fn list_in(directory: &Path) -> Result<Vec<(String, Kind)>, Error> {
    let links = route::link::list(&mut route::open()?)?;
    let kernel = links.into_iter().filter(|link| link.kind.as_deref() == Some(KERNEL_KIND)).map(|link| link.name);
    let mut devices: Vec<_> = kernel.map(|name| (name, Kind::Kernel)).collect();
    devices.sort_by(|(one, _), (other, _)| one.cmp(other));
    for name in socket::names(directory) {
        if !devices.iter().any(|(known, _)| *known == name) && Uapi::open(&name, directory, None).is_ok() {
            devices.push((name, Kind::Userspace));
        }
    }
    Ok(devices)
}

/// Makes a device of the kernel's, down and without a key, in the calling thread's network namespace.
///
/// # Errors
/// [`Error::NoKernelModule`] where the kernel has no WireGuard; when the name is taken or the privilege missing.
pub fn create(name: &str) -> Result<(), Error> {
    check_name(name)?;
    route::link::add_simple(&mut route::open()?, name, KERNEL_KIND).map_err(|error| match error.errno() {
        Some(libc::EOPNOTSUPP) => Error::NoKernelModule,
        _ => Error::of_kernel(name, error),
    })
}

/// Removes the socket of a userspace device that has crashed: one that nobody listens on. Any other is left alone.
///
/// # Errors
/// When it cannot be removed.
pub fn remove_stale_socket(name: &str) -> Result<(), Error> {
    remove_stale_socket_in(name, Path::new(DIRECTORY))
}

/// As [`remove_stale_socket`], with the sockets in another directory.
///
/// # Errors
/// As [`remove_stale_socket`].
pub fn remove_stale_socket_in(name: &str, directory: &Path) -> Result<(), Error> {
    check_name(name)?;
    match Uapi::open(name, directory, None) {
        Err(Error::Stale(path)) => std::fs::remove_file(&path).map_err(|error| Error::Socket(path, error)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Removes a device of the kernel's, and nothing else: an interface of another kind is left alone.
///
/// # Errors
/// When there is no such device, or the privilege is missing.
pub fn delete(name: &str) -> Result<(), Error> {
    check_name(name)?;
    let mut socket = route::open()?;
    let link = route::link::find(&mut socket, name).map_err(|error| Error::of_kernel(name, error))?;
    if link.kind.as_deref() != Some(KERNEL_KIND) {
        return Err(Error::NotKernel { name: name.into(), kind: link.kind.unwrap_or_default() });
    }
    route::link::delete(&mut socket, link.index).map_err(|error| Error::of_kernel(name, error))
}

/// Whether a text can be the name of an interface (`dev_valid_name`, net/core/dev.c), and so part of a path.
fn check_name(name: &str) -> Result<(), Error> {
    let dots = matches!(name, "." | "..");
    let bad = |byte: u8| byte == b'/' || byte == b':' || byte == 0 || byte.is_ascii_whitespace();
    if dots || !(1..=15).contains(&name.len()) || name.bytes().any(bad) {
        return Err(Error::BadName(name.escape_debug().to_string()));
    }
    Ok(())
}

impl From<netlink::Error> for Error {
    fn from(error: netlink::Error) -> Self {
        Self::Netlink(error)
    }
}

#[cfg(test)]
mod tests;
