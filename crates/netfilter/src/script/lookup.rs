//! Which entry a packet is about: the tuple under which a table finds it.

use std::collections::{BTreeMap, BTreeSet};

use core::net::IpAddr;

use pinhole_wire::text::Line;
use pinhole_wire::{Protocol, icmp, ip};

use super::{EntryView, TupleView};
use crate::tuple::{GRE, Tuple};

/// Finds the tuple of packets, one after another: a last fragment has the ports of the first one.
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    /// Tuples of first fragments, by what the fragments of one packet have in common.
    fragments: BTreeMap<(IpAddr, IpAddr, u8, u32), TupleView>,
    /// The original tuples of the tunnels that have been seen.
    tunnels: BTreeSet<TupleView>,
}

/// More fragmented packets under way than this are not remembered.
const MAX_FRAGMENTED: usize = 1_024;

impl Lookup {
    /// What the fragments of the packet that this is one of have in common.
    pub fn fragment_key(packet: &[u8]) -> Option<(IpAddr, IpAddr, u8, u32)> {
        let view = ip::Packet::new_checked(packet).ok().filter(ip::Packet::is_fragment)?;
        let identification = match &view {
            ip::Packet::V4(packet) => packet.identification().into(),
            ip::Packet::V6(packet) => packet.upper_layer().ok()?.fragment?.identification,
        };
        Some((view.src(), view.dst(), view.upper().ok()?.protocol.into(), identification))
    }

    /// The tuple of a packet, or the inverse of the quoted packet's in an ICMP error; `None` if it has none.
    pub fn tuple(&mut self, packet: &[u8]) -> Option<TupleView> {
        let Some(key) = Self::fragment_key(packet) else { return read(packet, Quoted::No) };
        if self.fragments.len() < MAX_FRAGMENTED
            && let Some(tuple) = read(packet, Quoted::No)
        {
            self.fragments.insert(key, tuple);
        }
        self.fragments.get(&key).copied()
    }

    /// The entry of a packet of a PPTP tunnel among all of a table. The packet has only one of the two keys of its flow: where
    /// several fit, it is the one that has not been there before, or else the first.
    pub fn tunnel(&mut self, packet: &[u8], table: &[EntryView]) -> Option<EntryView> {
        let (src, dst, key) = call(packet)?;
        let fits = |tuple: &TupleView| (tuple.protocol, tuple.src, tuple.dst, tuple.dst_id) == (GRE, src, dst, key);
        let mut fitting = table.iter().filter(|entry| fits(&entry.original) || fits(&entry.reply));
        let new = fitting.clone().find(|entry| !self.tunnels.contains(&entry.original));
        let found = new.or_else(|| fitting.next()).cloned();
        self.tunnels.extend(table.iter().map(|entry| entry.original).filter(|tuple| tuple.protocol == GRE));
        found
    }
}

/// Whether a packet is one of a PPTP tunnel, which no tuple finds.
pub fn is_of_tunnel(packet: &[u8]) -> bool {
    call(packet).is_some()
}

/// From whom, to whom and to which call a packet of a PPTP tunnel is (RFC 2637 §4.1).
fn call(packet: &[u8]) -> Option<(IpAddr, IpAddr, u16)> {
    let view = ip::Packet::new_checked(packet).ok()?;
    let upper = view.upper().ok().filter(|upper| upper.first && upper.protocol == Protocol::Other(GRE))?;
    let body = packet.get(upper.offset..upper.end)?;
    let half = |at: usize| Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
    (half(0)? & 7 == 1).then_some(())?;
    Some((view.src(), view.dst(), half(6)?))
}

/// The ends of a packet, or of a first fragment, with their ports if it has any.
pub(super) fn ends(packet: &[u8]) -> Option<[(IpAddr, u16); 2]> {
    if let Some(tuple) = read(packet, Quoted::No).filter(TupleView::has_ports) {
        return Some([(tuple.src, tuple.src_id), (tuple.dst, tuple.dst_id)]);
    }
    let line = Line::of(packet).ok()?;
    Some([line.src, line.dst].map(|end| (end.ip(), end.port())))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quoted {
    No,
    Yes,
}

fn read(packet: &[u8], quoted: Quoted) -> Option<TupleView> {
    let view = ip::Packet::new_checked(packet).ok()?;
    let upper = view.upper().ok()?;
    let body = packet.get(upper.offset..upper.end)?;
    let protocol = u8::from(upper.protocol);
    let half = |at: usize| Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
    let mut tuple = TupleView { src: view.src(), dst: view.dst(), src_id: 0, dst_id: 0, protocol };
    if !upper.first {
        return None;
    }
    match upper.protocol {
        Protocol::Icmp | Protocol::Icmpv6 => {
            let message = icmp::Packet::new_checked(body).ok()?;
            match message.kind(upper.protocol) {
                icmp::Kind::Error if quoted == Quoted::No => return inverse(read_cut(message.payload())?),
                icmp::Kind::Error => return None,
                icmp::Kind::EchoRequest | icmp::Kind::EchoReply | icmp::Kind::Other => {}
            }
            tuple.src_id = message.identifier();
            tuple.dst_id = u16::from(message.message_type()) << 8 | u16::from(message.code());
        }
        Protocol::Tcp | Protocol::Udp => (tuple.src_id, tuple.dst_id) = (half(0)?, half(2)?),
        Protocol::Other(_) if tuple.has_ports() => (tuple.src_id, tuple.dst_id) = (half(0)?, half(2)?),
        // A PPTP call has keys of which the packet has only one: it is found by nobody from outside.
        Protocol::Other(GRE) if half(0)? & 7 == 1 => return None,
        Protocol::Other(_) => {}
    }
    Some(tuple)
}

/// Reads a packet of which the end may be missing.
fn read_cut(quote: &[u8]) -> Option<TupleView> {
    let len = match quote.first()? >> 4 {
        4 => usize::from(u16::from_be_bytes([*quote.get(2)?, *quote.get(3)?])),
        _ => 40 + usize::from(u16::from_be_bytes([*quote.get(4)?, *quote.get(5)?])),
    };
    let mut whole = quote.to_vec();
    whole.resize(len.max(quote.len()), 0);
    read(&whole, Quoted::Yes)
}

fn inverse(tuple: TupleView) -> Option<TupleView> {
    let TupleView { src_id, dst_id, protocol, .. } = tuple;
    match (tuple.src, tuple.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            Tuple { src, dst, src_id, dst_id, protocol }.inverse().map(TupleView::from)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            Tuple { src, dst, src_id, dst_id, protocol }.inverse().map(TupleView::from)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}
