//! The kernel's devices, by the generic netlink family `wireguard` (include/uapi/linux/wireguard.h).

use pinhole_wg::{Device, DeviceUpdate};

use super::{Error, codec, restart};
use crate::netlink::generic::Family;
use crate::netlink::{Protocol, Socket};

/// The name of the family and, in `codec`, its version.
const FAMILY: &str = "wireguard";

/// A device of the kernel's, by the name of its interface.
#[derive(Debug)]
pub(super) struct Kernel {
    name: String,
    socket: Socket,
    family: Family,
}

impl Kernel {
    pub(super) fn open(name: &str) -> Result<Self, Error> {
        let mut socket = Socket::open(Protocol::Generic)?;
        let family = Family::resolve(&mut socket, FAMILY).map_err(|error| match error.errno() {
            Some(libc::ENOENT) => Error::NoKernelModule,
            _ => Error::of_kernel(name, error),
        })?;
        let mut kernel = Self { name: name.into(), socket, family };
        kernel.device().map(|_| kernel)
    }

    pub(super) fn device(&mut self) -> Result<Device, Error> {
        let replies = self.socket.dump(codec::get(&self.family, &self.name));
        codec::device(&replies.map_err(|error| Error::of_kernel(&self.name, error))?).map_err(Error::Netlink)
    }

    pub(super) fn apply(&mut self, update: &DeviceUpdate) -> Result<(), Error> {
        if update.peers.iter().any(|peer| peer.handshake) {
            let update = restart::in_one(update, &self.device()?);
            self.set(&update)
        } else {
            self.set(update)
        }
    }

    fn set(&mut self, update: &DeviceUpdate) -> Result<(), Error> {
        codec::set(&self.family, &self.name, update).into_iter().try_for_each(|message| {
            self.socket.request(message).map(drop).map_err(|error| Error::of_kernel(&self.name, error))
        })
    }
}
