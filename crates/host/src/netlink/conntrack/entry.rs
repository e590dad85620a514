//! An entry: all that the kernel says of a tracked flow (`enum ctattr_type`).

use std::net::SocketAddr;

use super::{FIXED, State, Tuple, be16, be32, be64, text};
use crate::netlink::{Reply, find};

pub(super) const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
pub(super) const STATUS: u16 = 3;
const PROTOCOL_STATE: u16 = 4;
const HELPER: u16 = 5;
const TIMEOUT: u16 = 7;
pub(super) const MARK: u16 = 8;
const COUNTERS_ORIGINAL: u16 = 9;
const COUNTERS_REPLY: u16 = 10;
const USE: u16 = 11;
const ID: u16 = 12;
const TUPLE_MASTER: u16 = 14;
const SEQ_ADJ_ORIGINAL: u16 = 15;
const SEQ_ADJ_REPLY: u16 = 16;
const SECMARK: u16 = 17;
pub(super) const ZONE: u16 = 18;
const SECURITY_CONTEXT: u16 = 19;
const TIMESTAMPS: u16 = 20;
pub(super) const MARK_MASK: u16 = 21;
const LABELS: u16 = 22;
const SYNPROXY: u16 = 24;
pub(super) const STATUS_MASK: u16 = 26;
const TIMESTAMP_EVENT: u16 = 27;

const COUNTER_PACKETS: u16 = 1;
const COUNTER_BYTES: u16 = 2;
const HELPER_NAME: u16 = 1;
const SECURITY_CONTEXT_NAME: u16 = 1;
const TIMESTAMP_START: u16 = 1;
const TIMESTAMP_STOP: u16 = 2;
const SEQ_ADJ_FIELDS: [u16; 3] = [1, 2, 3];
const SYNPROXY_FIELDS: [u16; 3] = [1, 2, 3];

/// `enum ip_conntrack_status` (include/uapi/linux/netfilter/nf_conntrack_common.h).
pub mod status {
    /// A helper had expected it.
    pub const EXPECTED: u32 = 0x1;
    /// A packet has come back.
    pub const SEEN_REPLY: u32 = 0x2;
    /// Not dropped early when the table is full.
    pub const ASSURED: u32 = 0x4;
    /// In the table.
    pub const CONFIRMED: u32 = 0x8;
    /// The source is translated.
    pub const SRC_NAT: u32 = 0x10;
    /// The destination is translated.
    pub const DST_NAT: u32 = 0x20;
    /// TCP sequence numbers are shifted.
    pub const SEQ_ADJUST: u32 = 0x40;
    /// It has been decided whether the source is translated.
    pub const SRC_NAT_DONE: u32 = 0x80;
    /// It has been decided whether the destination is translated.
    pub const DST_NAT_DONE: u32 = 0x100;
    /// On its way out.
    pub const DYING: u32 = 0x200;
    /// Packets do not prolong it.
    pub const FIXED_TIMEOUT: u32 = 0x400;
    /// Only a template for others.
    pub const TEMPLATE: u32 = 0x800;
    /// It lost a race against an equal one.
    pub const NAT_CLASH: u32 = 0x1000;
    /// A rule gave it its helper.
    pub const HELPER: u32 = 0x2000;
    /// In a flow table: most packets pass by.
    pub const OFFLOAD: u32 = 0x4000;
    /// In the network card's flow table.
    pub const HW_OFFLOAD: u32 = 0x8000;

    /// All, with the names that this program and, where it has one, conntrack(8) use.
    pub const NAMES: [(&str, u32); 16] = [
        ("EXPECTED", EXPECTED),
        ("SEEN_REPLY", SEEN_REPLY),
        ("ASSURED", ASSURED),
        ("CONFIRMED", CONFIRMED),
        ("SRC_NAT", SRC_NAT),
        ("DST_NAT", DST_NAT),
        ("SEQ_ADJUST", SEQ_ADJUST),
        ("SRC_NAT_DONE", SRC_NAT_DONE),
        ("DST_NAT_DONE", DST_NAT_DONE),
        ("DYING", DYING),
        ("FIXED_TIMEOUT", FIXED_TIMEOUT),
        ("TEMPLATE", TEMPLATE),
        ("NAT_CLASH", NAT_CLASH),
        ("HELPER", HELPER),
        ("OFFLOAD", OFFLOAD),
        ("HW_OFFLOAD", HW_OFFLOAD),
    ];
}

/// What went through in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes of IP packets.
    pub bytes: u64,
}

/// How TCP sequence numbers of one direction are shifted, because a helper changed the length of what was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeqAdj {
    /// The sequence number of the last change.
    pub position: u32,
    /// The shift before it.
    pub before: i32,
    /// The shift after it.
    pub after: i32,
}

/// What a SYN proxy remembers of a connection that it opened for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynProxy {
    /// The initial sequence number that the client was given.
    pub isn: u32,
    /// The initial timestamp.
    pub its: u32,
    /// The difference between the timestamps of both sides.
    pub timestamp_offset: u32,
}

/// A tracked flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As the first packet came: before address translation.
    pub original: Tuple,
    /// As answers are expected: its destination is the source address after translation.
    pub reply: Tuple,
    /// The original direction of the flow whose helper expected this one.
    pub master: Option<Tuple>,
    /// [`status`] bits.
    pub status: u32,
    /// What the protocol's tracker knows.
    pub state: Option<State>,
    /// Seconds until the entry ends if nothing comes; what was left when it was ended; `None` where the kernel does not say.
    pub timeout_s: Option<u32>,
    /// What the initiator sent, if counted.
    pub sent: Option<Counters>,
    /// What came back, if counted.
    pub received: Option<Counters>,
    /// The connection's mark; `None` where the kernel does not say, as in events about other things.
    pub mark: Option<u32>,
    /// Its zone in both directions, if not the default 0; [`Tuple::zone`] when it is in one for a single direction.
    pub zone: Option<u16>,
    /// The kernel's number of the entry: a keyed hash.
    pub id: u32,
    /// How many hold it, one of them the table.
    pub uses: Option<u32>,
    /// When it began, in nanoseconds since 1970, if times are kept.
    pub began_ns: Option<u64>,
    /// When it ended.
    pub ended_ns: Option<u64>,
    /// When what an event tells of happened, where the kernel says so.
    pub event_ns: Option<u64>,
    /// The helper that reads along.
    pub helper: Option<Box<str>>,
    /// The security module's number (until 2.6.36).
    pub secmark: Option<u32>,
    /// The security module's context.
    pub security_context: Option<Box<str>>,
    /// The labels, bit by bit.
    pub labels: Option<u128>,
    /// Shifts of sequence numbers in the original and the reply direction.
    pub seq_adj: Option<Box<[Option<SeqAdj>; 2]>>,
    /// The SYN proxy's part.
    pub synproxy: Option<Box<SynProxy>>,
}

impl Entry {
    /// A flow between two tuples of which nothing else is known.
    pub fn new(original: Tuple, reply: Tuple) -> Self {
        Self {
            original,
            reply,
            master: None,
            status: 0,
            state: None,
            timeout_s: None,
            sent: None,
            received: None,
            mark: None,
            zone: None,
            id: 0,
            uses: None,
            began_ns: None,
            ended_ns: None,
            event_ns: None,
            helper: None,
            secmark: None,
            security_context: None,
            labels: None,
            seq_adj: None,
            synproxy: None,
        }
    }

    /// Whether a packet has come back (`IPS_SEEN_REPLY`).
    pub fn is_answered(&self) -> bool {
        self.status & status::SEEN_REPLY != 0
    }

    /// The source address and port that the outside sees.
    pub fn mapped(&self) -> SocketAddr {
        self.reply.destination
    }

    /// Whether its source is translated: the address, the port, or the identifier of an ICMP query.
    pub fn is_source_translated(&self) -> bool {
        let id = |tuple: &Tuple| tuple.icmp.map(|icmp| icmp.id);
        self.original.source != self.reply.destination || id(&self.original) != id(&self.reply)
    }

    /// Whether its destination is translated.
    pub fn is_destination_translated(&self) -> bool {
        self.original.destination != self.reply.source
    }

    /// Packets and bytes of both directions, if counted.
    pub fn total(&self) -> Option<Counters> {
        let (sent, received) = (self.sent?, self.received?);
        let sum = |a: u64, b: u64| a.saturating_add(b);
        Some(Counters { packets: sum(sent.packets, received.packets), bytes: sum(sent.bytes, received.bytes) })
    }

    /// `None` when a tuple is missing or a number has the wrong length. Unknown attributes are passed over.
    pub(super) fn parse(reply: &Reply) -> Option<Self> {
        let (mut original, mut back) = (None, None);
        let mut entry = None::<Self>;
        for (kind, value) in reply.attributes(FIXED) {
            match kind {
                TUPLE_ORIGINAL => original = Tuple::parse(value),
                TUPLE_REPLY => back = Tuple::parse(value),
                _ => continue,
            }
            if let (Some(original), Some(back), None) = (original, back, &entry) {
                entry = Some(Self::new(original, back));
            }
        }
        let mut entry = entry?;
        reply.attributes(FIXED).try_for_each(|(kind, value)| entry.take(kind, value))?;
        Some(entry)
    }

    fn take(&mut self, kind: u16, value: &[u8]) -> Option<()> {
        match kind {
            STATUS => self.status = be32(value)?,
            PROTOCOL_STATE => self.state = State::parse(value),
            HELPER => self.helper = find(value, HELPER_NAME).map(text),
            TIMEOUT => self.timeout_s = Some(be32(value)?),
            MARK => self.mark = Some(be32(value)?),
            COUNTERS_ORIGINAL => self.sent = counters(value),
            COUNTERS_REPLY => self.received = counters(value),
            USE => self.uses = Some(be32(value)?),
            ID => self.id = be32(value)?,
            TUPLE_MASTER => self.master = Tuple::parse(value),
            SEQ_ADJ_ORIGINAL => self.seq_adj.get_or_insert_default()[0] = seq_adj(value),
            SEQ_ADJ_REPLY => self.seq_adj.get_or_insert_default()[1] = seq_adj(value),
            SECMARK => self.secmark = Some(be32(value)?),
            ZONE => self.zone = Some(be16(value)?),
            SECURITY_CONTEXT => self.security_context = find(value, SECURITY_CONTEXT_NAME).map(text),
            TIMESTAMPS => {
                self.began_ns = find(value, TIMESTAMP_START).and_then(be64);
                self.ended_ns = find(value, TIMESTAMP_STOP).and_then(be64);
            }
            TIMESTAMP_EVENT => self.event_ns = be64(value),
            LABELS => self.labels = labels(value),
            SYNPROXY => self.synproxy = synproxy(value).map(Box::new),
            _ => {}
        }
        Some(())
    }
}

fn counters(value: &[u8]) -> Option<Counters> {
    let number = |kind| be64(find(value, kind)?);
    Some(Counters { packets: number(COUNTER_PACKETS)?, bytes: number(COUNTER_BYTES)? })
}

fn seq_adj(value: &[u8]) -> Option<SeqAdj> {
    let [position, before, after] = SEQ_ADJ_FIELDS.map(|kind| find(value, kind).and_then(be32));
    Some(SeqAdj { position: position?, before: before?.cast_signed(), after: after?.cast_signed() })
}

fn synproxy(value: &[u8]) -> Option<SynProxy> {
    let [isn, its, timestamp_offset] = SYNPROXY_FIELDS.map(|kind| find(value, kind).and_then(be32));
    Some(SynProxy { isn: isn?, its: its?, timestamp_offset: timestamp_offset? })
}

/// The kernel's bitmap: words in host order, the lowest labels first (`NF_CT_LABELS_MAX_SIZE` is 16 bytes).
fn labels(value: &[u8]) -> Option<u128> {
    let (words, rest) = value.as_chunks::<{ size_of::<usize>() }>();
    if value.len() > 16 || !rest.is_empty() {
        return None;
    }
    let words = words.iter().enumerate();
    Some(words.fold(0, |sum, (at, word)| sum | (usize::from_ne_bytes(*word) as u128) << (at * usize::BITS as usize)))
}
