//! External addresses with their ports, and subscribers with theirs.

use pinhole_sansio::{Instant, Rng};

use super::config::{Allocation, Behaviour, Pooling};
use super::index::{Index, fold};
use super::packet::Proto;
use super::reason::Reason;
use super::slab::{NONE, Slab};
use crate::ports::{Allocator, Block, Blocks, Order, Parity, Range, Wish};
use crate::tuple::Address;

/// Number of no external address.
const NOBODY: u16 = u16::MAX;

/// Whose packets they are, with what it has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscriber<A> {
    address: A,
    /// External ports, of each protocol.
    ports: [u32; Proto::COUNT],
    pub(super) sessions: u32,
    mappings: u32,
    /// The second of the last mapping, and how many were made in it.
    second: u32,
    made: u32,
    /// Its newest run of ports.
    block: u32,
    /// Its external address.
    external: u16,
}

/// A run of ports that somebody has.
#[derive(Clone, Copy, Debug)]
struct Lease {
    external: u16,
    block: Block,
    /// Ports of it in use, of all protocols.
    used: u32,
    /// The subscriber's next one.
    next: u32,
}

#[derive(Clone, Debug)]
struct External<A> {
    address: A,
    ports: [Option<Box<Allocator>>; Proto::COUNT],
    blocks: Blocks,
}

/// The external addresses and the subscribers.
#[derive(Clone, Debug)]
pub(super) struct Pool<A> {
    /// In ascending order, each once.
    externals: Vec<External<A>>,
    subscribers: Slab<Subscriber<A>>,
    by_address: Index,
    leases: Slab<Lease>,
    /// Whose turn it is.
    turn: u16,
    rng: Rng,
    secret: [u64; 2],
}

/// What a new mapping asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) proto: Proto,
    /// The inside port.
    pub(super) port: u16,
    /// An external address and port that would be best of all.
    pub(super) beside: Option<(u16, u16)>,
    /// Any port but the inside one, which is free but will not do.
    pub(super) another: bool,
}

/// A mapping's hold on an external port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owned {
    pub(super) subscriber: u32,
    pub(super) proto: Proto,
    pub(super) external: u16,
    pub(super) port: u16,
}

impl<A: Address> Pool<A> {
    /// A pool of `addresses`; no more than 65,535 of them count.
    pub(super) fn new(behaviour: &Behaviour, addresses: impl IntoIterator<Item = A>, mut rng: Rng) -> Self {
        let mut addresses: Vec<_> = addresses.into_iter().collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(usize::from(NOBODY));
        let size = match behaviour.allocation {
            Allocation::Blocks { size, .. } | Allocation::Deterministic { size, .. } => size,
            Allocation::Preserving
            | Allocation::PreservingOrRandom
            | Allocation::Random
            | Allocation::Sequential { .. } => u16::MAX,
        };
        let external = |address| External {
            address,
            ports: [None, None, None],
            blocks: Blocks::new(behaviour.ports, size, behaviour.hold_down.time),
        };
        Self {
            externals: addresses.into_iter().map(external).collect(),
            subscribers: Slab::new(),
            by_address: Index::new(),
            leases: Slab::new(),
            turn: 0,
            secret: [rng.next_u64(), rng.next_u64()],
            rng,
        }
    }

    /// How many external addresses there are.
    pub(super) fn len(&self) -> usize {
        self.externals.len()
    }

    /// The external address with a number that this pool gave.
    pub(super) fn address(&self, external: u16) -> A {
        self.externals[usize::from(external)].address
    }

    /// The number of an external address.
    #[inline]
    pub(super) fn external(&self, address: A) -> Option<u16> {
        let found = self.externals.binary_search_by_key(&address, |external| external.address);
        found.ok().map(|at| at as u16)
    }

    /// How many ports of an address and protocol are free.
    pub(super) fn free(&self, external: u16, proto: Proto) -> u32 {
        let ports = self.externals[usize::from(external)].ports[proto as usize].as_ref();
        ports.map_or(65_536, |ports| ports.free())
    }

    /// How many subscribers have something.
    pub(super) fn subscribers(&self) -> u32 {
        self.subscribers.len()
    }

    pub(super) fn subscriber(&self, id: u32) -> &Subscriber<A> {
        self.subscribers.get(id)
    }

    pub(super) fn subscriber_mut(&mut self, id: u32) -> &mut Subscriber<A> {
        self.subscribers.get_mut(id)
    }

    /// The subscriber that an inside address belongs to, known from now on. One that has no mapping is forgotten by
    /// [`forget_idle`](Self::forget_idle).
    pub(super) fn subscriber_of(&mut self, behaviour: &Behaviour, inside: A) -> u32 {
        let spare = A::BITS.saturating_sub(behaviour.limits.subscriber_bits.into());
        let mask = if spare >= 128 { 0 } else { u128::MAX << spare };
        let address = A::of_number(inside.to_number() & mask);
        let hash = self.hash(address);
        let known = self.by_address.find(hash, |id| self.subscribers.get(id).address == address);
        known.unwrap_or_else(|| {
            let id = self.subscribers.insert(Subscriber {
                address,
                ports: [0; Proto::COUNT],
                sessions: 0,
                mappings: 0,
                second: 0,
                made: 0,
                block: NONE,
                external: NOBODY,
            });
            self.by_address.insert(hash, id);
            id
        })
    }

    /// Forgets a subscriber that has nothing.
    pub(super) fn forget_idle(&mut self, id: u32) {
        let subscriber = *self.subscribers.get(id);
        if subscriber.mappings == 0 && subscriber.sessions == 0 {
            self.by_address.remove(self.hash(subscriber.address), id);
            self.subscribers.remove(id);
        }
    }

    /// Counts a mapping that the subscriber is about to get, or says why it may not have it.
    pub(super) fn admit(&mut self, behaviour: &Behaviour, id: u32, proto: Proto, second: u32) -> Result<(), Reason> {
        let limits = &behaviour.limits;
        let subscriber = self.subscribers.get_mut(id);
        if subscriber.ports[proto as usize] >= limits.ports {
            return Err(Reason::PortQuota);
        }
        if subscriber.second != second {
            (subscriber.second, subscriber.made) = (second, 0);
        }
        if subscriber.made >= limits.rate {
            return Err(Reason::RateLimit);
        }
        subscriber.made = subscriber.made.saturating_add(1);
        Ok(())
    }

    /// A free external address and port for a mapping of the subscriber.
    pub(super) fn allocate(
        &mut self,
        now: Instant,
        behaviour: &Behaviour,
        id: u32,
        request: Request,
    ) -> Result<(u16, u16), Reason> {
        let given = match behaviour.allocation {
            Allocation::Blocks { most, .. } => self.block_port(now, behaviour, id, request, most),
            Allocation::Deterministic { bits, .. } => self.own_block_port(now, behaviour, id, request, bits),
            Allocation::Preserving | Allocation::PreservingOrRandom if request.another => {
                self.pool_port(now, behaviour, id, request, Order::Random)
            }
            Allocation::Preserving => self.pool_port(now, behaviour, id, request, Order::Nearest),
            Allocation::PreservingOrRandom => self.pool_port(now, behaviour, id, request, Order::SameOrRandom),
            Allocation::Random => self.pool_port(now, behaviour, id, request, Order::Random),
            Allocation::Sequential { step } => self.pool_port(now, behaviour, id, request, Order::Sequential { step }),
        }?;
        self.own(id, given.0, request.proto);
        Ok(given)
    }

    /// Takes exactly this external port for a mapping of the subscriber, if it is free; never where ports come in runs.
    pub(super) fn take(&mut self, now: Instant, behaviour: &Behaviour, id: u32, proto: Proto, at: (u16, u16)) -> bool {
        let any = match behaviour.allocation {
            Allocation::Blocks { .. } | Allocation::Deterministic { .. } => false,
            Allocation::Preserving
            | Allocation::PreservingOrRandom
            | Allocation::Random
            | Allocation::Sequential { .. } => true,
        };
        let taken = any && at.1 != 0 && self.ports(behaviour, at.0, proto).take(now, at.1);
        if taken {
            self.own(id, at.0, proto);
        }
        taken
    }

    /// The subscriber has one more mapping, whose port is another mapping's too.
    pub(super) fn share(&mut self, id: u32, proto: Proto, external: u16) {
        self.own(id, external, proto);
    }

    /// The subscriber's mapping is gone; if it was the last on its port, that is free after a rest.
    pub(super) fn release(&mut self, now: Instant, behaviour: &Behaviour, owned: Owned, last: bool, reuse: bool) {
        let Owned { subscriber: id, proto, external, port } = owned;
        let subscriber = self.subscribers.get_mut(id);
        subscriber.mappings -= 1;
        subscriber.ports[proto as usize] -= 1;
        if last {
            self.ports(behaviour, external, proto).release(now, port, reuse);
            if let Allocation::Blocks { .. } = behaviour.allocation {
                self.leave_block(now, id, external, port);
            }
        }
        self.forget_idle(id);
    }

    /// An external address whose turn it is, or that is the subscriber's.
    pub(super) fn preferred(&self, id: u32) -> Option<u16> {
        let subscriber = self.subscribers.get(id);
        let own = (subscriber.external != NOBODY).then_some(subscriber.external);
        own.or_else(|| (!self.externals.is_empty()).then(|| self.turn % self.externals.len() as u16))
    }

    /// Bytes that are held.
    pub(super) fn memory(&self) -> usize {
        let allocators: usize = self.externals.iter().flat_map(|external| external.ports.iter().flatten()).count();
        let blocks = self.externals.len() * (8 << 10);
        self.subscribers.memory() + self.by_address.memory() + self.leases.memory() + allocators * (9 << 10) + blocks
    }

    fn own(&mut self, id: u32, external: u16, proto: Proto) {
        let subscriber = self.subscribers.get_mut(id);
        subscriber.ports[proto as usize] += 1;
        subscriber.mappings += 1;
        if subscriber.external == NOBODY {
            subscriber.external = external;
        }
    }

    /// From the address that pooling chooses, and if that has none, from the others it allows.
    fn pool_port(
        &mut self,
        now: Instant,
        behaviour: &Behaviour,
        id: u32,
        request: Request,
        order: Order,
    ) -> Result<(u16, u16), Reason> {
        let count = self.externals.len() as u16;
        if count == 0 {
            return Err(Reason::NoAddress);
        }
        if let Some((external, port)) = request.beside
            && self.ports(behaviour, external, request.proto).take(now, port)
        {
            return Ok((external, port));
        }
        let own = self.subscribers.get(id).external;
        let (start, tries) = match behaviour.pooling {
            Pooling::Paired if own != NOBODY => (own, 1),
            Pooling::SoftlyPaired if own != NOBODY => (own, count),
            Pooling::Paired | Pooling::SoftlyPaired | Pooling::Arbitrary => {
                self.turn = (self.turn + 1) % count;
                (self.turn, count)
            }
        };
        for offset in 0..tries {
            let external = ((u32::from(start) + u32::from(offset)) % u32::from(count)) as u16;
            if let Some(port) = self.any_port(now, behaviour, external, request, order) {
                return Ok((external, port));
            }
        }
        Err(Reason::NoPort)
    }

    /// A port of one address: of its class and parity if there is one, else of one of them, else any.
    fn any_port(
        &mut self,
        now: Instant,
        behaviour: &Behaviour,
        external: u16,
        Request { proto, port, .. }: Request,
        order: Order,
    ) -> Option<u16> {
        let parity = if behaviour.keep_parity && proto != Proto::Icmp { Parity::of(port) } else { Parity::Any };
        let (first, second) = match proto {
            Proto::Icmp => (NOT_ZERO, None),
            Proto::Udp | Proto::Tcp if behaviour.keep_class && port < 1_024 => (LOW, Some(behaviour.ports)),
            Proto::Udp | Proto::Tcp => (behaviour.ports, None),
        };
        let rng = &mut self.rng;
        let ports = self.externals[usize::from(external)].ports[proto as usize]
            .get_or_insert_with(|| Box::new(Allocator::new(behaviour.hold_down)));
        let mut allocate = |range, parity| ports.allocate(now, Wish { port, range, parity }, order, rng);
        let mut of_range = |range: Range| {
            let range = Range::new(range.min.max(NOT_ZERO.min), range.max.max(NOT_ZERO.min));
            allocate(range, parity).or_else(|| (parity != Parity::Any).then(|| allocate(range, Parity::Any)).flatten())
        };
        of_range(first).or_else(|| of_range(second?))
    }

    /// From the subscriber's runs, or from another one that it gets.
    fn block_port(
        &mut self,
        now: Instant,
        behaviour: &Behaviour,
        id: u32,
        Request { proto, port, .. }: Request,
        most: u16,
    ) -> Result<(u16, u16), Reason> {
        let (mut at, mut count) = (self.subscribers.get(id).block, 0);
        while at != NONE {
            let Lease { external, block, next, .. } = *self.leases.get(at);
            if let Some(port) = self.port_of_block(now, behaviour, external, proto, port, block.range) {
                self.leases.get_mut(at).used += 1;
                return Ok((external, port));
            }
            (at, count) = (next, count + 1);
        }
        if count >= most {
            return Err(Reason::PortQuota);
        }
        let (external, block) = self.new_block(now, behaviour, id)?;
        let next = self.subscribers.get(id).block;
        let lease = self.leases.insert(Lease { external, block, used: 1, next });
        self.subscribers.get_mut(id).block = lease;
        let port = self.port_of_block(now, behaviour, external, proto, port, block.range);
        match port {
            Some(port) => Ok((external, port)),
            None => {
                self.leave_block(now, id, external, block.range.min);
                Err(Reason::NoPort)
            }
        }
    }

    fn new_block(&mut self, now: Instant, behaviour: &Behaviour, id: u32) -> Result<(u16, Block), Reason> {
        let count = self.externals.len() as u16;
        let own = self.subscribers.get(id).external;
        let (start, tries) = match behaviour.pooling {
            Pooling::Paired if own != NOBODY => (own, 1),
            Pooling::SoftlyPaired if own != NOBODY => (own, count),
            Pooling::Paired | Pooling::SoftlyPaired | Pooling::Arbitrary => {
                self.turn = (self.turn + 1) % count.max(1);
                (self.turn, count)
            }
        };
        let rng = &mut self.rng;
        let found = (0..tries).find_map(|offset| {
            let external = ((u32::from(start) + u32::from(offset)) % u32::from(count)) as u16;
            let block = self.externals[usize::from(external)].blocks.allocate(now, rng)?;
            Some((external, block))
        });
        found.ok_or(if count == 0 { Reason::NoAddress } else { Reason::NoPort })
    }

    /// One port less of a run is in use; one of which none is goes back.
    fn leave_block(&mut self, now: Instant, id: u32, external: u16, port: u16) {
        let (mut before, mut at) = (NONE, self.subscribers.get(id).block);
        while at != NONE {
            let lease = *self.leases.get(at);
            if lease.external == external && lease.block.range.contains(port) {
                self.leases.get_mut(at).used -= 1;
                if lease.used == 1 {
                    match before {
                        NONE => self.subscribers.get_mut(id).block = lease.next,
                        before => self.leases.get_mut(before).next = lease.next,
                    }
                    self.leases.remove(at);
                    self.externals[usize::from(external)].blocks.release(now, lease.block.number);
                }
                return;
            }
            (before, at) = (at, lease.next);
        }
    }

    /// From the run that the lowest bits of the subscriber's address determine: address by address, run by run.
    fn own_block_port(
        &mut self,
        now: Instant,
        behaviour: &Behaviour,
        id: u32,
        Request { proto, port, .. }: Request,
        bits: u8,
    ) -> Result<(u16, u16), Reason> {
        let mask = (1u64 << bits.min(32)) - 1;
        let number = self.subscribers.get(id).address.to_number() as u64 & mask;
        let per_address = self.externals.first().map_or(0, |external| u64::from(external.blocks.count()));
        let external = number.checked_div(per_address).filter(|&external| external < self.externals.len() as u64);
        let external = external.ok_or(Reason::NoAddress)? as u16;
        let blocks = &self.externals[usize::from(external)].blocks;
        let block = blocks.block((number % per_address) as u32).ok_or(Reason::NoAddress)?;
        let port = self.port_of_block(now, behaviour, external, proto, port, block.range);
        port.map(|port| (external, port)).ok_or(Reason::NoPort)
    }

    fn port_of_block(
        &mut self,
        now: Instant,
        behaviour: &Behaviour,
        external: u16,
        proto: Proto,
        port: u16,
        range: Range,
    ) -> Option<u16> {
        let rng = &mut self.rng;
        let ports = self.externals[usize::from(external)].ports[proto as usize]
            .get_or_insert_with(|| Box::new(Allocator::new(behaviour.hold_down)));
        let parity = if behaviour.keep_parity { Parity::of(port) } else { Parity::Any };
        let mut allocate = |parity| ports.allocate(now, Wish { port, range, parity }, Order::Random, rng);
        allocate(parity).or_else(|| (parity != Parity::Any).then(|| allocate(Parity::Any)).flatten())
    }

    fn ports(&mut self, behaviour: &Behaviour, external: u16, proto: Proto) -> &mut Allocator {
        self.externals[usize::from(external)].ports[proto as usize]
            .get_or_insert_with(|| Box::new(Allocator::new(behaviour.hold_down)))
    }

    fn hash(&self, address: A) -> u64 {
        let number = address.to_number();
        fold(number as u64 ^ self.secret[0], (number >> 64) as u64 ^ self.secret[1])
    }
}

/// Zero is no port; and as an identifier it would not tell a query from an answer.
const NOT_ZERO: Range = Range::new(1, 65_535);
/// Ports that are well known.
const LOW: Range = Range::new(1, 1_023);
