//! What is known of a flow and of a packet's place in it (`include/uapi/linux/netfilter/nf_conntrack_common.h`).

use core::fmt;
use core::ops::{BitOr, BitOrAssign, Not};

/// Which way a packet goes, seen from the first one of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// As the first packet.
    Original = 0,
    /// Against it.
    Reply = 1,
}

impl Direction {
    /// The place of this direction in an array of two.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl Not for Direction {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Original => "original",
            Self::Reply => "reply",
        })
    }
}

/// What conntrack says of a packet (`enum ip_conntrack_info`; INVALID is the absence of an entry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CtInfo {
    /// Original direction of a flow that was answered.
    Established = 0,
    /// An error about a flow, or the first packets of an expected one.
    Related = 1,
    /// A flow that nobody answered yet.
    New = 2,
    /// Reply direction.
    EstablishedReply = 3,
    /// An error in reply direction.
    RelatedReply = 4,
    /// Not tracked, by a rule or by nature.
    Untracked = 7,
}

impl CtInfo {
    /// What a packet is that belongs to a flow of this status (`resolve_normal_ct`).
    #[inline]
    pub(crate) const fn of(direction: Direction, status: Status) -> Self {
        /// By direction and by the bits EXPECTED and SEEN_REPLY.
        const INFO: [[CtInfo; 4]; 2] =
            [[CtInfo::New, CtInfo::Related, CtInfo::Established, CtInfo::Established], [CtInfo::EstablishedReply; 4]];
        INFO[direction.index()][(status.0 & (Status::EXPECTED.0 | Status::SEEN_REPLY.0)) as usize]
    }

    /// The direction of the packet (`CTINFO2DIR`).
    pub const fn direction(self) -> Direction {
        match self {
            Self::EstablishedReply | Self::RelatedReply => Direction::Reply,
            Self::Established | Self::Related | Self::New | Self::Untracked => Direction::Original,
        }
    }
}

/// The status bits of an entry (`enum ip_conntrack_status`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Status(pub u16);

impl Status {
    /// It came from an expectation.
    pub const EXPECTED: Self = Self(0x1);
    /// A packet of the reply direction was accepted.
    pub const SEEN_REPLY: Self = Self(0x2);
    /// Never dropped early.
    pub const ASSURED: Self = Self(0x4);
    /// In the table.
    pub const CONFIRMED: Self = Self(0x8);
    /// The source is translated.
    pub const SRC_NAT: Self = Self(0x10);
    /// The destination is translated.
    pub const DST_NAT: Self = Self(0x20);
    /// Sequence numbers are adjusted.
    pub const SEQ_ADJUST: Self = Self(0x40);
    /// Source NAT is decided.
    pub const SRC_NAT_DONE: Self = Self(0x80);
    /// Destination NAT is decided.
    pub const DST_NAT_DONE: Self = Self(0x100);
    /// Leaving the table.
    pub const DYING: Self = Self(0x200);
    /// Its timeout is never refreshed.
    pub const FIXED_TIMEOUT: Self = Self(0x400);
    /// A template, which never is in the table.
    pub const TEMPLATE: Self = Self(0x800);
    /// Inserted in reply direction only, after a clash.
    pub const NAT_CLASH: Self = Self(0x1000);
    /// A helper was assigned by rule.
    pub const HELPER: Self = Self(0x2000);
    /// In the flow table.
    pub const OFFLOAD: Self = Self(0x4000);

    /// Source and destination NAT are both decided.
    pub const NAT_DONE: Self = Self(Self::SRC_NAT_DONE.0 | Self::DST_NAT_DONE.0);
    /// Source or destination is translated.
    pub const NAT: Self = Self(Self::SRC_NAT.0 | Self::DST_NAT.0);

    /// Names of the bits, lowest first.
    const NAMES: [&str; 15] = [
        "EXPECTED",
        "SEEN_REPLY",
        "ASSURED",
        "CONFIRMED",
        "SRC_NAT",
        "DST_NAT",
        "SEQ_ADJUST",
        "SRC_NAT_DONE",
        "DST_NAT_DONE",
        "DYING",
        "FIXED_TIMEOUT",
        "TEMPLATE",
        "NAT_CLASH",
        "HELPER",
        "OFFLOAD",
    ];

    /// The bits of these names, as they are displayed, or of a number.
    pub fn named(names: &str) -> Option<Self> {
        if let Some(number) = names.strip_prefix("0x").map(|digits| u16::from_str_radix(digits, 16)) {
            return number.ok().map(Self);
        }
        if names == "0" {
            return Some(Self(0));
        }
        names.split(',').try_fold(Self(0), |status, name| {
            let bit = Self::NAMES.iter().position(|known| *known == name)?;
            Some(status | Self(1 << bit))
        })
    }

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether some bit of `other` is set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Sets the bits of `other`; says whether one was not set before.
    pub const fn set(&mut self, other: Self) -> bool {
        let news = self.0 & other.0 != other.0;
        self.0 |= other.0;
        news
    }

    /// Clears the bits of `other`.
    pub const fn clear(&mut self, other: Self) {
        self.0 &= !other.0;
    }
}

impl BitOr for Status {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Status {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::NAMES.iter().enumerate().filter(|(bit, _)| self.0 & 1 << bit != 0);
        names.enumerate().try_for_each(|(n, (_, name))| write!(f, "{}{name}", if n == 0 { "" } else { "," }))
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Status({:#x}: {self})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masqueraded_established_flow_reads_as_the_kernel_shows_it() {
        // Measured on Linux 6.18: 0x19e.
        let status = Status(0x19e);
        assert_eq!(status.to_string(), "SEEN_REPLY,ASSURED,CONFIRMED,SRC_NAT,SRC_NAT_DONE,DST_NAT_DONE");
        assert!(status.contains(Status::NAT_DONE) && !status.contains(Status::NAT) && status.intersects(Status::NAT));
    }
}
