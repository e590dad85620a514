//! The mappings and sessions of a NAT, and the ways to find them. What is made and when is for the machine to say.

use super::index::{Index, fold};
use super::packet::{Endpoint, Proto};
use super::slab::{NONE, Slab};
use super::tcp;
use super::wheel::{Link, Linked, Wheel};
use crate::tuple::Address;

/// An inside endpoint's external endpoint, for all remote endpoints or for one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mapping<A> {
    inside: A,
    peer: A,
    pub(super) subscriber: u32,
    /// How many sessions it has; without any it goes.
    pub(super) sessions: u32,
    /// The next mapping with the same external endpoint.
    next_on_port: u32,
    inside_port: u16,
    peer_port: u16,
    /// The number of its external address.
    pub(super) external: u16,
    pub(super) external_port: u16,
    pub(super) proto: Proto,
}

impl<A: Address> Mapping<A> {
    pub(super) const fn inside(&self) -> Endpoint<A> {
        Endpoint { address: self.inside, port: self.inside_port }
    }

    /// The remote endpoint that it is for; unspecified where it is for all.
    pub(super) const fn peer(&self) -> Endpoint<A> {
        Endpoint { address: self.peer, port: self.peer_port }
    }
}

/// What one remote endpoint has to do with a mapping. It has the mapping's endpoints too, so that a packet from inside needs
/// no more than one line of memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session<A> {
    remote: A,
    inside: A,
    pub(super) mapping: u32,
    link: Link,
    /// The tick at which it ends; of a permission, how many sessions it stands for.
    pub(super) ends: u32,
    remote_port: u16,
    inside_port: u16,
    /// The number of the mapping's external address.
    pub(super) external: u16,
    pub(super) external_port: u16,
    proto: Proto,
    pub(super) tcp: tcp::State,
    pub(super) flags: Flags,
}

impl<A: Address> Session<A> {
    pub(super) const fn remote(&self) -> Endpoint<A> {
        Endpoint { address: self.remote, port: self.remote_port }
    }

    const fn inside(&self) -> Endpoint<A> {
        Endpoint { address: self.inside, port: self.inside_port }
    }
}

impl<A> Linked for Session<A> {
    fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    fn ends(&self) -> u32 {
        self.ends
    }
}

/// What a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags(u8);

impl Flags {
    /// Nobody has sent yet.
    pub(super) const NEW: Self = Self(0);
    /// The inside has sent to the remote endpoint.
    pub(super) const SENT: Self = Self(1);
    /// The remote endpoint has sent.
    pub(super) const RECEIVED: Self = Self(2);
    /// No session, but the permission for all ports of the remote address, as long as the inside has sent to one.
    pub(super) const PERMISSION: Self = Self(4);
    /// No session, but the promise that the mapping stays.
    pub(super) const PINNED: Self = Self(8);

    pub(super) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) const fn set(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// Everything of a NAT that has a lifetime.
#[derive(Clone, Debug)]
pub(super) struct Flows<A> {
    mappings: Slab<Mapping<A>>,
    sessions: Slab<Session<A>>,
    by_inside: Index,
    by_ends: Index,
    by_port: Vec<[PortTable; Proto::COUNT]>,
    wheel: Wheel,
    secret: [u64; 4],
}

impl<A: Address> Flows<A> {
    /// None yet, with so many external addresses.
    pub(super) fn new(externals: usize, secret: [u64; 4]) -> Self {
        Self {
            mappings: Slab::new(),
            sessions: Slab::new(),
            by_inside: Index::new(),
            by_ends: Index::new(),
            by_port: (0..externals).map(|_| Default::default()).collect(),
            wheel: Wheel::new(),
            secret,
        }
    }

    pub(super) fn mapping(&self, id: u32) -> &Mapping<A> {
        self.mappings.get(id)
    }

    pub(super) fn session(&self, id: u32) -> &Session<A> {
        self.sessions.get(id)
    }

    pub(super) fn session_mut(&mut self, id: u32) -> &mut Session<A> {
        self.sessions.get_mut(id)
    }

    pub(super) fn mappings(&self) -> u32 {
        self.mappings.len()
    }

    /// How many sessions there are; permissions and promises are counted too.
    pub(super) fn sessions(&self) -> u32 {
        self.sessions.len()
    }

    /// The mapping of an inside endpoint for a peer.
    pub(super) fn mapping_of(&self, proto: Proto, inside: Endpoint<A>, peer: Endpoint<A>) -> Option<u32> {
        self.by_inside.find(self.hash(proto, inside, peer), |id| {
            let mapping = self.mappings.get(id);
            mapping.proto == proto && mapping.inside() == inside && mapping.peer() == peer
        })
    }

    /// The session between an inside and a remote endpoint.
    #[inline]
    pub(super) fn session_of(&self, proto: Proto, inside: Endpoint<A>, remote: Endpoint<A>) -> Option<u32> {
        self.by_ends.find(self.hash(proto, inside, remote), |id| {
            let session = self.sessions.get(id);
            session.remote() == remote
                && session.inside() == inside
                && session.proto == proto
                && session.flags.0 & (Flags::PERMISSION.0 | Flags::PINNED.0) == 0
        })
    }

    /// The permission or promise of a mapping.
    fn special(&self, mapping: u32, remote: Endpoint<A>, flag: Flags) -> Option<u32> {
        let Mapping { proto, .. } = *self.mappings.get(mapping);
        let inside = self.mappings.get(mapping).inside();
        self.by_ends.find(self.hash(proto, inside, remote), |id| {
            let session = self.sessions.get(id);
            session.mapping == mapping && session.remote() == remote && session.flags.contains(flag)
        })
    }

    /// The permission of a remote address to send to a mapping.
    pub(super) fn permission(&self, mapping: u32, address: A) -> Option<u32> {
        self.special(mapping, Endpoint { address, port: 0 }, Flags::PERMISSION)
    }

    /// The promise that a mapping stays.
    pub(super) fn pin(&self, mapping: u32) -> Option<u32> {
        self.special(mapping, Endpoint { address: A::UNSPECIFIED, port: 0 }, Flags::PINNED)
    }

    /// The mappings that have an external endpoint, the newest first.
    #[inline]
    pub(super) fn on_port(&self, proto: Proto, external: u16, port: u16) -> impl Iterator<Item = u32> + '_ {
        let first = self.by_port[usize::from(external)][proto as usize].get(port);
        let next = |&id: &u32| Some(self.mappings.get(id).next_on_port).filter(|&next| next != NONE);
        std::iter::successors(Some(first).filter(|&id| id != NONE), next)
    }

    /// Makes a mapping, which has no session yet.
    pub(super) fn add_mapping(
        &mut self,
        proto: Proto,
        inside: Endpoint<A>,
        peer: Endpoint<A>,
        (external, external_port): (u16, u16),
        subscriber: u32,
    ) -> u32 {
        let table = &mut self.by_port[usize::from(external)][proto as usize];
        let id = self.mappings.insert(Mapping {
            inside: inside.address,
            inside_port: inside.port,
            peer: peer.address,
            peer_port: peer.port,
            subscriber,
            sessions: 0,
            next_on_port: table.get(external_port),
            external,
            external_port,
            proto,
        });
        table.set(external_port, id);
        self.by_inside.insert(self.hash(proto, inside, peer), id);
        id
    }

    /// Ends a mapping that has no session; says whether its external endpoint is nobody's now.
    pub(super) fn remove_mapping(&mut self, id: u32) -> bool {
        let mapping = *self.mappings.get(id);
        let hash = self.hash(mapping.proto, mapping.inside(), mapping.peer());
        self.by_inside.remove(hash, id);
        let before = self
            .on_port(mapping.proto, mapping.external, mapping.external_port)
            .find(|&other| self.mappings.get(other).next_on_port == id);
        match before {
            Some(before) => self.mappings.get_mut(before).next_on_port = mapping.next_on_port,
            None => self.by_port[usize::from(mapping.external)][mapping.proto as usize]
                .set(mapping.external_port, mapping.next_on_port),
        }
        self.mappings.remove(id);
        before.is_none() && mapping.next_on_port == NONE
    }

    /// Makes a session that ends at the tick `ends`. A permission is never due.
    pub(super) fn add_session(&mut self, mapping: u32, remote: Endpoint<A>, flags: Flags, ends: u32) -> u32 {
        let owner = self.mappings.get_mut(mapping);
        owner.sessions += u32::from(!flags.contains(Flags::PERMISSION));
        let Mapping { external, external_port, proto, .. } = *owner;
        let inside = owner.inside();
        let id = self.sessions.insert(Session {
            remote: remote.address,
            remote_port: remote.port,
            inside: inside.address,
            inside_port: inside.port,
            external,
            external_port,
            proto,
            mapping,
            link: Link::UNLINKED,
            ends,
            tcp: tcp::State::default(),
            flags,
        });
        if !flags.contains(Flags::PERMISSION) {
            self.wheel.put(&mut self.sessions, id);
        }
        self.by_ends.insert(self.hash(proto, inside, remote), id);
        id
    }

    /// Ends a session. Its mapping may have none left then.
    pub(super) fn remove_session(&mut self, id: u32) {
        let session = *self.sessions.get(id);
        self.by_ends.remove(self.hash(session.proto, session.inside(), session.remote()), id);
        if !session.flags.contains(Flags::PERMISSION) {
            self.mappings.get_mut(session.mapping).sessions -= 1;
            self.wheel.take(&mut self.sessions, id);
        }
        self.sessions.remove(id);
    }

    /// Lets a session end at another tick. Only if that is earlier than before the wheel must know at once.
    #[inline]
    pub(super) fn set_end(&mut self, id: u32, ends: u32) {
        let session = self.sessions.get_mut(id);
        let earlier = ends < session.ends;
        if earlier {
            self.wheel.take(&mut self.sessions, id);
        }
        self.sessions.get_mut(id).ends = ends;
        if earlier {
            self.wheel.put(&mut self.sessions, id);
        }
    }

    /// A session that ends at `tick` or before; it is still there, but no longer awaited.
    pub(super) fn due(&mut self, tick: u32) -> Option<u32> {
        self.wheel.due(&mut self.sessions, tick)
    }

    /// The earliest tick at which a session may end.
    pub(super) fn next_due(&self) -> Option<u32> {
        self.wheel.next()
    }

    /// Every session and its mapping, in the order of inside address and ports.
    pub(super) fn list(&self) -> Vec<(Mapping<A>, Session<A>)> {
        let mut all: Vec<_> = self.by_ends.ids().map(|id| *self.sessions.get(id)).collect();
        let key = |session: &Session<A>| {
            let mapping = self.mappings.get(session.mapping);
            (mapping.proto, mapping.inside(), mapping.external, mapping.external_port, session.remote())
        };
        all.sort_by_key(key);
        all.into_iter().map(|session| (*self.mappings.get(session.mapping), session)).collect()
    }

    /// Bytes that are held.
    pub(super) fn memory(&self) -> usize {
        let ports: usize = self.by_port.iter().flatten().map(PortTable::memory).sum();
        let indices = self.by_inside.memory() + self.by_ends.memory();
        self.mappings.memory() + self.sessions.memory() + indices + ports
    }

    #[inline]
    fn hash(&self, proto: Proto, inside: Endpoint<A>, other: Endpoint<A>) -> u64 {
        let [a, b, c, d] = self.secret;
        let number = |address: A| {
            let number = address.to_number();
            if A::IS_V4 { number as u64 } else { fold(number as u64 ^ c, (number >> 64) as u64 ^ d) }
        };
        let addresses = number(inside.address).rotate_left(32) ^ number(other.address);
        let ports = u64::from(inside.port) << 32 | u64::from(other.port) << 16 | proto as u64;
        fold(addresses ^ a, ports ^ b)
    }
}

/// Ports of a page.
const PAGE: usize = 256;

/// The newest mapping of each port of an external address and protocol, in pages that are there if a port of theirs is used.
#[derive(Clone, Debug, Default)]
struct PortTable(Vec<Option<Box<[u32; PAGE]>>>);

impl PortTable {
    #[inline]
    fn get(&self, port: u16) -> u32 {
        let page = self.0.get(usize::from(port) / PAGE).and_then(Option::as_ref);
        page.map_or(NONE, |page| page[usize::from(port) % PAGE])
    }

    fn set(&mut self, port: u16, id: u32) {
        if self.0.is_empty() {
            self.0.resize(65_536 / PAGE, None);
        }
        self.0[usize::from(port) / PAGE].get_or_insert_with(|| Box::new([NONE; PAGE]))[usize::from(port) % PAGE] = id;
    }

    fn memory(&self) -> usize {
        let pages = self.0.iter().flatten().count();
        pages * size_of::<[u32; PAGE]>() + self.0.capacity() * size_of::<usize>()
    }
}
