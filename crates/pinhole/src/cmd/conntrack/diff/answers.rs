//! Answers as the outside would send them. A capture from the inside shows an answer as the router gave it to the inside, to
//! the inside's own address; the router itself got it for the translation's address and port.
//!
//! The model: whenever the kernel shows the entry of a translated flow, its original direction turned round is what the inside
//! sees as the answer, and its reply direction what the outside sends. UDP, TCP and echoes; an ICMP error, and what a helper
//! announces, come as they are.

use std::collections::HashMap;
use std::net::SocketAddr;

use pinhole_netfilter::script::EntryView;
use pinhole_wire::Flow;
use pinhole_wire::edit::{End, rewrite};

/// More translated flows than this are not remembered; the answers of those that come later stay as they are.
const MOST: usize = 1 << 20;

/// Translations, by what the inside sees as the answer.
#[derive(Default)]
pub(super) struct Answers {
    /// (protocol, who answers, to whom) as the inside sees it: the same as the outside sends it.
    known: HashMap<(u8, SocketAddr, SocketAddr), [SocketAddr; 2]>,
    /// How many packets were changed.
    pub(super) changed: u64,
}

impl Answers {
    /// Remembers the translation of a flow that has one.
    pub(super) fn learn(&mut self, entry: &EntryView) {
        let (original, reply) = (&entry.original, &entry.reply);
        let end = |address, id| SocketAddr::new(address, id);
        let (seen, sent) = if original.is_icmp() {
            // As [`Flow`] has an echo's answer: the identifier is its destination's.
            (
                [end(original.dst, 0), end(original.src, original.src_id)],
                [end(reply.src, 0), end(reply.dst, reply.src_id)],
            )
        } else if original.has_ports() {
            (
                [end(original.dst, original.dst_id), end(original.src, original.src_id)],
                [end(reply.src, reply.src_id), end(reply.dst, reply.dst_id)],
            )
        } else {
            return;
        };
        if self.known.len() < MOST || self.known.contains_key(&(original.protocol, seen[0], seen[1])) {
            self.known.insert((original.protocol, seen[0], seen[1]), sent);
        }
    }

    /// Gives a packet from the outside the ends that it has there.
    pub(super) fn turn_back(&mut self, packet: &mut [u8]) {
        let Ok(flow) = Flow::of(packet) else { return };
        let key = (u8::from(flow.protocol), flow.src, flow.dst);
        let Some(&[source, destination]) = self.known.get(&key) else { return };
        if (source, destination) == (flow.src, flow.dst) {
            return;
        }
        let turned = rewrite(packet, End::Source, source).and_then(|()| rewrite(packet, End::Destination, destination));
        self.changed += u64::from(turned.is_ok());
    }
}
