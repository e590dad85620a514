//! Fragments: only the first has ports, and it need not come first (RFC 4787 REQ-14).
//!
//! Nothing is reassembled. What became of a first fragment is remembered, and later ones follow it; those that come before
//! it wait, a few of them and not for long, and room for them is taken from nothing else (REQ-14 a).

use std::collections::{BTreeMap, VecDeque};

use pinhole_wire::ipv4;

use super::machine::Side;

/// Packets whose fragments are followed at the same time.
const MOST_PACKETS: usize = 1_024;
/// Fragments that wait for their first one.
const MOST_EARLY: usize = 256;
/// Fragments of one packet that wait: a packet of 65,535 bytes has 45 over Ethernet.
const MOST_EARLY_OF_ONE: usize = 64;
/// How long, in ticks: 15 s, the lower limit of RFC 791 for reassembly.
const LIFE: u32 = 150;

/// What fragments of one packet have in common: side, source, destination, identification, protocol number.
pub(super) type Key<A> = (Side, A, A, u32, u8);

/// Where the first fragment went, and with which addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way<A> {
    pub(super) to: Side,
    pub(super) src: A,
    pub(super) dst: A,
}

#[derive(Clone, Debug)]
enum Entry<A> {
    Known(Way<A>),
    Early(Vec<Vec<u8>>),
}

#[derive(Clone, Debug)]
pub(super) struct Fragments<A> {
    entries: BTreeMap<Key<A>, Entry<A>>,
    order: VecDeque<(u32, Key<A>)>,
    early: usize,
}

impl<A: Copy + Ord> Fragments<A> {
    pub(super) const fn new() -> Self {
        Self { entries: BTreeMap::new(), order: VecDeque::new(), early: 0 }
    }

    /// The way of a later fragment, if that of its first is known.
    pub(super) fn way(&self, key: &Key<A>) -> Option<Way<A>> {
        match self.entries.get(key)? {
            Entry::Known(way) => Some(*way),
            Entry::Early(_) => None,
        }
    }

    /// Keeps a later fragment until its first one comes; says whether there was room.
    pub(super) fn keep(&mut self, key: Key<A>, packet: &[u8], tick: u32) -> bool {
        if self.early >= MOST_EARLY {
            return false;
        }
        if !self.entries.contains_key(&key) {
            self.make_room(key, tick);
        }
        let entry = self.entries.entry(key).or_insert_with(|| Entry::Early(Vec::new()));
        let Entry::Early(waiting) = entry else { return false };
        if waiting.len() >= MOST_EARLY_OF_ONE {
            return false;
        }
        waiting.push(packet.to_vec());
        self.early += 1;
        true
    }

    /// The first fragment went this way; returns those that waited for it.
    pub(super) fn follow(&mut self, key: Key<A>, way: Way<A>, tick: u32) -> Vec<Vec<u8>> {
        if !self.entries.contains_key(&key) {
            self.make_room(key, tick);
        }
        match self.entries.insert(key, Entry::Known(way)) {
            Some(Entry::Early(waiting)) => {
                self.early -= waiting.len();
                waiting
            }
            Some(Entry::Known(_)) | None => Vec::new(),
        }
    }

    /// Forgets what is too old.
    pub(super) fn expire(&mut self, tick: u32) {
        while let Some((_, key)) = self.order.pop_front_if(|(at, _)| *at <= tick) {
            self.forget(&key);
        }
    }

    /// When the oldest is to be forgotten.
    pub(super) fn next_due(&self) -> Option<u32> {
        self.order.front().map(|(at, _)| *at)
    }

    /// Makes room for one more packet, at the cost of the oldest.
    fn make_room(&mut self, key: Key<A>, tick: u32) {
        if self.order.len() >= MOST_PACKETS
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.forget(&oldest);
        }
        self.order.push_back((tick.saturating_add(LIFE), key));
    }

    fn forget(&mut self, key: &Key<A>) {
        if let Some(Entry::Early(waiting)) = self.entries.remove(key) {
            self.early -= waiting.len();
        }
    }
}

/// An IPv4 packet in fragments of at most `mtu` bytes, in order (RFC 791 §3.2). Those of a fragment are fragments of what it
/// is one of. Options go with all of them. None if `mtu` has no room for anything.
pub(super) fn split(packet: &[u8], mtu: usize) -> Option<Vec<Vec<u8>>> {
    let whole = ipv4::Packet::new_checked(packet).ok()?;
    let room = mtu.checked_sub(whole.header_len()).map(|room| room / 8 * 8).filter(|&room| room > 0)?;
    let (start, more) = (whole.fragment_offset(), whole.more_fragments());
    let pieces = whole.payload().chunks(room);
    let last = pieces.len() - 1;
    let piece = |(n, piece): (usize, &[u8])| {
        let mut bytes = [whole.header(), piece].concat();
        let length = (bytes.len() as u16).to_be_bytes();
        bytes[2..4].copy_from_slice(&length);
        let mut fragment = ipv4::Packet::new_checked(bytes).ok()?;
        fragment.set_fragment(start + n * room, more || n < last);
        fragment.fill_checksum();
        Some(fragment.into_inner())
    };
    pieces.enumerate().map(piece).collect()
}
