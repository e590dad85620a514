//! Expectations: flows that another flow, their master, has announced (`net/netfilter/nf_conntrack_expect.c`).
//!
//! An [`Expectation`] is a tuple of which the source may be left open. The table, [`Expectations`], is asked only when a new
//! entry is about to be made; what it finds makes the new entry a child: EXPECTED, RELATED until it is answered, and
//! translated as the expectation says ([`Expectations::translation`]). Expectations go when they are met, when their time is
//! over, and with their master.
//!
//! Not here: who expects what, which is for the [helpers](crate::helper), and flows, which the table of flows has.

mod child;
mod keymap;
mod table;

use core::time::Duration;

use pinhole_sansio::Instant;

pub use child::{ChildNat, Translation};
pub use keymap::Keymap;
pub use table::{Event, Expectations, Masters};

use crate::helper::Helper;
use crate::tuple::{Address, Tuple};

/// What names a flow as the master of others. The table of flows gives it and never gives it twice while it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MasterId(pub u64);

/// What names an expectation. A later one has a higher number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExpectId(u64);

/// A flow that is expected (`struct nf_conntrack_expect`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation<A: Address> {
    /// The first packet's tuple; what [`mask`](Self::mask) leaves open is zero.
    pub tuple: Tuple<A>,
    /// Which part of the source counts. The destination and the protocol always do.
    pub mask: Mask<A>,
    /// The zone of its master.
    pub zone: u16,
    /// The flow that announced it.
    pub master: MasterId,
    /// The protocol of that flow: a helper for two protocols is two helpers. Zero if it is not told.
    pub master_protocol: u8,
    /// Whose it is, if not user space's alone.
    pub helper: Option<Helper>,
    /// Which of the helper's limits it falls under.
    pub class: Class,
    /// When it is over. Set when it is added.
    pub expires: Instant,
    /// Its special ways.
    pub flags: Flags,
    /// The helper that the child gets.
    pub attach: Option<Helper>,
    /// How the child is translated.
    pub nat: ChildNat<A>,
    /// The tuple of another expectation that goes when this one is met: the other direction of a GRE tunnel.
    pub sibling: Option<Tuple<A>>,
}

impl<A: Address> Expectation<A> {
    /// One-time, active, not translated, no helper for the child; what `src` and `src_id` do not name is open
    /// (`nf_ct_expect_init`).
    pub fn new(
        helper: Helper,
        master: MasterId,
        zone: u16,
        protocol: u8,
        (src, src_id): (Option<A>, Option<u16>),
        (dst, dst_id): (A, u16),
    ) -> Self {
        let open = A::UNSPECIFIED;
        let mask = Mask {
            src: if src.is_some() { A::of_number(u128::MAX) } else { open },
            src_id: if src_id.is_some() { u16::MAX } else { 0 },
        };
        let tuple = Tuple { src: src.unwrap_or(open), dst, src_id: src_id.unwrap_or(0), dst_id, protocol };
        Self {
            tuple,
            mask,
            zone,
            master,
            master_protocol: 0,
            helper: Some(helper),
            class: Class::DEFAULT,
            expires: Instant::EPOCH,
            flags: Flags::default(),
            attach: None,
            nat: ChildNat::None,
            sibling: None,
        }
    }

    /// Whether a flow that begins with `tuple` is this one.
    pub fn is_met_by(&self, tuple: &Tuple<A>) -> bool {
        self.mask.same(&self.tuple, tuple)
    }

    /// Unreplied and replied timeout of the child where its helper gives it others than its tracker's:
    /// `PPTP_GRE_TIMEOUT` and `PPTP_GRE_STREAM_TIMEOUT` of `include/linux/netfilter/nf_conntrack_pptp.h`.
    pub fn child_timeouts(&self) -> Option<(Duration, Duration)> {
        (self.helper == Some(Helper::Pptp)).then_some((Duration::from_secs(600), Duration::from_secs(18_000)))
    }
}

/// Which part of an expectation's source counts (`struct nf_conntrack_tuple_mask`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask<A> {
    /// Bits of the address that count.
    pub src: A,
    /// Bits of the port or key that count.
    pub src_id: u16,
}

impl<A: Address> Mask<A> {
    /// Whether two tuples are the same as far as this mask sees.
    fn same(&self, a: &Tuple<A>, b: &Tuple<A>) -> bool {
        let bits = self.src.to_number();
        (a.src.to_number() ^ b.src.to_number()) & bits == 0
            && (a.src_id ^ b.src_id) & self.src_id == 0
            && (a.dst, a.dst_id, a.protocol) == (b.dst, b.dst_id, b.protocol)
    }

    /// The mask that sees only what both see.
    fn and(&self, other: &Self) -> Self {
        let src = A::of_number(self.src.to_number() & other.src.to_number());
        Self { src, src_id: self.src_id & other.src_id }
    }
}

/// Which of its helper's limits an expectation falls under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(pub u8);

impl Class {
    /// The only one of most helpers; SIP's signalling.
    pub const DEFAULT: Self = Self(0);
    /// SIP's audio streams.
    pub const AUDIO: Self = Self(1);
    /// SIP's video streams.
    pub const VIDEO: Self = Self(2);
    /// SIP's images, which is fax.
    pub const IMAGE: Self = Self(3);
}

/// The limits of a class (`struct nf_conntrack_expect_policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How many one master may have at a time; zero is no limit.
    pub max: usize,
    /// How long one lives if it is not met.
    pub timeout: Duration,
}

impl Policy {
    /// `max` at a time, for `secs` seconds each.
    pub const fn new(max: usize, secs: u64) -> Self {
        Self { max, timeout: Duration::from_secs(secs) }
    }
}

/// Special ways of an expectation (`NF_CT_EXPECT_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// It stays when it is met.
    pub const PERMANENT: Self = Self(0x1);
    /// It is not met yet by anything.
    pub const INACTIVE: Self = Self(0x2);
    /// User space made it.
    pub const USERSPACE: Self = Self(0x4);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Why an expectation was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Another one could be met by the same packet (`EBUSY`).
    Busy,
    /// Another master has the very same, where masters share (`EALREADY`).
    Already,
    /// The table is full (`EMFILE`).
    Full,
}

impl core::fmt::Display for Refused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Busy => "another expectation could be met by the same packet",
            Self::Already => "another flow expects the same already",
            Self::Full => "the table of expectations is full",
        })
    }
}

impl<A: Address> core::fmt::Display for Expectation<A> {
    /// As `any:any > 192.0.2.1:2024 tcp`.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let &Self { tuple, mask, .. } = self;
        if mask.src.to_number() == 0 {
            f.write_str("any")?
        } else {
            write!(f, "{}", tuple.src)?
        }
        if mask.src_id == 0 {
            f.write_str(" any")?
        } else {
            write!(f, " {}", tuple.src_id)?
        }
        write!(f, " > {} {} {}", tuple.dst, tuple.dst_id, pinhole_wire::Protocol::from(tuple.protocol))
    }
}
