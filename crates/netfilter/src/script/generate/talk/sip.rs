//! SIP between a telephone and a server or another telephone: registrations, calls and their streams.

use core::net::{IpAddr, SocketAddr};

use pinhole_sansio::Rng;
use pinhole_wire::text::{Body, Line, Payload};

use super::end::{Ends, Stream};
use super::{end, find, one, spoil};
use crate::script::Side;

#[derive(Clone, Debug)]
pub(super) struct Sip {
    opener: Side,
    way: Way,
    /// For each side: the last request that it has heard and not answered.
    asked: [Option<Vec<u8>>; 2],
    /// For each side: where it was told to send a stream, or to call.
    invited: Vec<(Side, SocketAddr)>,
    /// Streams, and calls that come to a registered contact.
    others: Vec<Ends>,
    /// The sequence number of the next request.
    cseq: u32,
    /// The port of the first stream.
    port: u16,
}

#[derive(Clone, Debug)]
enum Way {
    Udp(Ends),
    Tcp(Box<Stream>),
}

/// More streams than this are not opened.
const MAX_OTHERS: usize = 5;

impl Sip {
    pub fn new(opener: Side, (own, peer): (SocketAddr, SocketAddr), rng: &mut Rng) -> Self {
        let own = if rng.chance(0.6) { SocketAddr::new(own.ip(), 5_060) } else { own };
        let way = if rng.chance(0.7) {
            Way::Udp(Ends::new(opener, own, peer))
        } else {
            Way::Tcp(Box::new(Stream::new(opener, own, peer, rng)))
        };
        // Linux has one helper for UDP and one for TCP, and streams of both at the same port clash: not here.
        let base = if matches!(way, Way::Udp(_)) { 10_000 } else { 20_000 };
        let port = base + 2 * rng.below(2) as u16 + u16::from(rng.chance(0.1));
        Self { opener, way, asked: [None, None], invited: Vec::new(), others: Vec::new(), cseq: 1, port }
    }

    fn ends(&self) -> &Ends {
        match &self.way {
            Way::Udp(ends) => ends,
            Way::Tcp(stream) => &stream.ends,
        }
    }

    pub fn speak(&mut self, rng: &mut Rng) -> Option<(usize, Side, Line)> {
        if rng.chance(0.3)
            && let Some(said) = self.elsewhere(rng)
        {
            return Some(said);
        }
        if let Way::Tcp(stream) = &mut self.way
            && (!stream.is_open() || rng.chance(0.1))
        {
            return stream.shake(rng).map(|(side, line)| (0, side, line));
        }
        let answering =
            Side::ALL.into_iter().find(|side| self.asked[side.index()].is_some()).filter(|_| rng.chance(0.8));
        let (side, text) = match answering {
            Some(side) => (side, self.answer(side, rng)?),
            None => {
                let side = if rng.chance(0.8) { self.opener } else { self.opener.other() };
                (side, self.request(side, rng)?)
            }
        };
        let mut text = bent(text, rng).into_bytes();
        if rng.chance(0.02) {
            spoil(&mut text, rng);
        }
        match &mut self.way {
            Way::Udp(ends) => Some((0, side, ends.line(side, Body::Udp(Payload(text)), rng)?)),
            Way::Tcp(stream) => {
                let said = stream.rest(side, rng).or_else(|| stream.say(side, text, rng))?;
                Some((0, said.0, said.1))
            }
        }
    }

    /// A datagram of a stream, or a call to a contact.
    fn elsewhere(&mut self, rng: &mut Rng) -> Option<(usize, Side, Line)> {
        if self.others.len() < MAX_OTHERS && !self.invited.is_empty() && (self.others.is_empty() || rng.chance(0.4)) {
            let (side, mut to) = self.invited[rng.below(self.invited.len() as u64) as usize];
            let (own, _) = self.ends().of(side)?;
            if own.is_ipv4() != to.is_ipv4() {
                return None;
            }
            let port = if to.port() == 5_060 { 5_060 } else { self.port };
            if to.port() != 5_060 && rng.chance(0.3) {
                to.set_port(to.port() | 1);
            }
            self.others.push(Ends::new(side, end(own.ip(), port), to));
        }
        let at = rng.below(self.others.len().max(1) as u64) as usize;
        let ends = *self.others.get(at)?;
        let side = if ends.of(Side::In).is_some() && rng.chance(0.5) { Side::In } else { Side::Out };
        let (_, peer) = ends.of(side)?;
        let payload = if peer.port() == 5_060 { self.request(side, rng)?.into_bytes() } else { vec![0x80; 12] };
        Some((at + 1, side, ends.line(side, Body::Udp(Payload(payload)), rng)?))
    }

    pub fn hear(&mut self, connection: usize, side: Side, line: &Line) {
        if let Some(at) = connection.checked_sub(1) {
            if matches!(line.body, Body::Udp(_)) {
                self.others[at].hear(side, line);
            }
            return;
        }
        let text = match (&mut self.way, &line.body) {
            (Way::Udp(ends), Body::Udp(payload)) => {
                ends.hear(side, line);
                &payload.0[..]
            }
            (Way::Tcp(stream), Body::Tcp { .. }) => match stream.hear(side, line) {
                Some(text) => text,
                None => return,
            },
            (Way::Udp(_), _) | (Way::Tcp(_), _) => return,
        };
        if text.len() < 12 {
            return;
        }
        if let Some(stream) = described(text) {
            self.invited.push((side, stream));
        }
        if text.starts_with(b"REGISTER")
            && let Some(contact) = contact(text)
        {
            self.invited.push((side, contact));
        }
        if !text.starts_with(b"SIP/") && !text.starts_with(b"ACK") {
            self.asked[side.index()] = Some(text.to_vec());
        }
    }

    fn request(&mut self, side: Side, rng: &mut Rng) -> Option<String> {
        let (own, peer) = self.ends().of(side)?;
        let method = one(
            &[
                "INVITE", "INVITE", "INVITE", "REGISTER", "REGISTER", "ACK", "BYE", "UPDATE", "PRACK", "OPTIONS",
                "CANCEL",
            ],
            rng,
        );
        if !matches!(method, "ACK" | "PRACK") {
            self.cseq += 1;
        }
        let cseq = if rng.chance(0.9) { self.cseq } else { rng.below(5) as u32 };
        let transport = if matches!(self.way, Way::Udp(_)) { "UDP" } else { "TCP" };
        let place = self.place(own, peer, rng);
        let mut lines = vec![
            format!("{method} sip:bob@{peer} SIP/2.0"),
            format!(
                "Via: SIP/2.0/{transport} {place};branch=z9hG4bK{cseq}{}",
                one(&["", ";rport", ";maddr=10.0.0.10", ";rport=5060"], rng)
            ),
            format!("From: <sip:alice@{own}>;tag=1"),
            format!("To: <sip:bob@{}>", one(&[peer, own], rng)),
            format!("Call-ID: {cseq}@x"),
            format!("CSeq: {cseq} {method}"),
            format!("Contact: {}", self.contact_of(own, peer, rng)),
        ];
        if rng.chance(0.3) {
            lines.push(format!("Expires: {}", one(&["0", "60", "3600", "x"], rng)));
        }
        let has_streams = matches!(method, "INVITE" | "UPDATE" | "ACK" | "PRACK") && rng.chance(0.8);
        let description = if has_streams { self.description(own.ip(), peer.ip(), rng) } else { String::new() };
        Some(finished(lines, &description, rng))
    }

    fn answer(&mut self, side: Side, rng: &mut Rng) -> Option<String> {
        let (own, peer) = self.ends().of(side)?;
        let asked = if rng.chance(0.7) { self.asked[side.index()].take() } else { self.asked[side.index()].clone() }?;
        let asked = String::from_utf8_lossy(&asked).into_owned();
        let code = one(
            &["100 Trying", "180 Ringing", "183 Progress", "200 OK", "200 OK", "200 OK", "401 No", "486 Busy"],
            rng,
        );
        let mut lines = vec![format!("SIP/2.0 {code}")];
        let kept = ["Via:", "v:", "From:", "f:", "To:", "t:", "Call-ID:", "CSeq:"];
        lines.extend(
            asked.split("\r\n").filter(|line| kept.iter().any(|name| line.starts_with(name))).map(str::to_owned),
        );
        let is_register = asked.starts_with("REGISTER");
        let contact = asked.split("\r\n").find(|line| line.starts_with("Contact:"));
        match contact.filter(|_| is_register) {
            Some(contact) => lines.push(contact.to_owned()),
            None => lines.push(format!("Contact: {}", self.contact_of(own, peer, rng))),
        }
        if rng.chance(0.4) {
            lines.push(format!("Expires: {}", one(&["0", "60", "3600"], rng)));
        }
        let description =
            if !is_register && rng.chance(0.7) { self.description(own.ip(), peer.ip(), rng) } else { String::new() };
        Some(finished(lines, &description, rng))
    }

    /// Where it says that it is: mostly there.
    fn place(&self, own: SocketAddr, peer: SocketAddr, rng: &mut Rng) -> String {
        match rng.below(12) {
            0 => own.ip().to_string(),
            1 => end(own.ip(), 5_062).to_string(),
            2 => peer.to_string(),
            _ => own.to_string(),
        }
    }

    fn contact_of(&self, own: SocketAddr, peer: SocketAddr, rng: &mut Rng) -> String {
        let place = self.place(own, peer, rng);
        let more = one(&["", "", ";expires=120", ";transport=UDP", ";transport=tcp;expires=0", ";expires=y"], rng);
        match rng.below(8) {
            0 => format!("sip:{place}{more}"),
            1 => {
                format!("<sip:{place}>{more}{}", one(&[", <sip:bob@", ",<sip:", ", sip:"], rng))
                    + &self.place(own, peer, rng)
                    + ">"
            }
            2 => "*".to_owned(),
            3 => format!("\"Alice, A\" <sip:alice@{}:{}>{more}", own.ip(), one(&[80, 1_023, 70_000], rng)),
            _ => format!("<sip:alice@{place}>{more}"),
        }
    }

    fn description(&self, own: IpAddr, peer: IpAddr, rng: &mut Rng) -> String {
        let family = if own.is_ipv4() { "IP4" } else { "IP6" };
        let address = if rng.chance(0.93) { own } else { peer };
        let port = if rng.chance(0.9) { self.port } else { one(&[0, 80, 10_001, 65_534, 65_535], rng) };
        let mut text = format!("v=0\r\no=a 1 1 IN {family} {own}\r\ns=-\r\n");
        if rng.chance(0.9) {
            text += &format!("c=IN {family} {address}\r\n");
        }
        text += "t=0 0\r\n";
        text += &format!("m={} {port} RTP/AVP 0\r\n", one(&["audio", "audio", "audio", "video", "image", "text"], rng));
        if rng.chance(0.3) {
            text += &format!("c=IN {family} {}\r\n", one(&[own, peer], rng));
        }
        if rng.chance(0.3) {
            text += &format!("m=video {} RTP/AVP 31\r\n", u32::from(port) + one(&[0, 2, 10], rng));
        }
        text
    }
}

/// The message, with the length of its description.
fn finished(mut lines: Vec<String>, description: &str, rng: &mut Rng) -> String {
    if !description.is_empty() && rng.chance(0.9) {
        lines.push("Content-Type: application/sdp".to_owned());
    }
    if rng.chance(0.95) {
        let len = if rng.chance(0.97) { description.len() } else { description.len() + 1 };
        lines.push(format!("{} {len}", one(&["Content-Length:", "Content-Length:", "l:", "content-length :"], rng)));
    }
    lines.join("\r\n") + "\r\n\r\n" + description
}

/// A text that says the same in another way, now and then, or a line less.
fn bent(text: String, rng: &mut Rng) -> String {
    match rng.below(20) {
        0 => text.replace("Via:", "v:").replace("From:", "f:").replace("To:", "t:").replace("Contact:", "m:"),
        1 => text.replace(": ", ":\r\n "),
        2 => text.replace("CSeq:", "cseq  :\t"),
        3 => text.replace("\r\n", "\n"),
        4 => {
            let lines: Vec<&str> = text.split("\r\n").collect();
            let at = rng.below(lines.len() as u64) as usize;
            lines
                .iter()
                .enumerate()
                .filter(|(line, _)| *line != at)
                .map(|(_, line)| *line)
                .collect::<Vec<_>>()
                .join("\r\n")
        }
        _ => text,
    }
}

/// Where a description says that a stream goes.
fn described(text: &[u8]) -> Option<SocketAddr> {
    let text = core::str::from_utf8(text).ok()?;
    let connection = text.lines().find_map(|line| line.strip_prefix("c=IN IP").and_then(|rest| rest.get(2..)))?;
    let media = text.lines().find_map(|line| line.strip_prefix("m=").and_then(|rest| rest.split(' ').nth(1)))?;
    Some(end(connection.trim().parse().ok()?, media.parse().ok().filter(|port| *port != 0)?))
}

/// Where a contact says that calls go.
fn contact(text: &[u8]) -> Option<SocketAddr> {
    let from = find(text, b"Contact: <sip:alice@")? + b"Contact: <sip:alice@".len();
    let len = text[from..].iter().position(|&byte| byte == b'>')?;
    core::str::from_utf8(&text[from..from + len]).ok()?.parse().ok()
}
