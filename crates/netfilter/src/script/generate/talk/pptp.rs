//! A PPTP control connection (RFC 2637), and the tunnels of its calls.

use core::net::SocketAddr;

use pinhole_sansio::Rng;
use pinhole_wire::text::{Body, Gre, Line, Payload};

use super::end::{Ends, Stream};
use super::{end, one, spoil};
use crate::script::Side;

#[derive(Clone, Debug)]
pub(super) struct Pptp {
    client: Side,
    control: Stream,
    tunnel: Option<Ends>,
    /// For each side, its own call and the other's as it was told.
    own: [u16; 2],
    told: [u16; 2],
    step: usize,
}

/// Lengths of messages with their header, by type (RFC 2637 §2).
const LENGTHS: [usize; 15] = [156, 156, 16, 16, 16, 20, 168, 32, 220, 24, 28, 16, 148, 40, 24];

impl Pptp {
    pub fn new(client: Side, (own, peer): (SocketAddr, SocketAddr), rng: &mut Rng) -> Self {
        let calls = [one(&[0, 1, 7, own.port()], rng), one(&[0, 1, 7, 9], rng)];
        Self { client, control: Stream::new(client, own, peer, rng), tunnel: None, own: calls, told: [0; 2], step: 0 }
    }

    pub fn speak(&mut self, rng: &mut Rng) -> Option<(usize, Side, Line)> {
        let control = |(side, line)| (0, side, line);
        if !self.control.is_open() || rng.chance(0.1) {
            return self.control.shake(rng).map(control);
        }
        if self.step > 3 && rng.chance(0.35) {
            return self.gre(rng);
        }
        // Requests and answers by the book: start, call, connected.
        let (is_client, kind) = match (self.step, rng.chance(0.8)) {
            (0, true) => (true, 1),
            (1, true) => (false, 2),
            (2, true) => one(&[(true, 7), (false, 9)], rng),
            (3, true) => one(&[(false, 8), (false, 8), (true, 10)], rng),
            (4, true) => (false, 11),
            (_, _) => (rng.chance(0.5), 1 + rng.below(15) as u8),
        };
        self.step += 1;
        let side = if is_client { self.client } else { self.client.other() };
        if let Some(rest) = self.control.rest(side, rng) {
            return Some(control(rest));
        }
        let mut message = self.message(side, kind, rng);
        if rng.chance(0.03) {
            spoil(&mut message, rng);
        }
        self.control.say(side, message, rng).map(control)
    }

    fn message(&self, side: Side, kind: u8, rng: &mut Rng) -> Vec<u8> {
        let len = LENGTHS[usize::from(kind) - 1];
        let mut message = vec![0; len];
        message[..2].copy_from_slice(&(len as u16).to_be_bytes());
        message[3] = 1;
        message[4..8].copy_from_slice(&[0x1a, 0x2b, 0x3c, 0x4d]);
        message[9] = kind;
        let [own, told] = [self.own[side.index()], self.told[side.index()]];
        let told = if rng.chance(0.95) { told } else { told.wrapping_add(1) };
        let result = u8::from(rng.chance(0.9));
        // The first two fields of the body, and the result of an answer.
        let (first, second) = match kind {
            8 | 10 => (own, told),
            7 | 9 | 12 | 13 => (own, 0),
            11 | 14 | 15 => (told, 0),
            _ => (0x100, 0),
        };
        message[12..14].copy_from_slice(&first.to_be_bytes());
        message[14..16].copy_from_slice(&second.to_be_bytes());
        match kind {
            2 => message[14] = result,
            4 => message[12] = result,
            8 | 10 => message[16] = result,
            _ => {}
        }
        message
    }

    fn gre(&mut self, rng: &mut Rng) -> Option<(usize, Side, Line)> {
        let side = if rng.chance(0.5) { Side::In } else { Side::Out };
        let (own, peer) = self.control.ends.of(side)?;
        let (own, peer) = (end(own.ip(), 0), end(peer.ip(), 0));
        self.tunnel.get_or_insert(Ends::new(side, own, peer));
        let call = if rng.chance(0.9) { self.told[side.index()] } else { rng.below(3) as u16 };
        let gre =
            Gre::Pptp { call, sequence: Some(self.step as u32), acknowledgment: None, payload: Payload::zeros(4) };
        Some((1, side, Line::new(own, peer, Body::Gre(gre))))
    }

    pub fn hear(&mut self, connection: usize, side: Side, line: &Line) {
        if connection != 0 {
            return;
        }
        let Some(message) = self.control.hear(side, line) else { return };
        if let [_, _, _, _, _, _, _, _, 0, kind, _, _, high, low, ..] = *message
            && matches!(kind, 7..=10)
        {
            self.told[side.index()] = u16::from_be_bytes([high, low]);
        }
    }
}
