//! Sets of addresses, networks and ports, as `ipset` has them (`-m set`; `net/netfilter/ipset/`).
//!
//! The hash types that save as single addresses, networks and ports are here. An element with a timeout, and every other
//! type, is refused when the set is read.

use std::collections::BTreeMap;

use super::subject::Subject;
use super::value::Masked;
use crate::tuple::{Address, SCTP, UDP_LITE};

/// All sets, by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sets<A> {
    sets: Vec<Set<A>>,
}

impl<A> Default for Sets<A> {
    fn default() -> Self {
        Self { sets: Vec::new() }
    }
}

impl<A: Address> Sets<A> {
    /// Adds a set; nothing and the set back, if there is one of that name.
    ///
    /// # Errors
    /// The set, if its name is taken.
    pub fn add(&mut self, set: Set<A>) -> Result<(), Set<A>> {
        if self.position(&set.name).is_some() {
            return Err(set);
        }
        self.sets.push(set);
        Ok(())
    }

    /// The set of this name, to be changed.
    pub fn named_mut(&mut self, name: &str) -> Option<&mut Set<A>> {
        self.sets.iter_mut().find(|set| set.name == name)
    }

    /// The set of this name.
    pub fn named(&self, name: &str) -> Option<&Set<A>> {
        self.sets.iter().find(|set| set.name == name)
    }

    /// The number of the set of this name.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.sets.iter().position(|set| set.name == name)
    }

    /// Whether what `lookup` takes of a packet is in its set.
    pub(super) fn contains(&self, lookup: &Lookup, subject: &Subject<'_, A>) -> bool {
        self.sets.get(lookup.set).is_some_and(|set| set.contains(lookup, subject))
    }
}

/// What a rule looks up (`--match-set NAME src,dst`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The name of the set.
    pub name: String,
    /// For each part of an element, whether it is the packet's source or its destination.
    pub ends: Vec<End>,
    /// The number of the set, once the rules are loaded.
    pub(super) set: usize,
}

impl Lookup {
    /// A lookup in the set `name`.
    pub fn new(name: impl Into<String>, ends: impl Into<Vec<End>>) -> Self {
        Self { name: name.into(), ends: ends.into(), set: usize::MAX }
    }

    /// How many parts can be named (`IPSET_DIM_MAX`).
    pub(super) const MOST_ENDS: usize = 6;
}

/// One end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// `src`.
    Source,
    /// `dst`.
    Destination,
}

/// One part of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// An address.
    Ip,
    /// A network; the smallest that contains an address decides.
    Net,
    /// A protocol and a port, or an ICMP type and code.
    Port,
}

/// A set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set<A> {
    name: String,
    parts: Vec<Part>,
    /// It is of the other address family, and so contains nothing.
    is_foreign: bool,
    /// Each element, and whether it is an exception (`nomatch`).
    elements: BTreeMap<Element<A>, bool>,
    /// The lengths of prefixes that elements have, longest first, with how many have them.
    lengths: BTreeMap<core::cmp::Reverse<[u8; 2]>, usize>,
}

/// An element of a set: up to two networks, a protocol and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element<A> {
    nets: [(A, u8); 2],
    protocol: u8,
    port: u16,
}

impl<A: Address> Element<A> {
    /// An element of one address or network.
    pub fn net(address: A, length: u8) -> Self {
        Self { nets: [cut(address, length), (A::UNSPECIFIED, 0)], protocol: 0, port: 0 }
    }

    /// With a protocol and a port.
    #[must_use]
    pub const fn port(self, protocol: u8, port: u16) -> Self {
        Self { protocol, port, ..self }
    }

    /// With a second address or network.
    #[must_use]
    pub fn and(self, address: A, length: u8) -> Self {
        Self { nets: [self.nets[0], cut(address, length)], ..self }
    }
}

/// A network without the bits of its hosts.
fn cut<A: Address>(address: A, length: u8) -> (A, u8) {
    let length = length.min(A::BITS as u8);
    (Masked::prefix(address, u32::from(length)).address(), length)
}

impl<A: Address> Set<A> {
    /// An empty set whose elements have these parts.
    pub fn new(name: impl Into<String>, parts: impl Into<Vec<Part>>) -> Self {
        Self {
            name: name.into(),
            parts: parts.into(),
            is_foreign: false,
            elements: BTreeMap::new(),
            lengths: BTreeMap::new(),
        }
    }

    /// The same set, of the other family or not.
    pub(super) fn of_other_family(self, is_foreign: bool) -> Self {
        Self { is_foreign, ..self }
    }

    /// Whether it is of the other family.
    pub(super) const fn is_of_other_family(&self) -> bool {
        self.is_foreign
    }

    /// Adds an element, or makes it an exception, or an ordinary one again.
    pub fn add(&mut self, element: Element<A>, is_exception: bool) {
        if self.elements.insert(element, is_exception).is_none() {
            *self.lengths.entry(lengths(&element)).or_default() += 1;
        }
    }

    /// Removes an element; says whether it was there.
    pub fn remove(&mut self, element: &Element<A>) -> bool {
        let was_there = self.elements.remove(element).is_some();
        if was_there && let Some(count) = self.lengths.get_mut(&lengths(element)) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&lengths(element));
            }
        }
        was_there
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its elements consist of.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// Looks a packet up. Fewer ends than parts find nothing (`ip_set_test`), and neither does a port that is not there.
    fn contains(&self, lookup: &Lookup, subject: &Subject<'_, A>) -> bool {
        if lookup.ends.len() < self.parts.len() {
            return false;
        }
        let (mut addresses, mut nets, mut protocol, mut port) = ([A::UNSPECIFIED; 2], 0, 0, 0);
        for (part, end) in self.parts.iter().zip(&lookup.ends) {
            match part {
                Part::Ip | Part::Net => {
                    let Some(place) = addresses.get_mut(nets) else { return false };
                    *place = match end {
                        End::Source => subject.src,
                        End::Destination => subject.dst,
                    };
                    nets += 1;
                }
                Part::Port => {
                    let Some(found) = port_of(subject, *end) else { return false };
                    (protocol, port) = (subject.protocol, found);
                }
            }
        }
        let found = self.lengths.keys().find_map(|core::cmp::Reverse([first, second])| {
            let nets = [cut(addresses[0], *first), cut(addresses[1], *second)];
            self.elements.get(&Element { nets, protocol, port })
        });
        found.is_some_and(|is_exception| !is_exception)
    }
}

fn lengths<A: Copy>(element: &Element<A>) -> core::cmp::Reverse<[u8; 2]> {
    core::cmp::Reverse(element.nets.map(|(_, length)| length))
}

/// The port of a packet as sets see it: type and code of ICMP, zero of a protocol without ports, none of a later fragment
/// (`ip_set_get_ip4_port`).
fn port_of<A: Address>(subject: &Subject<'_, A>, end: End) -> Option<u16> {
    let at = match (subject.protocol, end) {
        (6 | 17 | SCTP | UDP_LITE, End::Destination) => 2,
        (6 | 17 | SCTP | UDP_LITE, End::Source) | (1 | 58, _) => 0,
        _ => return Some(0),
    };
    let bytes = subject.body?.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}
