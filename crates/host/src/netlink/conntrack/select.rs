//! What the kernel sorts out itself while it lists the table.

use super::entry::{MARK, MARK_MASK, STATUS, STATUS_MASK, ZONE};
use crate::netlink::Message;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Criteria for a dump; all that are given must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Select {
    /// Of this family.
    pub family: Option<Family>,
    /// The mark under a mask, in this order.
    pub mark: Option<(u32, u32)>,
    /// The status bits under a mask.
    pub status: Option<(u32, u32)>,
    /// In this zone in both directions, and on some kernels also in one; of the default zone 0 in both.
    pub zone: Option<u16>,
}

impl Select {
    /// For `struct nfgenmsg`.
    pub(super) fn family_number(&self) -> u8 {
        match self.family {
            None => libc::AF_UNSPEC as u8,
            Some(Family::V4) => libc::AF_INET as u8,
            Some(Family::V6) => libc::AF_INET6 as u8,
        }
    }

    pub(super) fn write(&self, mut message: Message) -> Message {
        if let Some((value, mask)) = self.mark {
            message = message.attr_be32(MARK, value).attr_be32(MARK_MASK, mask);
        }
        if let Some((value, mask)) = self.status {
            message = message.attr_be32(STATUS, value).attr_be32(STATUS_MASK, mask);
        }
        if let Some(zone) = self.zone {
            message = message.attr(ZONE, &zone.to_be_bytes());
        }
        message
    }
}
