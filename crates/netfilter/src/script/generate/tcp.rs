//! A TCP connection of a case: what two ends would send, and what is near to it.

use pinhole_sansio::Rng;
use pinhole_wire::build::Segment;
use pinhole_wire::tcp::Flags;
use pinhole_wire::text::{Body, Payload, TcpOption};

use crate::script::Side;

/// Two ends of a connection, each with what it has sent.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    opener: Side,
    ends: [End; 2],
    /// Packets that went by the book so far.
    step: u32,
}

#[derive(Clone, Debug)]
struct End {
    /// The next sequence number.
    next: u32,
    /// The first one.
    first: u32,
    window: u16,
    scale: Option<u8>,
    sack: bool,
    sent_fin: bool,
}

impl Connection {
    pub(super) fn new(opener: Side, rng: &mut Rng) -> Self {
        let mut end = || {
            // Numbers that wrap soon, now and then.
            let first =
                if rng.chance(0.3) { 0u32.wrapping_sub(rng.below(3_000) as u32) } else { rng.next_u64() as u32 };
            let scale = rng.chance(0.7).then(|| [0, 1, 7, 14, 15][rng.below(5) as usize]);
            let window = [0, 1, 500, 8_192, 65_535][rng.below(5) as usize];
            End { next: first, first, window, scale, sack: rng.chance(0.7), sent_fin: false }
        };
        let ends = [end(), end()];
        // Some are picked up in the middle.
        let step = if rng.chance(0.15) { 3 } else { 0 };
        Self { opener, ends, step }
    }

    /// The next segment, and where it comes in.
    pub(super) fn next(&mut self, rng: &mut Rng) -> (Side, Body) {
        if rng.chance(0.7) { self.honest(rng) } else { self.beside(rng) }
    }

    /// What comes next by the book: a handshake, data, a close.
    fn honest(&mut self, rng: &mut Rng) -> (Side, Body) {
        let opener = self.opener;
        self.step += 1;
        match self.step {
            1 => self.send(opener, Flags::SYN, 0, rng),
            2 if rng.chance(0.05) => self.send(opener.other(), Flags::SYN, 0, rng),
            2 => self.send(opener.other(), Flags::SYN | Flags::ACK, 0, rng),
            3 => self.send(opener, Flags::ACK, 0, rng),
            _ => {
                let side = if rng.chance(0.5) { opener } else { opener.other() };
                let is_over = self.ends.iter().all(|end| end.sent_fin);
                match rng.below(12) {
                    0 => {
                        let flags = if rng.chance(0.5) { Flags::RST } else { Flags::RST | Flags::ACK };
                        self.send(side, flags, 0, rng)
                    }
                    1 | 2 if !self.ends[side.index()].sent_fin => {
                        self.ends[side.index()].sent_fin = true;
                        self.send(side, Flags::FIN | Flags::ACK, 0, rng)
                    }
                    3 if is_over => {
                        // The same ports again.
                        self.step = 1;
                        for end in &mut self.ends {
                            end.first = end.next.wrapping_add(rng.below(100_000) as u32);
                            (end.next, end.sent_fin) = (end.first, false);
                        }
                        self.send(opener, Flags::SYN, 0, rng)
                    }
                    4..=7 => {
                        let len = [1, 100, 536, 1_460][rng.below(4) as usize];
                        self.send(side, Flags::PSH | Flags::ACK, len, rng)
                    }
                    _ => self.send(side, Flags::ACK, 0, rng),
                }
            }
        }
    }

    fn send(&mut self, side: Side, flags: Flags, len: usize, rng: &mut Rng) -> (Side, Body) {
        let ack = self.ends[side.other().index()].next;
        let end = &mut self.ends[side.index()];
        if flags.contains(Flags::SYN) {
            end.next = end.first;
        }
        let seq = end.next;
        let takes = u32::from(flags.contains(Flags::SYN)) + u32::from(flags.contains(Flags::FIN)) + len as u32;
        end.next = end.next.wrapping_add(takes);
        let ack = if flags.contains(Flags::ACK) { ack } else { 0 };
        let segment = Segment { flags, seq, ack, window: end.window };
        let options = if flags.contains(Flags::SYN) { end.syn_options() } else { data_options(rng) };
        (side, body(segment, options, len))
    }

    /// A segment that differs in one or more fields from what would be right.
    fn beside(&mut self, rng: &mut Rng) -> (Side, Body) {
        let side = if rng.chance(0.5) { Side::In } else { Side::Out };
        let (own, peer) = (&self.ends[side.index()], &self.ends[side.other().index()]);
        let flags = match rng.below(4) {
            0 => Flags(rng.next_u64() as u8),
            1 => Flags::RST,
            2 => Flags::ACK,
            _ => LEGAL[rng.below(LEGAL.len() as u64) as usize],
        };
        let scaled = |end: &End| u32::from(end.window).max(1) << end.scale.unwrap_or(0).min(14);
        let seq = near(own.next, scaled(peer), rng);
        let ack = near(peer.next, scaled(own), rng);
        let seq = if rng.chance(0.05) { 0 } else { seq };
        let ack = if flags.contains(Flags::ACK) || rng.chance(0.1) { ack } else { 0 };
        let window = [own.window, 0, 1, 65_535][rng.below(4) as usize];
        let len = [0, 0, 1, 100, 1_460][rng.below(5) as usize];
        let mut options = if flags.contains(Flags::SYN) { own.syn_options() } else { data_options(rng) };
        if rng.chance(0.3) {
            let right = near(peer.next, scaled(own), rng);
            options = vec![TcpOption::Nop, TcpOption::Nop, TcpOption::Sack(vec![(right.wrapping_sub(100), right)])];
        }
        (side, body(Segment { flags, seq, ack, window }, options, len))
    }
}

/// The combinations that the tracker takes (without PSH, ECE and CWR).
const LEGAL: [Flags; 9] =
    [Flags::SYN, Flags(0x22), Flags(0x12), Flags::RST, Flags(0x14), Flags(0x11), Flags(0x31), Flags::ACK, Flags(0x30)];

impl End {
    fn syn_options(&self) -> Vec<TcpOption> {
        let mut options = vec![TcpOption::MaximumSegmentSize(1_460)];
        options.extend(self.sack.then_some(TcpOption::SackPermitted));
        options.extend(self.scale.map(TcpOption::WindowScale));
        options
    }
}

fn data_options(rng: &mut Rng) -> Vec<TcpOption> {
    if rng.chance(0.3) {
        vec![TcpOption::Nop, TcpOption::Nop, TcpOption::Timestamps(rng.next_u64() as u32, 7)]
    } else {
        Vec::new()
    }
}

/// A number at, before or behind one, about the edges that the window check has.
fn near(number: u32, window: u32, rng: &mut Rng) -> u32 {
    let by = match rng.below(8) {
        0..=2 => 0,
        3 => rng.below(3) as u32,
        4 => rng.below(2_000) as u32,
        5 => window.wrapping_add(rng.below(5) as u32).wrapping_sub(2),
        6 => 66_000u32.wrapping_add(rng.below(5) as u32).wrapping_sub(2),
        _ => rng.next_u64() as u32,
    };
    if rng.chance(0.5) { number.wrapping_add(by) } else { number.wrapping_sub(by) }
}

fn body(segment: Segment, options: Vec<TcpOption>, len: usize) -> Body {
    Body::Tcp { segment, urgent: 0, options, payload: Payload::zeros(len) }
}
