//! Conversations: hosts on both sides of a router that answer what reaches them, as it reaches them.
//!
//! The model: a [`Talk`] is a router and the numbers of some steps; [`Hosts`] are what its speakers know so far. In each step
//! one of them says something ([`Hosts::speak`]), and whoever it comes out at hears it ([`Hosts::hear`]): so hosts answer to
//! ports that a NAT has drawn, and open connections to where a translated text tells them to. What a step is depends on its
//! number, the seed and what was heard, so steps can be left out and the rest still makes sense: a talk shrinks like a case.

mod data;
mod end;
mod ftp;
mod irc;
mod plain;
mod pptp;
mod router;
mod sip;
mod tftp;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use pinhole_sansio::Rng;
use pinhole_wire::icmp;
use pinhole_wire::text::{Body, Content, Line, Message};

use super::flow::{bend, some_router};
use super::{ERRORS_V4, ERRORS_V6};
use crate::script::{Output, Setup, Side};
use router::Router;

/// A router, and what is said through it.
#[derive(Clone, Debug)]
pub struct Talk {
    /// The router.
    pub setup: Setup,
    seed: u64,
    steps: Vec<u32>,
}

/// Most steps of a talk, and most speakers.
const MAX_STEPS: u64 = 60;
const MAX_SPEAKERS: u64 = 3;
/// So many seeds in a row have the same router, so that a kernel need not be set up for each.
const SEEDS_PER_ROUTER: u64 = 32;

impl Talk {
    /// The talk that `seed` determines.
    pub fn of_seed(seed: u64) -> Self {
        let steps = 10 + Rng::from_seed(seed).below(MAX_STEPS - 9) as u32;
        Self { setup: Router::of_seed(seed / SEEDS_PER_ROUTER).setup(), seed, steps: (0..steps).collect() }
    }

    /// The numbers of its steps.
    pub fn steps(&self) -> &[u32] {
        &self.steps
    }

    /// By how many seconds flows get older before a step, if they do.
    pub fn ages(&self, step: u32) -> Option<u32> {
        super::ages(&mut Rng::from_seed(self.seed.wrapping_mul(0x9e37_79b9).wrapping_add(u64::from(step) << 40)))
    }

    /// The hosts, before anything is said.
    pub fn hosts(&self) -> Hosts {
        let mut rng = Rng::from_seed(self.seed ^ 0x7461_6c6b);
        let router = Router::of_seed(self.seed / SEEDS_PER_ROUTER);
        let mut speakers = Vec::new();
        for _ in 0..=rng.below(MAX_SPEAKERS) {
            speakers.push(Speaker::any(&router, &mut rng));
        }
        Hosts { seed: self.seed, speakers, speaking: None, said: Vec::new(), heard: None }
    }

    /// The talk with as few steps as it needs to differ.
    #[must_use]
    pub fn shrink(&self, mut differs: impl FnMut(&Self) -> bool) -> Self {
        let with = |steps: &[u32]| Self { steps: steps.to_vec(), ..self.clone() };
        with(&super::shrink::shorten(&self.steps, |steps| differs(&with(steps))))
    }
}

/// The hosts of a talk.
#[derive(Clone, Debug)]
pub struct Hosts {
    seed: u64,
    speakers: Vec<Speaker>,
    /// Who said the last thing, and in which of its connections.
    speaking: Option<(usize, usize)>,
    /// All that was said.
    said: Vec<(Side, Vec<u8>)>,
    /// The last thing that came out, and where.
    heard: Option<(Side, Line)>,
}

impl Hosts {
    /// What is said in a step: a packet, or the fragments of one, each with where it comes in.
    pub fn speak(&mut self, step: u32) -> Vec<(Side, Vec<u8>)> {
        let mut rng = Rng::from_seed(self.seed.wrapping_mul(0x1_0000_01b3).wrapping_add(u64::from(step) << 32));
        let mut packets = self.choose(&mut rng);
        if packets.len() == 1 && packets[0].1.len() > 200 && rng.chance(0.05) {
            let (side, packet) = packets.remove(0);
            let pieces = super::datagram::fragments(&packet, &mut rng);
            packets = pieces.into_iter().map(|piece| (side, piece)).collect();
        }
        self.said.extend(packets.iter().cloned());
        packets
    }

    fn choose(&mut self, rng: &mut Rng) -> Vec<(Side, Vec<u8>)> {
        if rng.chance(0.04) && !self.said.is_empty() {
            // Again, and whoever hears it now has heard it before.
            self.speaking = None;
            return vec![self.said[rng.below(self.said.len() as u64) as usize].clone()];
        }
        if rng.chance(0.04)
            && let Some(error) = self.complain(rng)
        {
            self.speaking = None;
            return vec![error];
        }
        for _ in 0..4 {
            let speaker = rng.below(self.speakers.len() as u64) as usize;
            let Some((connection, side, mut line)) = self.speakers[speaker].speak(rng) else { continue };
            if rng.chance(0.2) {
                bend(&mut line, rng);
            }
            let Some(packet) = line.packet() else { continue };
            self.speaking = Some((speaker, connection));
            return vec![(side, packet)];
        }
        Vec::new()
    }

    /// Somebody complains of the last packet that came out (RFC 792, RFC 4443).
    fn complain(&self, rng: &mut Rng) -> Option<(Side, Vec<u8>)> {
        let (side, line) = self.heard.clone()?;
        let (mut src, mut dst) = (line.dst, line.src);
        if rng.chance(0.3) {
            src = some_router(side, src.is_ipv4());
        }
        src.set_port(0);
        dst.set_port(0);
        let kinds: &[(u8, u8)] = if src.is_ipv4() { &ERRORS_V4 } else { &ERRORS_V6 };
        let (message_type, code) = kinds[rng.below(kinds.len() as u64) as usize];
        let header = if src.is_ipv4() { 20 } else { 40 };
        let whole = line.packet()?.len();
        let cut = if rng.chance(0.5) { Some(header + 8 + rng.below(30) as usize) } else { None };
        let content = Content::Quote { packet: Box::new(line), cut: cut.filter(|cut| *cut < whole) };
        let message = Message {
            message_type,
            code,
            rest: if code == icmp::v4::FRAGMENTATION_NEEDED { 1_300 } else { 0 },
            content,
        };
        Some((side, Line::new(src, dst, Body::Icmp(message)).packet()?))
    }

    /// What came of the last packet that was said.
    pub fn hear(&mut self, outputs: &[Output]) {
        for output in outputs {
            let Ok(line) = Line::of(&output.packet) else { continue };
            if let Some((speaker, connection)) = self.speaking {
                self.speakers[speaker].hear(connection, output.side, &line);
            }
            self.heard = Some((output.side, line));
        }
    }
}

/// Who speaks, and what.
#[derive(Clone, Debug)]
enum Speaker {
    Plain(plain::Plain),
    Ftp(ftp::Ftp),
    Tftp(tftp::Tftp),
    Irc(irc::Irc),
    Sip(Box<sip::Sip>),
    Pptp(pptp::Pptp),
}

impl Speaker {
    fn any(router: &Router, rng: &mut Rng) -> Self {
        let opener = if rng.chance(router.inbound()) { Side::Out } else { Side::In };
        let kind = if router.helps { rng.below(12) } else { 11 };
        let is_v4 = matches!(kind, 5..=7) || !rng.chance(router.v6());
        let ends = |port: u16, rng: &mut Rng| router.ends(opener, is_v4, port, rng);
        match kind {
            0..=2 => Self::Ftp(ftp::Ftp::new(opener, ends(21, rng), rng)),
            3 | 4 => Self::Tftp(tftp::Tftp::new(opener, ends(69, rng))),
            5 => Self::Irc(irc::Irc::new(opener, ends(6_667, rng), rng)),
            6 | 7 => Self::Pptp(pptp::Pptp::new(opener, ends(1_723, rng), rng)),
            8..=10 => Self::Sip(Box::new(sip::Sip::new(opener, ends(5_060, rng), rng))),
            _ => {
                let port = [80, 53, 7_000, 9][rng.below(4) as usize];
                Self::Plain(plain::Plain::new(opener, ends(port, rng), rng))
            }
        }
    }

    /// Something in one of its connections: which, and the side where it comes in.
    fn speak(&mut self, rng: &mut Rng) -> Option<(usize, Side, Line)> {
        match self {
            Self::Plain(plain) => plain.speak(rng).map(|(side, line)| (0, side, line)),
            Self::Ftp(ftp) => ftp.speak(rng),
            Self::Tftp(tftp) => tftp.speak(rng),
            Self::Irc(irc) => irc.speak(rng),
            Self::Sip(sip) => sip.speak(rng),
            Self::Pptp(pptp) => pptp.speak(rng),
        }
    }

    fn hear(&mut self, connection: usize, side: Side, line: &Line) {
        match self {
            Self::Plain(plain) => plain.hear(side, line),
            Self::Ftp(ftp) => ftp.hear(connection, side, line),
            Self::Tftp(tftp) => tftp.hear(connection, side, line),
            Self::Irc(irc) => irc.hear(connection, side, line),
            Self::Sip(sip) => sip.hear(connection, side, line),
            Self::Pptp(pptp) => pptp.hear(connection, side, line),
        }
    }
}

/// Hosts of both sides; few, so that they collide.
fn inside_host(is_v4: bool, rng: &mut Rng) -> IpAddr {
    let host = 10 + rng.below(2) as u16;
    if is_v4 {
        Ipv4Addr::new(10, 0, 0, host as u8).into()
    } else {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host).into()
    }
}

fn outside_host(is_v4: bool, rng: &mut Rng) -> IpAddr {
    let host = 1 + rng.below(2) as u16;
    if is_v4 {
        Ipv4Addr::new(198, 51, 100, host as u8).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, host).into()
    }
}

/// One of these.
fn one<T: Copy>(of: &[T], rng: &mut Rng) -> T {
    of[rng.below(of.len() as u64) as usize]
}

/// A text with, now and then, something wrong.
fn spoil(text: &mut Vec<u8>, rng: &mut Rng) {
    if text.is_empty() {
        return;
    }
    let at = rng.below(text.len() as u64) as usize;
    match rng.below(6) {
        0 => text.truncate(at),
        1 => text[at] = rng.next_u64() as u8,
        2 => text.insert(at, one(b" 0,|:\r\n;", rng)),
        3 => drop(text.remove(at)),
        4 => text.make_ascii_lowercase(),
        _ => text[at] = text[at].wrapping_add(1),
    }
}

/// Digits at `at`, and what is behind them.
fn digits(text: &[u8]) -> Option<(u32, &[u8])> {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = core::str::from_utf8(&text[..len]).ok()?.parse().ok()?;
    Some((number, &text[len..]))
}

/// Where a text begins in another.
fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// An end, from an address and a port.
const fn end(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

#[cfg(test)]
mod tests;
