//! What is done with a packet that a rule matches.

use super::value::Masked;
use crate::nat::{Manip, Range};
use crate::tuple::Address;

/// What is done with a packet that a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target<A> {
    /// It passes this table.
    Accept,
    /// It is gone.
    Drop,
    /// It is gone, and its sender is told.
    Reject(Reject),
    /// On with the rule behind the jump that led here, or the policy.
    Return,
    /// Through the chain of this name, and back.
    Jump(String),
    /// Through the chain of this name, and back to where this chain was called from.
    Goto(String),
    /// The source becomes one of these.
    Snat(Range<A>),
    /// The destination becomes one of these.
    Dnat(Range<A>),
    /// The source becomes the address of the interface that it leaves by; the range has ports only.
    Masquerade(Range<A>),
    /// The destination becomes this host; the range has ports only.
    Redirect(Range<A>),
    /// The network part of the address becomes this one: of the source behind routing, of the destination before.
    Netmap(Masked<A>),
    /// The packet's mark is changed.
    Mark(MarkChange),
    /// The flow's mark is changed, or the packet's from it.
    Connmark(ConnmarkChange),
    /// The packet is not tracked (`-j CT --notrack`).
    Untrack,
    /// The same by its old name (`-j NOTRACK`).
    Notrack,
    /// The packet's flow gets what the template says.
    Ct(Template),
    /// A line is written.
    Log(Log),
    /// Every further rule is noted.
    Trace,
}

impl<A> Target<A> {
    /// The name behind `-j`; a chain's own.
    pub fn name(&self) -> &str {
        match self {
            Self::Accept => "ACCEPT",
            Self::Drop => "DROP",
            Self::Reject(_) => "REJECT",
            Self::Return => "RETURN",
            Self::Jump(chain) | Self::Goto(chain) => chain,
            Self::Snat(_) => "SNAT",
            Self::Dnat(_) => "DNAT",
            Self::Masquerade(_) => "MASQUERADE",
            Self::Redirect(_) => "REDIRECT",
            Self::Netmap(_) => "NETMAP",
            Self::Mark(_) => "MARK",
            Self::Connmark(_) => "CONNMARK",
            Self::Untrack | Self::Ct(_) => "CT",
            Self::Notrack => "NOTRACK",
            Self::Log(_) => "LOG",
            Self::Trace => "TRACE",
        }
    }
}

/// How a flow is to be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation<A> {
    /// One end becomes one of these.
    To(Manip, Range<A>),
    /// The source becomes the address of the interface that it leaves by; the range has no address.
    Masquerade(Range<A>),
    /// The destination becomes this host, as the interface that it came by knows it; the range has no address.
    Redirect(Range<A>),
}

impl<A: Address> Translation<A> {
    /// Which end is translated.
    pub const fn manip(&self) -> Manip {
        match self {
            Self::To(manip, _) => *manip,
            Self::Masquerade(_) => Manip::Source,
            Self::Redirect(_) => Manip::Destination,
        }
    }
}

/// How the sender of a rejected packet is told (`enum ipt_reject_with`, `enum ip6t_reject_with`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reject {
    /// A TCP segment with RST.
    TcpReset,
    /// ICMP or ICMPv6 of this type and code.
    Icmp {
        /// Destination unreachable of its family: 3 or 1.
        message_type: u8,
        /// Which of them.
        code: u8,
    },
}

impl Reject {
    /// Every answer of ICMP: code, name, short name.
    pub(super) const V4: [(u8, &str, &str); 7] = [
        (0, "icmp-net-unreachable", "net-unreach"),
        (1, "icmp-host-unreachable", "host-unreach"),
        (2, "icmp-proto-unreachable", "proto-unreach"),
        (3, "icmp-port-unreachable", "port-unreach"),
        (9, "icmp-net-prohibited", "net-prohib"),
        (10, "icmp-host-prohibited", "host-prohib"),
        (13, "icmp-admin-prohibited", "admin-prohib"),
    ];

    /// Every answer of ICMPv6.
    pub(super) const V6: [(u8, &str, &str); 6] = [
        (0, "icmp6-no-route", "no-route"),
        (1, "icmp6-adm-prohibited", "adm-prohibited"),
        (3, "icmp6-addr-unreachable", "addr-unreach"),
        (4, "icmp6-port-unreachable", "port-unreach"),
        (5, "icmp6-policy-fail", "policy-fail"),
        (6, "icmp6-reject-route", "reject-route"),
    ];

    /// The answers of a family.
    pub(super) const fn names<A: Address>() -> &'static [(u8, &'static str, &'static str)] {
        if A::IS_V4 { &Self::V4 } else { &Self::V6 }
    }

    /// Destination unreachable with this code.
    pub const fn unreachable<A: Address>(code: u8) -> Self {
        Self::Icmp { message_type: if A::IS_V4 { 3 } else { 1 }, code }
    }

    /// What `--reject-with` takes it by; "port unreachable" if nothing is said.
    pub fn named<A: Address>(name: &str) -> Option<Self> {
        if name == "tcp-reset" || name == "tcp-rst" && A::IS_V4 {
            return Some(Self::TcpReset);
        }
        let found = Self::names::<A>().iter().find(|(_, long, short)| name == *long || name == *short);
        found.map(|&(code, ..)| Self::unreachable::<A>(code))
    }

    /// "Port unreachable", which REJECT without options answers.
    pub const fn port_unreachable<A: Address>() -> Self {
        Self::unreachable::<A>(if A::IS_V4 { 3 } else { 4 })
    }
}

/// How a mark is changed: some bits are cleared, then some are flipped (`--set-xmark`, which the others are short for).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MarkChange {
    /// The bits to flip.
    pub flip: u32,
    /// The bits to clear before.
    pub clear: u32,
}

impl MarkChange {
    /// `--set-mark`: the mark becomes this.
    pub const fn set(mark: u32) -> Self {
        Self { flip: mark, clear: u32::MAX }
    }

    /// `--and-mark`.
    pub const fn and(bits: u32) -> Self {
        Self { flip: 0, clear: !bits }
    }

    /// `--or-mark`.
    pub const fn or(bits: u32) -> Self {
        Self { flip: bits, clear: bits }
    }

    /// `--xor-mark`.
    pub const fn xor(bits: u32) -> Self {
        Self { flip: bits, clear: 0 }
    }

    /// The changed mark.
    #[inline]
    pub const fn of(self, mark: u32) -> u32 {
        mark & !self.clear ^ self.flip
    }
}

/// How CONNMARK changes marks (`connmark_tg_shift` in `net/netfilter/xt_connmark.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnmarkChange {
    /// The flow's mark.
    Set(MarkChange),
    /// The flow's from the packet's: the bits `ctmask` are cleared, and the packet's bits `nfmask` flipped.
    Save {
        /// Bits of the packet's mark.
        nfmask: u32,
        /// Bits of the flow's mark.
        ctmask: u32,
    },
    /// The packet's from the flow's: the bits `nfmask` are cleared, and the flow's bits `ctmask` flipped.
    Restore {
        /// Bits of the packet's mark.
        nfmask: u32,
        /// Bits of the flow's mark.
        ctmask: u32,
    },
}

/// What a new flow is to get (the template of `net/netfilter/xt_CT.c`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// Which helper reads it.
    pub helper: Option<String>,
    /// The timeout policy, by name.
    pub timeout: Option<String>,
    /// Which events are told of it; all, if absent.
    pub events: Option<Events>,
    /// Whether only new expectations are told of (`--expevents new`).
    pub expectation_events: bool,
    /// In which zone it is.
    pub zone: Option<Zone>,
}

/// The zone of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Zone {
    /// Its number.
    pub id: ZoneId,
    /// Whether it counts for one direction of the flow only.
    pub only: Option<crate::status::Direction>,
}

/// The number of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ZoneId {
    /// This one.
    Number(u16),
    /// The lower half of the packet's mark when it is looked up (`--zone mark`).
    Mark,
}

/// A set of events of a flow (`enum ip_conntrack_events`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Events(pub u16);

impl Events {
    /// The events by bit number and name, in the order in which iptables-save writes them.
    pub const NAMES: [(u8, &str); 10] = [
        (0, "new"),
        (1, "related"),
        (2, "destroy"),
        (3, "reply"),
        (4, "assured"),
        (5, "protoinfo"),
        (6, "helper"),
        (7, "mark"),
        (8, "natseqinfo"),
        (9, "secmark"),
    ];
}

/// A line about a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// What it begins with, at most 29 bytes.
    pub prefix: String,
    /// The level of syslog, 0 to 7.
    pub level: u8,
    /// What is written beside the packet's headers.
    pub details: LogDetails,
}

impl Default for Log {
    /// A warning without a prefix.
    fn default() -> Self {
        Self { prefix: String::new(), level: Self::WARNING, details: LogDetails::default() }
    }
}

impl Log {
    /// The level that is not written.
    pub const WARNING: u8 = 4;
    /// The longest prefix, in bytes.
    pub const LONGEST_PREFIX: usize = 29;
    /// The names of the levels.
    pub(super) const LEVELS: [(u8, &str); 11] = [
        (7, "debug"),
        (6, "info"),
        (5, "notice"),
        (4, "warning"),
        (4, "warn"),
        (3, "error"),
        (3, "err"),
        (2, "crit"),
        (1, "alert"),
        (0, "emerg"),
        (0, "panic"),
    ];
}

/// What a line has beside a packet's headers, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogDetails(pub u8);

impl LogDetails {
    /// The options by bit, in the order in which iptables-save writes them.
    pub const OPTIONS: [(u8, &str); 5] = [
        (0x01, "--log-tcp-sequence"),
        (0x02, "--log-tcp-options"),
        (0x04, "--log-ip-options"),
        (0x08, "--log-uid"),
        (0x20, "--log-macdecode"),
    ];
}
