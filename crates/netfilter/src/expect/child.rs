//! How the child of an expectation is translated: the `expectfn` of each helper.

use super::{Class, Expectation, Expectations};
use crate::nat::{Range, Which};
use crate::status::Direction;
use crate::tuple::{Address, Tuple};

/// How a child is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildNat<A> {
    /// As rules say: its master is not translated.
    None,
    /// As its master (`nf_nat_follow_master`): it seems to come from whom the master's side speaks with, and goes to
    /// whoever announced it.
    FollowMaster {
        /// The direction in which the child goes, seen from the master.
        direction: Direction,
        /// The port that was announced, before the text was changed.
        port: u16,
    },
    /// A GRE tunnel (`pptp_nat_expected`): as its master, with the call id of the client translated.
    Pptp {
        /// The direction in which the child goes, seen from the master.
        direction: Direction,
        /// The call id that the client's end of this direction gets.
        key: u16,
    },
    /// A stream or call of SIP (`nf_nat_sip_expected`).
    Sip {
        /// The direction in which the child goes, seen from the master.
        direction: Direction,
        /// The address that was announced.
        address: A,
        /// The port that was announced.
        port: u16,
    },
}

/// What the engine does to a child before its first packet meets a rule; where there is nothing, rules decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation<A> {
    /// What its source becomes.
    pub source: Option<Range<A>>,
    /// What its destination becomes.
    pub destination: Option<Range<A>>,
    /// Whether the destination is decided before the source.
    pub destination_first: bool,
}

impl<A: Address> Expectations<A> {
    /// How a flow that begins with the tuple `child` and has met `expectation` is translated; `master` is the original and
    /// the reply tuple of its master.
    pub fn translation(
        &self,
        expectation: &Expectation<A>,
        child: &Tuple<A>,
        master: &[Tuple<A>; 2],
    ) -> Translation<A> {
        match expectation.nat {
            ChildNat::None => Translation { source: None, destination: None, destination_first: false },
            ChildNat::FollowMaster { direction, port } => {
                let other = &master[(!direction).index()];
                let (source, destination) = (Range::address(other.dst), endpoint(other.src, port));
                Translation { source: Some(source), destination: Some(destination), destination_first: false }
            }
            ChildNat::Pptp { direction, key } => {
                let other = &master[(!direction).index()];
                let (source, destination) = match direction {
                    Direction::Original => (endpoint(other.dst, key), Range::address(other.src)),
                    Direction::Reply => (Range::address(other.dst), endpoint(other.src, key)),
                };
                Translation { source: Some(source), destination: Some(destination), destination_first: false }
            }
            ChildNat::Sip { direction, address, port } => Translation {
                source: self.sip_source(expectation, direction, child, master),
                destination: Some(endpoint(address, port)),
                destination_first: true,
            },
        }
    }

    /// A stream's source becomes what the other side was told of it: the destination of the expectation for the stream's
    /// other direction. Else it becomes what the master's peer sees, if it comes from the master's host at all.
    fn sip_source(
        &self,
        expectation: &Expectation<A>,
        direction: Direction,
        child: &Tuple<A>,
        master: &[Tuple<A>; 2],
    ) -> Option<Range<A>> {
        let announces = |other: &Expectation<A>| match other.nat {
            ChildNat::Sip { address, port, .. } => {
                other.tuple.protocol == child.protocol && (address, port) == (child.src, child.src_id)
            }
            ChildNat::None | ChildNat::FollowMaster { .. } | ChildNat::Pptp { .. } => false,
        };
        let is_stream = expectation.class != Class::DEFAULT;
        let pair = is_stream.then(|| self.of_master(expectation.master).rfind(|(_, other)| announces(other))).flatten();
        if let Some((_, pair)) = pair {
            return Some(endpoint(pair.tuple.dst, pair.tuple.dst_id));
        }
        let same_host = child.src == master[direction.index()].src;
        same_host.then(|| Range::address(master[(!direction).index()].dst))
    }
}

/// One address and one port.
fn endpoint<A: Address>(address: A, port: u16) -> Range<A> {
    Range { ports: Some((port, port)), which: Which::Same, ..Range::address(address) }
}
