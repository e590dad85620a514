//! Connections that a control connection has led to.

use core::net::{IpAddr, SocketAddr};

use pinhole_sansio::Rng;
use pinhole_wire::text::Line;

use super::end::Stream;
use crate::script::Side;

/// Where somebody was told to come, and the streams of those who have come.
#[derive(Clone, Debug, Default)]
pub(super) struct Data {
    /// Who was told, and where to.
    invitations: Vec<(Side, SocketAddr)>,
    streams: Vec<Stream>,
}

/// More connections than this are not opened.
const MAX_STREAMS: usize = 4;

impl Data {
    pub fn invite(&mut self, side: Side, to: SocketAddr) {
        self.invitations.push((side, to));
    }

    /// A packet of one of these connections. `from` is the port that connections come from if the host has a choice.
    pub fn speak(&mut self, own: [Option<IpAddr>; 2], from: u16, rng: &mut Rng) -> Option<(usize, Side, Line)> {
        if self.streams.len() < MAX_STREAMS
            && !self.invitations.is_empty()
            && (self.streams.is_empty() || rng.chance(0.2))
        {
            // Mostly the newest one; an old one may come again.
            let at = if rng.chance(0.8) {
                self.invitations.len() - 1
            } else {
                rng.below(self.invitations.len() as u64) as usize
            };
            let (side, mut to) = self.invitations[at];
            let own = own[side.index()]?;
            if own.is_ipv4() != to.is_ipv4() {
                return None;
            }
            if rng.chance(0.05) {
                to.set_port(to.port().wrapping_add(1));
            }
            let from = if rng.chance(0.5) { from } else { 40_000 + rng.below(3) as u16 };
            self.streams.push(Stream::new(side, SocketAddr::new(own, from), to, rng));
        }
        let at = (rng.below(self.streams.len().max(1) as u64)) as usize;
        let stream = self.streams.get_mut(at)?;
        let side = if rng.chance(0.5) { Side::In } else { Side::Out };
        let said =
            if stream.is_open() && rng.chance(0.5) { stream.say(side, vec![0; 20], rng) } else { stream.shake(rng) };
        said.map(|(side, line)| (at, side, line))
    }

    pub fn hear(&mut self, at: usize, side: Side, line: &Line) {
        if let Some(stream) = self.streams.get_mut(at) {
            stream.hear(side, line);
        }
    }
}
