//! The kernel's connection tracking table: what a NAT mapped to what, how far each flow is, and how much went through
//! (include/uapi/linux/netfilter/nfnetlink_conntrack.h).
//!
//! The model: an [`Entry`] is all that ctnetlink says of a tracked flow, an [`Expectation`] one of a flow that a helper
//! waits for, [`Event`]s are entries as they begin, change and end, and [`statistics()`] are the table's own counters. What
//! the kernel does not say is `None`, never a zero. Counters are there when `net.netfilter.nf_conntrack_acct` was on before
//! the flow began, times when `nf_conntrack_timestamp` was.
//!
//! Everything is of the calling thread's network namespace and needs `CAP_NET_ADMIN` in the user namespace that owns it.
//! Reading and deleting only: entries are made by packets.

mod entry;
mod events;
mod expectation;
mod select;
mod state;
mod statistics;
mod tuple;

pub use entry::{Counters, Entry, SeqAdj, SynProxy, status};
pub use events::{Event, Events, Topics};
pub use expectation::Expectation;
pub use select::{Family, Select};
pub use state::{DccpState, SctpState, State, TcpSide, TcpState};
pub use statistics::{CpuStatistics, Fill, fill, statistics};
pub use tuple::{Icmp, Tuple};

use super::{Error, Message, Protocol, Socket};

/// `NFNL_SUBSYS_CTNETLINK << 8`.
const SUBSYSTEM: u16 = 1 << 8;
const NEW: u16 = SUBSYSTEM;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const GET_CPU_STATISTICS: u16 = SUBSYSTEM | 4;
const GET_STATISTICS: u16 = SUBSYSTEM | 5;
/// `NFNL_SUBSYS_CTNETLINK_EXP << 8`, with `IPCTNL_MSG_EXP_GET`.
const GET_EXPECTATION: u16 = 2 << 8 | 1;
/// Bytes of `struct nfgenmsg`.
const FIXED: usize = 4;

/// Reads a message as everything that it could be.
pub(super) fn read_any(reply: &super::Reply) {
    let _ = (Entry::parse(reply), Event::parse(reply), Expectation::parse(reply));
    let _ = (CpuStatistics::parse(reply), Fill::parse(reply));
}

/// Every entry of this network namespace, both families.
///
/// # Errors
/// The kernel's refusal; an operation that is not supported means that it has no ctnetlink.
pub fn list() -> Result<Vec<Entry>, Error> {
    dump(&Select::default())
}

/// The entries that `select` lets through, as far as the kernel can sort them out itself: one that does not know a criterion
/// sends more than was asked for (the status is newer than 5.10, the zone than 6.1), so check again.
///
/// # Errors
/// As [`list`].
pub fn dump(select: &Select) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    let request = select.write(message(GET, select.family_number()));
    Socket::open(Protocol::Netfilter)?.dump_with(request, &mut entries, |entries, reply| {
        entries.extend(Entry::parse(reply));
    })?;
    Ok(entries)
}

/// The entry one of whose directions is `tuple`.
///
/// # Errors
/// Not found ([`Error::is_not_found`]) when there is none.
pub fn get(tuple: &Tuple) -> Result<Entry, Error> {
    let request = message(GET, tuple.family()).nest(entry::TUPLE_ORIGINAL, |m| tuple.write(m));
    let replies = Socket::open(Protocol::Netfilter)?.request(request)?;
    replies.iter().find_map(Entry::parse).ok_or(Error::Malformed("entry"))
}

/// Deletes every entry of this network namespace: each NAT in it forgets its mappings.
///
/// # Errors
/// The kernel's refusal.
pub fn flush() -> Result<(), Error> {
    Socket::open(Protocol::Netfilter)?.request(message(DELETE, 0)).map(drop)
}

/// Deletes the entry whose original direction is `original`.
///
/// # Errors
/// Not found ([`Error::is_not_found`]) when there is none.
pub fn delete(original: &Tuple) -> Result<(), Error> {
    let request = message(DELETE, original.family()).nest(entry::TUPLE_ORIGINAL, |m| original.write(m));
    Socket::open(Protocol::Netfilter)?.request(request).map(drop)
}

/// Every expectation of this network namespace.
///
/// # Errors
/// As [`list`].
pub fn expectations() -> Result<Vec<Expectation>, Error> {
    let replies = Socket::open(Protocol::Netfilter)?.dump(message(GET_EXPECTATION, 0))?;
    Ok(replies.iter().filter_map(Expectation::parse).collect())
}

/// `struct nfgenmsg`: family, version 0, resource 0.
fn message(kind: u16, family: u8) -> Message {
    Message::new(kind, 0).fixed(&[family, 0, 0, 0])
}

/// Integers in network order, as ctnetlink has them; `None` where the length is another.
fn be16(value: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(value.try_into().ok()?))
}

fn be32(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

fn be64(value: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(value.try_into().ok()?))
}

/// A string up to its NUL; what is no text, and what a terminal would act on, is replaced.
fn text(value: &[u8]) -> Box<str> {
    let value = value.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value).replace(char::is_control, "\u{fffd}").into()
}

#[cfg(test)]
mod tests;
