//! What happens to flows, collected per packet and told after it (`enum ip_conntrack_events`).

use core::ops::BitOrAssign;

use crate::table::{Flow, FlowId};

/// What a packet has done to a flow.
#[derive(Clone, Debug)]
pub struct Event<A> {
    /// Which flow.
    pub id: FlowId,
    /// What.
    pub happened: Happened,
    /// The flow as it is by then.
    pub flow: Flow<A>,
}

/// A set of things that can happen to a flow, by the kernel's bit numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Happened(pub u16);

impl Happened {
    /// It is new.
    pub const NEW: Self = Self(1 << 0);
    /// It is new, and another one has announced it.
    pub const RELATED: Self = Self(1 << 1);
    /// It is gone.
    pub const DESTROY: Self = Self(1 << 2);
    /// It was answered.
    pub const REPLY: Self = Self(1 << 3);
    /// It is ASSURED.
    pub const ASSURED: Self = Self(1 << 4);
    /// The state of its protocol is another one.
    pub const PROTOINFO: Self = Self(1 << 5);
    /// It has got a helper.
    pub const HELPER: Self = Self(1 << 6);
    /// Its mark is another one.
    pub const MARK: Self = Self(1 << 7);
    /// Its sequence numbers are adjusted otherwise.
    pub const SEQADJ: Self = Self(1 << 8);

    /// Whether all of `other` are in it.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOrAssign for Happened {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
