//! The two ends of a connection, each with what it knows of itself and the other.

use core::net::SocketAddr;

use pinhole_sansio::Rng;
use pinhole_wire::build::Segment;
use pinhole_wire::tcp::Flags;
use pinhole_wire::text::{Body, Line, Payload, TcpOption};

use crate::script::Side;

/// Where two ends are, as each sees it: itself first, then the other. The one that is spoken to learns it when it hears.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub opener: Side,
    places: [Option<(SocketAddr, SocketAddr)>; 2],
}

impl Ends {
    pub fn new(opener: Side, own: SocketAddr, peer: SocketAddr) -> Self {
        let mut places = [None; 2];
        places[opener.index()] = Some((own, peer));
        Self { opener, places }
    }

    /// Itself and the other, as `side` sees it.
    pub fn of(&self, side: Side) -> Option<(SocketAddr, SocketAddr)> {
        self.places[side.index()]
    }

    /// Itself, as the opener sees it.
    pub fn own(&self) -> SocketAddr {
        self.places[self.opener.index()].map_or_else(|| SocketAddr::from(([0; 4], 0)), |(own, _)| own)
    }

    /// What `side` sends; rarely as if it had not been translated.
    pub fn line(&self, side: Side, body: Body, rng: &mut Rng) -> Option<Line> {
        let guess = || self.of(side.other()).map(|(own, peer)| (peer, own)).filter(|_| rng.chance(0.05));
        let (src, dst) = self.of(side).or_else(guess)?;
        Some(Line::new(src, dst, body))
    }

    pub fn hear(&mut self, side: Side, line: &Line) {
        self.places[side.index()].get_or_insert((line.dst, line.src));
    }
}

/// A TCP connection.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub ends: Ends,
    hosts: [Host; 2],
}

#[derive(Clone, Debug)]
struct Host {
    /// The next sequence number of its own, and of the other.
    next: u32,
    expects: u32,
    stage: Stage,
    /// What it said last.
    last: Option<Line>,
    /// What it has not sent yet.
    rest: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Silent,
    /// It has sent a SYN, or heard one.
    Opening,
    Open,
}

impl Stream {
    pub fn new(opener: Side, own: SocketAddr, peer: SocketAddr, rng: &mut Rng) -> Self {
        let mut host = || {
            let next = if rng.chance(0.3) { 0_u32.wrapping_sub(rng.below(300) as u32) } else { rng.next_u64() as u32 };
            Host { next, expects: 0, stage: Stage::Silent, last: None, rest: Vec::new() }
        };
        let hosts = [host(), host()];
        Self { ends: Ends::new(opener, own, peer), hosts }
    }

    pub fn is_open(&self) -> bool {
        self.hosts.iter().all(|host| host.stage == Stage::Open)
    }

    /// The next step of the handshake, or something that TCP does of its own accord.
    pub fn shake(&mut self, rng: &mut Rng) -> Option<(Side, Line)> {
        let (opener, other) = (self.ends.opener, self.ends.opener.other());
        let [opening, answering] = [opener, other].map(|side| self.hosts[side.index()].stage);
        match (opening, answering) {
            (Stage::Open, Stage::Open) => self.idle(rng),
            (Stage::Silent, _) => self.send(opener, Flags::SYN, Vec::new(), rng),
            (_, Stage::Opening) => self.send(other, Flags::SYN | Flags::ACK, Vec::new(), rng),
            (Stage::Opening, Stage::Silent) if rng.chance(0.3) => self.again(opener, rng),
            (Stage::Opening, Stage::Open) if rng.chance(0.05) => self.again(other, rng),
            (Stage::Opening, Stage::Silent | Stage::Open) => None,
            (Stage::Open, Stage::Silent) => self.again(opener, rng),
        }
    }

    /// An acknowledgment, a repetition, an end.
    pub fn idle(&mut self, rng: &mut Rng) -> Option<(Side, Line)> {
        let side = if rng.chance(0.5) { Side::In } else { Side::Out };
        match rng.below(20) {
            0 => self.send(side, Flags::FIN | Flags::ACK, Vec::new(), rng),
            1 => self.send(side, Flags::RST | Flags::ACK, Vec::new(), rng),
            2..=6 => self.again(side, rng),
            _ => self.send(side, Flags::ACK, Vec::new(), rng),
        }
    }

    /// What a side said last, once more.
    pub fn again(&mut self, side: Side, _rng: &mut Rng) -> Option<(Side, Line)> {
        Some((side, self.hosts[side.index()].last.clone()?))
    }

    /// Sends data, now and then in two pieces: the second is what comes next of this side.
    pub fn say(&mut self, side: Side, data: Vec<u8>, rng: &mut Rng) -> Option<(Side, Line)> {
        let mut data = data;
        if rng.chance(0.08) && data.len() > 1 {
            let rest = data.split_off(1 + rng.below(data.len() as u64 - 1) as usize);
            self.hosts[side.index()].rest = rest;
        }
        self.send(side, Flags::PSH | Flags::ACK, data, rng)
    }

    /// What a side has not sent yet of what it wanted to say.
    pub fn rest(&mut self, side: Side, rng: &mut Rng) -> Option<(Side, Line)> {
        let rest = core::mem::take(&mut self.hosts[side.index()].rest);
        if rest.is_empty() { None } else { self.send(side, Flags::PSH | Flags::ACK, rest, rng) }
    }

    fn send(&mut self, side: Side, flags: Flags, data: Vec<u8>, rng: &mut Rng) -> Option<(Side, Line)> {
        let host = &mut self.hosts[side.index()];
        let is_syn = flags.contains(Flags::SYN);
        let len = data.len() as u32 + u32::from(is_syn) + u32::from(flags.contains(Flags::FIN));
        let seq = if rng.chance(0.01) { host.next.wrapping_sub(rng.below(30) as u32) } else { host.next };
        let ack = if flags.contains(Flags::ACK) { host.expects } else { 0 };
        let mut options =
            if is_syn { vec![TcpOption::MaximumSegmentSize(1_460), TcpOption::SackPermitted] } else { Vec::new() };
        if !is_syn && rng.chance(0.05) {
            let left = host.expects.wrapping_add(100);
            options = vec![TcpOption::Nop, TcpOption::Nop, TcpOption::Sack(vec![(left, left.wrapping_add(50))])];
        }
        let segment = Segment { flags, seq, ack, window: 64_240 };
        let body = Body::Tcp { segment, urgent: 0, options, payload: Payload(data) };
        let line = self.ends.line(side, body, rng)?;
        let host = &mut self.hosts[side.index()];
        host.next = seq.wrapping_add(len);
        host.stage = match (is_syn, flags.contains(Flags::ACK)) {
            (true, false) => Stage::Opening,
            (true, true) | (false, _) => Stage::Open,
        };
        host.last = Some(line.clone());
        Some((side, line))
    }

    /// What it carried, if that was new.
    pub fn hear<'a>(&mut self, side: Side, line: &'a Line) -> Option<&'a [u8]> {
        let Body::Tcp { segment, payload, .. } = &line.body else { return None };
        self.ends.hear(side, line);
        let host = &mut self.hosts[side.index()];
        let flags = segment.flags;
        if flags.contains(Flags::SYN) {
            host.expects = segment.seq.wrapping_add(1);
            host.stage = match (host.stage, flags.contains(Flags::ACK)) {
                (Stage::Silent, false) => Stage::Opening,
                // The acknowledgment comes as the next thing that is sent.
                (Stage::Opening, true) => Stage::Open,
                (stage, _) => stage,
            };
            return None;
        }
        if segment.seq != host.expects {
            return None;
        }
        host.expects = host.expects.wrapping_add(payload.len() as u32 + u32::from(flags.contains(Flags::FIN)));
        Some(payload)
    }
}
