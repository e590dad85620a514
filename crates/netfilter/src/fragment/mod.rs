//! Fragments: put together before they are tracked, and cut again on their way out.
//!
//! The model is Linux's with conntrack in use (`nf_defrag_ipv4`, `nf_defrag_ipv6`, priority -400). Conntrack sees whole
//! packets only: a fragment waits in a queue of its packet until all are here, in whatever order. The whole packet has the
//! first fragment's header, and remembers as [`Whole`] in what pieces it came, so that it leaves in the same pieces, or in
//! others that are no longer than the longest of them ([`pieces`]).
//!
//! [`Reassembly`] holds the queues. A queue goes when its packet is whole, when a fragment contradicts another one, or when
//! its time is over. What is kept is bounded in bytes; beyond the bound new fragments are refused and old ones stay
//! (`inet_frag_find`).
//!
//! Deliberately not here: packets that nobody tracks, which need not be put together; and the ICMP error that tells a sender
//! of missing fragments, of which only the ingredients are here ([`Expired`]).

mod cut;
mod family;
mod queue;
mod refused;
mod v4;
mod v6;

use core::time::Duration;
use std::collections::{BTreeMap, HashMap};

use pinhole_sansio::Instant;

pub use cut::pieces;
pub use family::{Fragmented, Part};
pub use refused::Refused;

use crate::headers::{Family, Headers};
use crate::interface::InterfaceId;
use crate::watch::{Topic, Watch};
use queue::Queue;

/// Bytes that are kept, at most, but for one fragment (`ipfrag_high_thresh`, `nf_conntrack_frag6_high_thresh`).
pub const MOST_BYTES: usize = 4 << 20;
/// What a fragment counts beyond its bytes: what the kernel allocates with each (`SKB_TRUESIZE` on 64 bits).
pub const FRAGMENT_COST: usize = 576;
/// What a queue counts (`struct ipq`, `struct frag_queue`, about).
pub const QUEUE_COST: usize = 200;
/// Fragments that one source may send for others of its packets before a packet of its begins anew: its identifications
/// have gone round meanwhile (`ipfrag_max_dist`). IPv4 only.
const MOST_DISTANCE: u32 = 64;

/// Where a fragment is met: those of a packet that comes in are not mixed with those that this host sends
/// (`enum ip_defrag_users`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// At PRE_ROUTING, having come by an interface.
    Arriving(InterfaceId),
    /// At OUTPUT.
    Leaving,
}

/// What becomes of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on as it is: it is none, or one of IPv6 that its destination is to complain about, because its length is no
    /// multiple of 8, or because it is the first one and ends before the transport header does.
    AsIs,
    /// It is kept until the others are here.
    Kept,
    /// It was the last that was missing: the packet is whole now.
    Whole(Whole),
    /// It is dropped.
    Refused(Refused),
}

/// In what pieces a packet came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// The longest fragment, in bytes with its headers (`frag_max_size`).
    pub longest: usize,
    /// Whether the longest fragment was not to be fragmented: then no piece is that is made anew (IPv4; `IPSKB_FRAG_PMTU`).
    pub dont_fragment: bool,
    /// How the packet divides into its pieces, in bytes: the headers with the first fragment's data, then each one's data.
    pub lengths: Vec<usize>,
}

impl Whole {
    /// The first piece takes from the next ones what it lacks to be `length` bytes long (`pskb_may_pull`).
    pub fn gather(&mut self, length: usize) {
        while let [first, next, ..] = &mut self.lengths[..] {
            let taken = length.saturating_sub(*first).min(*next);
            *first += taken;
            *next -= taken;
            if *next > 0 {
                return;
            }
            self.lengths.remove(1);
        }
    }
}

/// A packet whose time was over before it was whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Where its fragments were met; of those that came by several interfaces, the last.
    pub place: Place,
    /// Its first fragment, if that one was here.
    pub first: Option<Box<[u8]>>,
}

/// The fragments of one family that wait for others.
#[derive(Debug)]
pub struct Reassembly<A> {
    queues: HashMap<Key<A>, Queue>,
    /// When each queue's time is over, the first one first; the number tells queues apart that were made at the same time.
    due: BTreeMap<(Instant, u64), Key<A>>,
    /// Fragments that each source with a queue has sent, and how many queues it has.
    sources: HashMap<A, Source>,
    made: u64,
    bytes: usize,
}

/// What fragments of one packet have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key<A> {
    src: A,
    dst: A,
    id: u32,
    /// Zero for IPv6, whose identifications are one sequence for all protocols.
    protocol: u8,
    leaving: bool,
    /// Where it came in, if its destination means something else on every link.
    link: Option<InterfaceId>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Source {
    fragments: u32,
    queues: usize,
}

impl<A: Family> Default for Reassembly<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Family> Reassembly<A> {
    /// One that waits for nothing.
    pub fn new() -> Self {
        Self { queues: HashMap::new(), due: BTreeMap::new(), sources: HashMap::new(), made: 0, bytes: 0 }
    }

    /// Takes a packet that may be a fragment. If it was the last that was missing, `packet` is the whole one afterwards;
    /// else it is as it was. `headers` are those of the packet.
    pub fn take<W: Watch>(
        &mut self,
        now: Instant,
        place: Place,
        packet: &mut Vec<u8>,
        headers: &Headers<A>,
        watch: &mut W,
    ) -> Outcome {
        let Some(part) = A::part(packet, headers) else { return Outcome::AsIs };
        let outcome = self.take_part(now, place, packet, headers, &part);
        watch.note(Topic::Fragment, || match &outcome {
            Outcome::AsIs => format!("{part}: it goes on as it is"),
            Outcome::Kept => format!("{part}: it waits for the others"),
            Outcome::Whole(whole) => format!("{part}: the packet is whole, {} pieces", whole.lengths.len()),
            Outcome::Refused(refused) => format!("{part}: {refused}"),
        });
        outcome
    }

    fn take_part(
        &mut self,
        now: Instant,
        place: Place,
        packet: &mut Vec<u8>,
        headers: &Headers<A>,
        part: &Part,
    ) -> Outcome {
        if part.is_cut_short {
            return Outcome::AsIs;
        }
        if self.bytes > MOST_BYTES {
            return Outcome::Refused(Refused::Full);
        }
        let key = Key::of(place, headers, part);
        self.open(now, key);
        self.count(now, key);
        let Some(queue) = self.queues.get_mut(&key) else { return Outcome::Refused(Refused::Full) };
        let before = queue.cost();
        let added = queue.add::<A>(place, &packet[..headers.end], part);
        self.bytes = self.bytes + queue.cost() - before;
        let is_whole = queue.is_whole();
        match added {
            Ok(()) if is_whole => {}
            Ok(()) => return Outcome::Kept,
            Err(misfit) => {
                if misfit.ends_queue::<A>() {
                    self.close(&key);
                }
                return misfit.outcome();
            }
        }
        let Some(queue) = self.close(&key) else { return Outcome::Kept };
        match queue.join::<A>(packet) {
            Ok(whole) => Outcome::Whole(whole),
            Err(refused) => Outcome::Refused(refused),
        }
    }

    /// The next packet whose time is over.
    pub fn expire(&mut self, now: Instant) -> Option<Expired> {
        let (&(at, _), &key) = self.due.first_key_value()?;
        if at > now {
            return None;
        }
        self.close(&key).map(Queue::expired)
    }

    /// When the first queue's time is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Forgets all fragments.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// What is kept, in bytes as they are counted against [`MOST_BYTES`].
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many packets wait for fragments.
    pub fn len(&self) -> usize {
        self.queues.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Makes the queue of `key`, unless it is there.
    fn open(&mut self, now: Instant, key: Key<A>) {
        if self.queues.contains_key(&key) {
            return;
        }
        self.made += 1;
        let due = (now + A::LIFE, self.made);
        self.due.insert(due, key);
        self.sources.entry(key.src).or_default().queues += 1;
        let queue = Queue::new(due);
        self.bytes += queue.cost();
        self.queues.insert(key, queue);
    }

    /// Counts a fragment of `key`'s source, and begins the packet anew if too many others came between
    /// (`ip_frag_too_far`, `ip_frag_reinit`).
    fn count(&mut self, now: Instant, key: Key<A>) {
        if !A::IS_V4 {
            return;
        }
        let (Some(source), Some(queue)) = (self.sources.get_mut(&key.src), self.queues.get_mut(&key)) else { return };
        source.fragments = source.fragments.wrapping_add(1);
        if !queue.is_followed_by(source.fragments, MOST_DISTANCE) {
            let (before, due) = (queue.cost(), (now + A::LIFE, queue.due().1));
            self.due.remove(&queue.due());
            self.due.insert(due, key);
            queue.restart(due);
            self.bytes = self.bytes + queue.cost() - before;
        }
    }

    fn close(&mut self, key: &Key<A>) -> Option<Queue> {
        let queue = self.queues.remove(key)?;
        self.due.remove(&queue.due());
        self.bytes -= queue.cost();
        if let Some(source) = self.sources.get_mut(&key.src) {
            source.queues -= 1;
            if source.queues == 0 {
                self.sources.remove(&key.src);
            }
        }
        Some(queue)
    }
}

impl<A: Family> Key<A> {
    fn of(place: Place, headers: &Headers<A>, part: &Part) -> Self {
        let (leaving, input) = match place {
            Place::Arriving(input) => (false, Some(input)),
            Place::Leaving => (true, None),
        };
        let link = input.filter(|_| headers.dst.is_per_link());
        Self { src: headers.src, dst: headers.dst, id: part.id, protocol: part.protocol, leaving, link }
    }
}

/// How long IPv4 fragments wait for others (`ipfrag_time`).
pub const LIFE_V4: Duration = Duration::from_secs(30);
/// How long IPv6 fragments wait for others (`nf_conntrack_frag6_timeout`).
pub const LIFE_V6: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
