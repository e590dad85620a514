//! The table's own counters: how full it is, and what each processor did and dropped (`conntrack -S`).

use super::{FIXED, GET_CPU_STATISTICS, GET_STATISTICS, be32, message};
use crate::netlink::{Error, Protocol, Reply, Socket};

const FOUND: u16 = 2;
const INVALID: u16 = 4;
const INSERT: u16 = 8;
const INSERT_FAILED: u16 = 9;
const DROP: u16 = 10;
const EARLY_DROP: u16 = 11;
const ERROR: u16 = 12;
const SEARCH_RESTART: u16 = 13;
const CLASH_RESOLVE: u16 = 14;
const CHAIN_TOO_LONG: u16 = 15;

const ENTRIES: u16 = 1;
const MAXIMUM: u16 = 2;

/// What one processor counted since the namespace was made (`enum ctattr_stats_cpu`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuStatistics {
    /// Its number.
    pub cpu: u16,
    /// Proposed translations that were taken already.
    pub found: u32,
    /// Packets that could not be tracked: too short, out of window, out of state.
    pub invalid: u32,
    /// Entries that programs made.
    pub insert: u32,
    /// Entries that could not be put into the table: another packet was first, or no port was free.
    pub insert_failed: u32,
    /// Packets dropped because the table was full, or because of a clash.
    pub drop: u32,
    /// Entries thrown out before their time to make room.
    pub early_drop: u32,
    /// ICMP errors and others that did not parse.
    pub error: u32,
    /// Lookups begun again because the table changed.
    pub search_restart: u32,
    /// Clashes that were resolved.
    pub clash_resolve: u32,
    /// Packets dropped because the chain of the hash table was too long.
    pub chain_too_long: u32,
}

impl CpuStatistics {
    /// The sum over processors; its number means nothing.
    pub fn sum(each: &[Self]) -> Self {
        each.iter().fold(Self::default(), |a, b| Self {
            cpu: 0,
            found: a.found.wrapping_add(b.found),
            invalid: a.invalid.wrapping_add(b.invalid),
            insert: a.insert.wrapping_add(b.insert),
            insert_failed: a.insert_failed.wrapping_add(b.insert_failed),
            drop: a.drop.wrapping_add(b.drop),
            early_drop: a.early_drop.wrapping_add(b.early_drop),
            error: a.error.wrapping_add(b.error),
            search_restart: a.search_restart.wrapping_add(b.search_restart),
            clash_resolve: a.clash_resolve.wrapping_add(b.clash_resolve),
            chain_too_long: a.chain_too_long.wrapping_add(b.chain_too_long),
        })
    }

    pub(super) fn parse(reply: &Reply) -> Option<Self> {
        // nfgenmsg.res_id, in network order.
        let [_, _, high, low] = *reply.fixed::<FIXED>()?;
        let mut each = Self { cpu: u16::from_be_bytes([high, low]), ..Self::default() };
        for (kind, value) in reply.attributes(FIXED) {
            let field = match kind {
                FOUND => &mut each.found,
                INVALID => &mut each.invalid,
                INSERT => &mut each.insert,
                INSERT_FAILED => &mut each.insert_failed,
                DROP => &mut each.drop,
                EARLY_DROP => &mut each.early_drop,
                ERROR => &mut each.error,
                SEARCH_RESTART => &mut each.search_restart,
                CLASH_RESOLVE => &mut each.clash_resolve,
                CHAIN_TOO_LONG => &mut each.chain_too_long,
                _ => continue,
            };
            *field = be32(value)?;
        }
        Some(each)
    }
}

/// How full the table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Entries of this network namespace.
    pub entries: u32,
    /// How many it may have (`nf_conntrack_max`); `None` before 4.18.
    pub maximum: Option<u32>,
}

impl Fill {
    pub(super) fn parse(reply: &Reply) -> Option<Self> {
        let find = |kind| reply.attributes(FIXED).find(|a| a.0 == kind).and_then(|(_, value)| be32(value));
        Some(Self { entries: find(ENTRIES)?, maximum: find(MAXIMUM) })
    }
}

/// The counters of each processor.
///
/// # Errors
/// The kernel's refusal.
pub fn statistics() -> Result<Vec<CpuStatistics>, Error> {
    let replies = Socket::open(Protocol::Netfilter)?.dump(message(GET_CPU_STATISTICS, 0))?;
    Ok(replies.iter().filter_map(CpuStatistics::parse).collect())
}

/// How full the table is.
///
/// # Errors
/// The kernel's refusal.
pub fn fill() -> Result<Fill, Error> {
    let replies = Socket::open(Protocol::Netfilter)?.request(message(GET_STATISTICS, 0))?;
    replies.iter().find_map(Fill::parse).ok_or(Error::Malformed("count of entries"))
}
