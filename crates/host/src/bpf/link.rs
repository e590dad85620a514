//! What holds a program at an interface.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::Program;
use super::syscall::{Command, bpf, open};

/// `BPF_XDP` of `enum bpf_attach_type`.
const ATTACH: u32 = 37;

/// Where in the way of a packet the program runs (include/uapi/linux/if_link.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver, before the kernel has made a packet of what came (`XDP_FLAGS_DRV_MODE`).
    Native,
    /// Behind the driver, before the network stack; every driver can (`XDP_FLAGS_SKB_MODE`).
    Generic,
}

impl AttachMode {
    const fn flags(self) -> u32 {
        match self {
            Self::Native => 1 << 2,
            Self::Generic => 1 << 1,
        }
    }
}

/// A program at an interface, for as long as this lives (Linux 5.9). A process that dies in whatever way takes it along.
#[derive(Debug)]
pub struct XdpLink {
    descriptor: OwnedFd,
}

/// The arguments of BPF_LINK_CREATE.
#[repr(C)]
struct Create {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// The arguments of BPF_LINK_UPDATE.
#[repr(C)]
struct Update {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

impl XdpLink {
    /// Attaches `program` to the interface with this number in the calling thread's network namespace.
    ///
    /// # Errors
    /// EBUSY or EEXIST if there is a program already; EOPNOTSUPP if the driver has no native mode; EPERM without CAP_NET_ADMIN;
    /// what the driver says otherwise, of an MTU or of rings that do not suit it.
    pub fn attach(program: &Program, interface: u32, mode: AttachMode) -> io::Result<Self> {
        let mut create =
            Create { prog_fd: program.number(), target_ifindex: interface, attach_type: ATTACH, flags: mode.flags() };
        // SAFETY: these are the first members of the command's arguments, without pointers.
        let descriptor = unsafe { open(Command::LinkCreate, &mut create) }?;
        Ok(Self { descriptor })
    }

    /// Puts another program in place of the one that is there. No packet meets neither.
    ///
    /// # Errors
    /// The kernel's; ENOLINK once the interface has gone.
    pub fn replace(&self, program: &Program) -> io::Result<()> {
        let mut update = Update {
            link_fd: self.descriptor.as_raw_fd() as u32,
            new_prog_fd: program.number(),
            flags: 0,
            old_prog_fd: 0,
        };
        // SAFETY: these are the first members of the command's arguments, without pointers.
        unsafe { bpf(Command::LinkUpdate, &mut update) }.map(drop)
    }
}
