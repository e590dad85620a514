//! A TFTP transfer: a request, and an answer from a port of its own.

use core::net::SocketAddr;

use pinhole_sansio::Rng;
use pinhole_wire::text::{Body, Line, Payload};

use super::end::Ends;
use super::one;
use crate::script::Side;

#[derive(Clone, Debug)]
pub(super) struct Tftp {
    request: Ends,
    transfers: Vec<Ends>,
}

impl Tftp {
    pub fn new(client: Side, (own, peer): (SocketAddr, SocketAddr)) -> Self {
        Self { request: Ends::new(client, own, peer), transfers: Vec::new() }
    }

    pub fn speak(&mut self, rng: &mut Rng) -> Option<(usize, Side, Line)> {
        let client = self.request.opener;
        if let Some((own, peer)) = self.request.of(client.other())
            && self.transfers.len() < 3
            && rng.chance(if self.transfers.is_empty() { 0.6 } else { 0.1 })
        {
            let from = SocketAddr::new(own.ip(), 50_000 + rng.below(3) as u16);
            self.transfers.push(Ends::new(client.other(), from, peer));
        }
        if self.transfers.is_empty() || rng.chance(0.3) {
            let kind = one(&[1, 1, 2, 2, 3, 5], rng);
            let side = if rng.chance(0.9) { client } else { client.other() };
            let payload = Payload(if rng.chance(0.95) { vec![0, kind, b'f', 0, b'o', 0] } else { vec![0] });
            return Some((0, side, self.request.line(side, Body::Udp(payload), rng)?));
        }
        let at = rng.below(self.transfers.len() as u64) as usize;
        let side = if rng.chance(0.5) { Side::In } else { Side::Out };
        let payload = Payload(vec![0, one(&[3, 4], rng), 0, 1]);
        Some((at + 1, side, self.transfers[at].line(side, Body::Udp(payload), rng)?))
    }

    pub fn hear(&mut self, connection: usize, side: Side, line: &Line) {
        if matches!(line.body, Body::Udp(_)) {
            match connection.checked_sub(1) {
                None => self.request.hear(side, line),
                Some(at) => self.transfers[at].hear(side, line),
            }
        }
    }
}
