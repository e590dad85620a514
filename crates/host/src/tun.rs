//! A TUN device with segmentation offload: a read or a write carries up to 64 KiB of one flow.
//!
//! Every packet is preceded by a [`VnetHdr`] (`IFF_VNET_HDR`), and the kernel is told that we can cut TCP, and where it knows
//! how, UDP (Linux 6.2): Documentation/networking/tuntap.rst, include/uapi/linux/if_tun.h. Where it takes no offload the same
//! calls carry plain packets. What the header means is known to `pinhole_wire::offload`; addresses and routes are given by
//! `crate::netlink::route`.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use pinhole_wire::offload::{Group, VnetHdr};

use crate::netlink::route;

/// A buffer of this size takes any read: the header and the longest packet.
pub const READ_LEN: usize = VnetHdr::LEN + 65_535;

/// The offloads every kernel since 2.6.27 knows: checksums, TCP over IPv4 and IPv6.
const TCP_OFFLOAD: libc::c_uint = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
/// And UDP, since Linux 6.2.
const UDP_OFFLOAD: libc::c_uint = TCP_OFFLOAD | libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// The end of a TUN device that is not an interface. The interface goes when this is dropped.
#[derive(Debug)]
pub struct Tun {
    file: File,
    name: String,
    index: u32,
    vnet: bool,
    udp: bool,
}

impl Tun {
    /// Makes the interface `name` in the network namespace of the calling thread. It is down.
    ///
    /// # Errors
    /// `NotFound` without `/dev/net/tun`, `PermissionDenied` without CAP_NET_ADMIN, `AlreadyExists` when there is an interface
    /// of that name; the kernel's refusal otherwise.
    pub fn create(name: &str, mtu: u16) -> io::Result<Self> {
        Self::make(name, mtu, true)
    }

    /// The same without offload, whatever the kernel knows: every read and every write is one packet with its checksums.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_plain(name: &str, mtu: u16) -> io::Result<Self> {
        Self::make(name, mtu, false)
    }

    fn make(name: &str, mtu: u16, offload: bool) -> io::Result<Self> {
        let mut netlink = route::open().map_err(io::Error::other)?;
        if route::link::find(&mut netlink, name).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
        let flags = if offload { libc::IFF_VNET_HDR } else { 0 };
        let vnet = match attach(&file, name, flags) {
            Ok(()) => offload,
            Err(error) if offload && error.raw_os_error() == Some(libc::EINVAL) => {
                attach(&file, name, 0)?;
                false
            }
            Err(error) => return Err(error),
        };
        let udp = vnet && set_offload(&file, UDP_OFFLOAD).is_ok();
        if vnet && !udp {
            set_offload(&file, TCP_OFFLOAD)?;
        }
        let link = route::link::find(&mut netlink, name).map_err(io::Error::other)?;
        let change = route::link::Change { mtu: Some(mtu.into()), ..Default::default() };
        route::link::set(&mut netlink, link.index, &change).map_err(io::Error::other)?;
        Ok(Self { file, name: name.into(), index: link.index, vnet, udp })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interface's number.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Whether the kernel takes and gives TCP segments put together, and checksums that are not complete.
    pub fn has_offload(&self) -> bool {
        self.vnet
    }

    /// Whether the kernel takes and gives UDP segments put together.
    pub fn has_udp_offload(&self) -> bool {
        self.udp
    }

    /// Takes what the host sent next: the header and the packet behind it. `None` when there is nothing now. `buffer` has
    /// [`READ_LEN`] bytes.
    ///
    /// # Errors
    /// Those of read(2): `EBADFD` once the interface has been deleted.
    pub fn read<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<(VnetHdr, &'a [u8])>> {
        let at = if self.vnet { 0 } else { VnetHdr::LEN };
        let len = match (&self.file).read(&mut buffer[at..]) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        let header = if self.vnet { VnetHdr::read(&buffer[..len]) } else { Some(VnetHdr::default()) };
        let packet = buffer.get(VnetHdr::LEN..at + len).unwrap_or_default();
        Ok(Some((header.unwrap_or_default(), packet)))
    }

    /// Hands the host the packets of `group`, which lie in `arena`, in one write. `scratch` keeps its memory between calls.
    ///
    /// # Errors
    /// Those of writev(2): `EIO` while the interface is down.
    pub fn write(&self, group: &Group<'_>, arena: &[u8], scratch: &mut Vec<libc::iovec>) -> io::Result<()> {
        let header = group.vnet.to_bytes();
        let slice = |bytes: &[u8]| libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let piece = |range: &Range<usize>| slice(&arena[range.clone()]);
        scratch.clear();
        scratch.extend(self.vnet.then(|| slice(&header)));
        scratch.push(piece(group.first));
        scratch.extend(group.rest.iter().map(piece));
        // SAFETY: each entry points into `header` or `arena`, which outlive the call and are only read.
        let written = unsafe { libc::writev(self.file.as_raw_fd(), scratch.as_ptr(), scratch.len() as libc::c_int) };
        scratch.clear();
        if written < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Hands the host one plain packet.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_packet(&self, packet: &[u8]) -> io::Result<()> {
        self.write_with(&VnetHdr::default(), packet)
    }

    /// Hands the host one packet with its header, as [`read`](Self::read) gave it. Without offload the header is lost.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_with(&self, header: &VnetHdr, packet: &[u8]) -> io::Result<()> {
        let header = header.to_bytes();
        let parts = [IoSlice::new(&header), IoSlice::new(packet)];
        let from = usize::from(!self.vnet);
        io::Write::write_vectored(&mut (&self.file), &parts[from..]).map(drop)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// `TUNSETIFF`: makes the interface.
fn attach(file: &File, name: &str, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an interface name has 1 to 15 bytes"));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | flags) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes the ifreq that lives here.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `TUNSETOFFLOAD`: what we can take.
fn set_offload(file: &File, offload: libc::c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offload)) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
