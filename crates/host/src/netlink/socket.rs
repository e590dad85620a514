//! The socket: send, wait for the acknowledgement, collect dumps and events.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt};

use super::message::{HEADER, attributes, messages, split};
use super::{Error, Message, Reply};
use crate::clock;

const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const ACK: u16 = libc::NLM_F_ACK as u16;
const DUMP: u16 = libc::NLM_F_DUMP as u16;
const DUMP_INTERRUPTED: u16 = 0x10;
const ERROR_CAPPED: u16 = 0x100;
const ERROR_ATTRIBUTES: u16 = 0x200;
const KIND_ERROR: u16 = libc::NLMSG_ERROR as u16;
const KIND_DONE: u16 = libc::NLMSG_DONE as u16;
const KIND_FIRST: u16 = 0x10;
const ERROR_TEXT: u16 = 1;

/// The kernel builds dump parts of at most 32 KiB (`netlink_dump`); twice that leaves room for large single messages.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// A dump that an update interrupts is repeated this often before it is given up.
const DUMP_RETRIES: usize = 16;
/// The kernel answers at once; only a bug on either side makes this pass.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The netlink protocols pinhole speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes, rules.
    Route,
    /// nf_tables and conntrack.
    Netfilter,
    /// Families by name: WireGuard.
    Generic,
    /// Socket diagnostics.
    SockDiag,
}

/// A bound netlink socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket for requests.
    ///
    /// # Errors
    /// When the kernel lacks the protocol (`EPROTONOSUPPORT`) or a sandbox forbids it.
    pub fn open(protocol: Protocol) -> Result<Self, Error> {
        Self::open_with_groups(protocol, 0)
    }

    /// Opens a socket that also receives the events of the multicast groups in the bit mask `groups`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_groups(protocol: Protocol, groups: u32) -> Result<Self, Error> {
        let protocol = match protocol {
            Protocol::Route => None,
            Protocol::Netfilter => Some(netlink::NETFILTER),
            Protocol::Generic => Some(netlink::GENERIC),
            Protocol::SockDiag => Some(netlink::SOCK_DIAG),
        };
        let fd = net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        net::bind(&fd, &netlink::SocketAddrNetlink::new(0, groups))?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            // Kernels before 4.12 lack them; then errors have no text, which is all that is lost.
            let _ = set_option(fd.as_fd(), option, 1);
        }
        Ok(Self { fd, sequence: 0, buffer: vec![0; RECEIVE_BUFFER] })
    }

    /// Adds the multicast group with this number (generic netlink gives them out at run time).
    ///
    /// # Errors
    /// When the group does not exist or is not for this user.
    pub fn join(&self, group: u32) -> Result<(), Error> {
        Ok(set_option(self.fd.as_fd(), libc::NETLINK_ADD_MEMBERSHIP, group)?)
    }

    /// Sends `message` and waits until the kernel has carried it out; returns what it sent before the acknowledgement.
    ///
    /// # Errors
    /// The kernel's refusal, in its words.
    pub fn request(&mut self, message: Message) -> Result<Vec<Reply>, Error> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let sequence = self.sequence;
        self.send(&message.finish(REQUEST | ACK, sequence))?;
        let mut replies = Vec::new();
        loop {
            for reply in self.receive()? {
                match reply.kind {
                    _ if reply.sequence != sequence => {}
                    KIND_ERROR => return refusal(&reply).map_or(Ok(replies), Err),
                    KIND_DONE => return Ok(replies),
                    kind if kind >= KIND_FIRST => replies.push(reply),
                    _ => {}
                }
            }
        }
    }

    /// Asks for a whole table and returns its entries. A dump that changes under way is repeated.
    ///
    /// # Errors
    /// The kernel's refusal, or [`Error::Overrun`] when the table never stood still.
    pub fn dump(&mut self, message: Message) -> Result<Vec<Reply>, Error> {
        for _ in 0..DUMP_RETRIES {
            let mut replies = Vec::new();
            if self.dump_once(message.clone(), |reply| replies.push(reply))? {
                return Ok(replies);
            }
        }
        Err(Error::Overrun)
    }

    /// As [`dump`](Self::dump), with each entry handed to `take` as it comes; `kept` begins anew when the dump is repeated.
    ///
    /// # Errors
    /// As [`dump`](Self::dump).
    pub fn dump_with<T: Default>(
        &mut self,
        message: Message,
        kept: &mut T,
        mut take: impl FnMut(&mut T, &Reply),
    ) -> Result<(), Error> {
        for _ in 0..DUMP_RETRIES {
            *kept = T::default();
            if self.dump_once(message.clone(), |reply| take(kept, &reply))? {
                return Ok(());
            }
        }
        Err(Error::Overrun)
    }

    /// Asks for a whole table whose entries change all the time anyway, and hands each entry's payload to `take` where it was
    /// received, without a copy, with the time by which the kernel had written it ([`clock::now_ns`]).
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn dump_in_place(&mut self, message: Message, mut take: impl FnMut(&[u8], u64)) -> Result<(), Error> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        self.send(&message.finish(REQUEST | DUMP, self.sequence))?;
        loop {
            // The kernel writes the next part of a dump when one is taken.
            let written_ns = clock::now_ns();
            let (_, length) = match net::recv(&self.fd, self.buffer.as_mut_slice(), RecvFlags::TRUNC) {
                Err(rustix::io::Errno::INTR) => continue,
                received => received?,
            };
            let part = self.buffer.get(..length).ok_or(Error::Malformed("answer of more than 64 KiB"))?;
            for (header, payload) in messages(part).filter(|(header, _)| header.sequence == self.sequence) {
                match header.kind {
                    KIND_ERROR | KIND_DONE => {
                        let reply = Reply { payload: payload.to_vec(), ..header };
                        let error = if reply.kind == KIND_DONE { done(&reply) } else { refusal(&reply) };
                        return error.map_or(Ok(()), Err);
                    }
                    kind if kind >= KIND_FIRST => take(payload, written_ns),
                    _ => {}
                }
            }
        }
    }

    /// Sends several messages as one datagram, each asking for an acknowledgement if `acknowledged` says so, and waits for
    /// those; nfnetlink's transactions are such batches.
    ///
    /// # Errors
    /// The first refusal, with the index of the message it belongs to.
    pub fn batch(&mut self, messages: Vec<(Message, bool)>) -> Result<(), (usize, Error)> {
        let first = self.sequence.wrapping_add(1).max(1);
        let mut bytes = Vec::new();
        let mut waiting = 0usize;
        let count = messages.len();
        for (at, (message, acknowledged)) in messages.into_iter().enumerate() {
            let flags = if acknowledged { REQUEST | ACK } else { REQUEST };
            waiting += usize::from(acknowledged);
            bytes.extend(message.finish(flags, first.wrapping_add(at as u32)));
        }
        self.sequence = first.wrapping_add(count as u32);
        self.send(&bytes).map_err(|error| (0, error))?;
        let mut failure = None;
        while waiting > 0 {
            for reply in self.receive().map_err(|error| (0, error))? {
                let at = reply.sequence.wrapping_sub(first) as usize;
                if at >= count || reply.kind != KIND_ERROR {
                    continue;
                }
                waiting = waiting.saturating_sub(1);
                if let Some(error) = refusal(&reply) {
                    // A refused begin or end message is the only answer to the whole batch.
                    if at == 0 || at + 1 == count {
                        waiting = 0;
                    }
                    failure = failure.or(Some((at, error)));
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Waits for one datagram and returns its messages; events have sequence zero.
    ///
    /// # Errors
    /// [`Error::Overrun`] when the kernel had to drop events (`ENOBUFS`); the socket stays usable.
    pub fn receive(&mut self) -> Result<Vec<Reply>, Error> {
        loop {
            let flags = RecvFlags::TRUNC;
            match net::recv(&self.fd, self.buffer.as_mut_slice(), flags) {
                Ok((_, length)) if length > self.buffer.len() => {
                    return Err(Error::Malformed("answer of more than 64 KiB"));
                }
                Ok((_, length)) => return Ok(split(&self.buffer[..length]).collect()),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::NOBUFS) => return Err(Error::Overrun),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// How many messages the kernel dropped because nobody read them in time (`SK_MEMINFO_DROPS`).
    ///
    /// # Errors
    /// On kernels before 4.12.
    pub fn drops(&self) -> Result<u32, Error> {
        /// include/uapi/linux/sock_diag.h.
        const DROPS: usize = 8;
        let mut numbers = [0u32; DROPS + 1];
        let mut length = size_of_val(&numbers) as libc::socklen_t;
        // SAFETY: the array is live and its length is given; the kernel writes no more than that.
        let result = unsafe {
            libc::getsockopt(
                self.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                numbers.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error().into());
        }
        if (length as usize) < size_of_val(&numbers) {
            return Err(Error::Malformed("count of lost messages"));
        }
        Ok(numbers[DROPS])
    }

    /// The messages of a datagram that is here already; `None` when there is none now.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn try_receive(&mut self) -> Result<Option<Vec<Reply>>, Error> {
        match net::recv(&self.fd, self.buffer.as_mut_slice(), RecvFlags::TRUNC | RecvFlags::DONTWAIT) {
            Ok((_, length)) if length > self.buffer.len() => Err(Error::Malformed("answer of more than 64 KiB")),
            Ok((_, length)) => Ok(Some(split(&self.buffer[..length]).collect())),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(rustix::io::Errno::NOBUFS) => Err(Error::Overrun),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether the dump is of one moment.
    fn dump_once(&mut self, message: Message, mut take: impl FnMut(Reply)) -> Result<bool, Error> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let sequence = self.sequence;
        self.send(&message.finish(REQUEST | DUMP, sequence))?;
        let mut interrupted = false;
        loop {
            for reply in self.receive()? {
                if reply.sequence != sequence {
                    continue;
                }
                interrupted |= reply.flags & DUMP_INTERRUPTED != 0;
                match reply.kind {
                    KIND_ERROR => return Err(refusal(&reply).unwrap_or(Error::Malformed("end of a dump"))),
                    KIND_DONE => return done(&reply).map_or(Ok(!interrupted), Err),
                    kind if kind >= KIND_FIRST => take(reply),
                    _ => {}
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Error> {
        loop {
            match net::send(&self.fd, bytes, SendFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.fd.as_raw_fd()
    }
}

/// The error in an `NLMSG_ERROR`; `None` is the acknowledgement.
fn refusal(reply: &Reply) -> Option<Error> {
    let Some(&[a, b, c, d]) = reply.payload.first_chunk::<4>() else {
        return Some(Error::Malformed("acknowledgement"));
    };
    let code = i32::from_ne_bytes([a, b, c, d]);
    if code == 0 {
        return None;
    }
    // The request's header follows, and its whole payload too unless the kernel says that it was capped.
    let request = reply.payload.get(4..8).and_then(|l| Some(u32::from_ne_bytes(l.try_into().ok()?) as usize));
    let echoed = if reply.flags & ERROR_CAPPED != 0 { HEADER } else { request.unwrap_or(HEADER).next_multiple_of(4) };
    let described = reply.flags & ERROR_ATTRIBUTES != 0;
    let text = described.then(|| text_in(reply.payload.get(4 + echoed..).unwrap_or_default())).flatten();
    Some(Error::Kernel { errno: code.wrapping_neg(), text })
}

/// The error in an `NLMSG_DONE`, whose payload is the dump's result.
fn done(reply: &Reply) -> Option<Error> {
    let code = reply.payload.first_chunk::<4>().map_or(0, |c| i32::from_ne_bytes(*c));
    let text = text_in(reply.payload.get(4..).unwrap_or_default());
    (code < 0).then(|| Error::Kernel { errno: code.wrapping_neg(), text })
}

fn text_in(bytes: &[u8]) -> Option<String> {
    let (_, text) = attributes(bytes).find(|&(kind, _)| kind == ERROR_TEXT)?;
    let text = text.strip_suffix(&[0]).unwrap_or(text);
    Some(String::from_utf8_lossy(text).into_owned())
}

fn set_option(fd: BorrowedFd<'_>, option: i32, value: u32) -> io::Result<()> {
    // SAFETY: the value is a live u32 and its length is given.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            std::ptr::from_ref(&value).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
