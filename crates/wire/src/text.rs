//! Packets written down, one per line: what a person reads and a packet script contains.
//!
//! ```text
//! 10.0.0.1:51820 > 203.0.113.2:51820 udp 32
//! [fd00::1]:4000 > [fd00::2]:80 tcp S seq 1 ack 0 win 64240 (mss 1460, sackok, ts 1 0, nop, wscale 7) 0
//! 10.0.0.1:4000 > 203.0.113.2:21 tcp P. seq 1 ack 1 win 500 "PORT 10,0,0,1,4,1\r\n" ttl 3 badsum
//! 10.0.0.1 > 203.0.113.2 icmp echo-request id 7 seq 1 56
//! 203.0.113.1 > 10.0.0.1 icmp time-exceeded (10.0.0.1:51820 > 203.0.113.2:51820 udp 32) cut 28
//! 10.0.0.1:4000 > 203.0.113.2:80 sctp tag 0x0 (INIT tag 0x5 rwnd 65535 out 10 in 10 tsn 1)
//! 10.0.0.1 > 203.0.113.2 gre 0x3081 0x880b "\x00\x04\x00\x07" 4
//! 10.0.0.1 > 203.0.113.2 proto 17 1480 frag id 7 offset 1480 more
//! raw 45000014
//! ```
//!
//! After the protocol's own fields comes the payload, in pieces: a number is so many zeros, a text in quotes is its bytes
//! (`\r \n \t \" \\ \x00`). Then what is unusual about the IP header (`ttl tos id nodf label frag ipsum`) and the checksum
//! (`badsum`: one more than right; `nosum`: none; `sum 0x1234`). Usual is what Linux sends: a time to live of 64, not to be
//! fragmented, identification 0. TCP flags are tcpdump's letters; of what follows them anything may be left out, and is zero
//! then, the window 64240. Fragments are bytes of a protocol.
//!
//! [`Line`] is what such a line says: [`Line::of`] reads it from a packet, `Display` writes it, `FromStr` reads it back, and
//! [`Line::packet`] makes the packet. [`write()`] and [`read`] do the same for any bytes: what no line says exactly is `raw`.

mod gre;
mod icmp;
mod payload;
mod sctp;
mod tcp;
mod words;

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::str::FromStr;

use crate::build::Segment;
use crate::checksum::{self, Sum};
use crate::{Malformed, Protocol, ip, ipv4, ipv6, udp};

pub use gre::Gre;
pub use icmp::{Content, Message};
pub use payload::Payload;
pub use sctp::Chunk;
pub use tcp::TcpOption;
pub use words::LineError;
use words::Words;

/// The time to live that is not worth writing down: what Linux sends with.
const USUAL_TTL: u8 = 64;
/// The longest packet there is, so the longest payload that a line may ask for.
const MAX_LEN: usize = 65_535;
/// How deep packets may be quoted in one another. Errors are never sent about errors (RFC 1122 §3.2.2), so one is honest.
const MAX_QUOTES: usize = 3;

/// What a line says about a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Who sent it. The port is zero where the protocol has none.
    pub src: SocketAddr,
    /// To whom.
    pub dst: SocketAddr,
    /// What it carries.
    pub body: Body,
    /// The checksum of what it carries.
    pub checksum: Checksum,
    /// Its IP header.
    pub ip: Ip,
}

/// What is carried, by protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// UDP.
    Udp(Payload),
    /// TCP.
    Tcp {
        /// The header.
        segment: Segment,
        /// The urgent pointer.
        urgent: u16,
        /// The options, without the padding behind them.
        options: Vec<TcpOption>,
        /// What it carries.
        payload: Payload,
    },
    /// ICMP or ICMPv6, as the family says.
    Icmp(Message),
    /// GRE.
    Gre(Gre),
    /// SCTP.
    Sctp {
        /// The verification tag.
        tag: u32,
        /// Its chunks.
        chunks: Vec<Chunk>,
    },
    /// Anything else, as bytes; fragments are always so.
    Other {
        /// The protocol.
        protocol: Protocol,
        /// What follows the IP header.
        payload: Payload,
    },
}

/// The checksum of what an IP packet carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// As it should be, or there is none to be had.
    #[default]
    Right,
    /// Zero, which says that there is none (UDP).
    None,
    /// One more than it should be, which it still is after a translation.
    Bad,
    /// This one.
    Is(u16),
}

/// What is unusual about an IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Time to live or hop limit.
    pub ttl: u8,
    /// The DSCP and ECN octet.
    pub tos: u8,
    /// IPv4's identification, of a packet that is no fragment.
    pub id: u16,
    /// Whether routers may not fragment it (IPv4).
    pub dont_fragment: bool,
    /// The flow label (IPv6).
    pub label: u32,
    /// Which piece it is, if it is a fragment.
    pub fragment: Option<ipv6::Fragment>,
    /// The header checksum, if it is not right (IPv4).
    pub wrong_checksum: Option<u16>,
}

impl Default for Ip {
    fn default() -> Self {
        Self { ttl: USUAL_TTL, tos: 0, id: 0, dont_fragment: true, label: 0, fragment: None, wrong_checksum: None }
    }
}

/// The bytes as a line that [`read`] turns into the same bytes.
pub fn write(packet: &[u8]) -> String {
    let exact = |line: &Line| line.packet().as_deref() == Some(packet);
    let lenient = || Line::read(packet, Depth::Opaque).ok();
    match Line::of(packet).ok().filter(exact).or_else(|| lenient().filter(exact)) {
        Some(line) => line.to_string(),
        None => packet.iter().fold("raw ".to_owned(), |text, byte| format!("{text}{byte:02x}")),
    }
}

/// The packet that a line says, `raw` included.
///
/// # Errors
/// Which word was expected and what was found.
pub fn read(text: &str) -> Result<Vec<u8>, LineError> {
    if let Some(digits) = text.trim().strip_prefix("raw").filter(|rest| rest.is_empty() || rest.starts_with(' ')) {
        let wrong = || LineError::new("an even number of hexadecimal digits", digits);
        let pairs = digits.trim().as_bytes().chunks(2);
        let byte = |pair: &[u8]| match pair {
            [high, low] if pair.iter().all(u8::is_ascii_hexdigit) => {
                let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or(0) as u8;
                Ok(digit(*high) << 4 | digit(*low))
            }
            _ => Err(wrong()),
        };
        return pairs.map(byte).collect();
    }
    let line: Line = text.parse()?;
    line.packet().ok_or_else(|| LineError::new("a packet that IP allows", text))
}

/// How far a packet is understood.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// With this many quotes in one another.
    Quotes(usize),
    /// Not beyond the IP header.
    Opaque,
}

impl Line {
    /// A line about a packet with a usual header.
    pub fn new(src: SocketAddr, dst: SocketAddr, body: Body) -> Self {
        Self { src, dst, body, checksum: Checksum::Right, ip: Ip::default() }
    }

    /// What is to be said about an IP packet.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn of(packet: &[u8]) -> Result<Self, Malformed> {
        Self::read(packet, Depth::Quotes(MAX_QUOTES))
    }

    /// What it carries.
    pub fn protocol(&self) -> Protocol {
        match &self.body {
            Body::Udp(_) => Protocol::Udp,
            Body::Tcp { .. } => Protocol::Tcp,
            Body::Icmp(_) if self.src.is_ipv4() => Protocol::Icmp,
            Body::Icmp(_) => Protocol::Icmpv6,
            Body::Gre(_) => Protocol::Other(gre::PROTOCOL),
            Body::Sctp { .. } => Protocol::Other(sctp::PROTOCOL),
            Body::Other { protocol, .. } => *protocol,
        }
    }

    /// Source and destination, to be changed.
    pub fn ends_mut(&mut self) -> (&mut SocketAddr, &mut SocketAddr) {
        (&mut self.src, &mut self.dst)
    }

    fn read(packet: &[u8], depth: Depth) -> Result<Self, Malformed> {
        let view = ip::Packet::new_checked(packet)?;
        let upper = view.upper()?;
        let bytes = &packet[upper.offset..upper.end];
        let (src, dst) = (view.src(), view.dst());
        let is_whole = !view.is_fragment();
        let (body, ports, checksum) = match (upper.protocol, depth) {
            (Protocol::Udp, Depth::Quotes(_)) if is_whole => read_udp(bytes, src, dst)?,
            (Protocol::Tcp, Depth::Quotes(_)) if is_whole => tcp::read(bytes, src, dst)?,
            (protocol @ (Protocol::Icmp | Protocol::Icmpv6), Depth::Quotes(quotes))
                if is_whole && (protocol == Protocol::Icmp) == src.is_ipv4() =>
            {
                let (message, checksum) = icmp::read(bytes, src, dst, quotes)?;
                (Body::Icmp(message), (0, 0), checksum)
            }
            (Protocol::Other(gre::PROTOCOL), Depth::Quotes(_)) if is_whole && bytes.len() >= gre::HEADER_LEN => {
                (Body::Gre(Gre::read(bytes)), (0, 0), Checksum::Right)
            }
            (Protocol::Other(sctp::PROTOCOL), Depth::Quotes(_)) if is_whole && bytes.len() >= sctp::HEADER_LEN => {
                sctp::read(bytes)
            }
            (protocol, _) => (Body::Other { protocol, payload: bytes.into() }, (0, 0), Checksum::Right),
        };
        let ip = read_ip(&view);
        Ok(Self { src: SocketAddr::new(src, ports.0), dst: SocketAddr::new(dst, ports.1), body, checksum, ip })
    }

    /// The packet of which the line is true; `None` if there is none, as for addresses of two families or too much payload.
    pub fn packet(&self) -> Option<Vec<u8>> {
        let (src, dst) = (self.src.ip(), self.dst.ip());
        let mut body = match &self.body {
            Body::Udp(payload) => {
                let mut bytes = vec![0; udp::HEADER_LEN];
                bytes.extend_from_slice(payload);
                udp::Packet::init(&mut bytes, self.src.port(), self.dst.port()).ok()?;
                bytes
            }
            Body::Tcp { segment, urgent, options, payload } => {
                tcp::write(self.src.port(), self.dst.port(), segment, *urgent, options, payload)?
            }
            Body::Icmp(message) => message.bytes()?,
            Body::Gre(gre) => gre.bytes(),
            Body::Sctp { tag, chunks } => sctp::write(self.src.port(), self.dst.port(), *tag, chunks)?,
            Body::Other { payload, .. } => payload.to_vec(),
        };
        if body.len() > MAX_LEN {
            return None;
        }
        self.fill_checksum(&mut body, src, dst);
        write_ip(&self.ip, src, dst, self.protocol(), &body)
    }

    fn fill_checksum(&self, body: &mut [u8], src: IpAddr, dst: IpAddr) {
        let Some(at) = checksum_at(&self.body) else { return };
        let right = right_checksum(body, at, src, dst, self.protocol());
        let value = match self.checksum {
            Checksum::Right => right,
            Checksum::None => 0,
            Checksum::Bad => bad(right),
            Checksum::Is(value) => value,
        };
        body[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }
}

/// Where the Internet checksum of a body stands, if it has one.
const fn checksum_at(body: &Body) -> Option<usize> {
    match body {
        Body::Udp(_) => Some(udp::CHECKSUM),
        Body::Tcp { .. } => Some(crate::tcp::CHECKSUM),
        Body::Icmp(_) => Some(crate::icmp::CHECKSUM),
        Body::Gre(_) | Body::Sctp { .. } | Body::Other { .. } => None,
    }
}

/// The checksum that a body should have.
fn right_checksum(body: &[u8], at: usize, src: IpAddr, dst: IpAddr, protocol: Protocol) -> u16 {
    let start = match protocol {
        Protocol::Icmp => Sum::new(),
        Protocol::Tcp | Protocol::Udp | Protocol::Icmpv6 | Protocol::Other(_) => {
            Sum::pseudo_header(src, dst, protocol, body.len())
        }
    };
    let sum = start.bytes(&body[..at]).bytes(&body[at + 2..]).finish();
    if sum == 0 && protocol == Protocol::Udp { 0xffff } else { sum }
}

/// One more, in one's complement: what a translation adds to a right checksum it adds to this as well.
const fn bad(right: u16) -> u16 {
    checksum::adjust(right, 1, 0)
}

/// What is to be said of the checksum at `at`.
fn read_checksum(body: &[u8], at: usize, src: IpAddr, dst: IpAddr, protocol: Protocol) -> Checksum {
    let is = u16::from_be_bytes([body[at], body[at + 1]]);
    let right = right_checksum(body, at, src, dst, protocol);
    match is {
        _ if is == right => Checksum::Right,
        0 if protocol == Protocol::Udp => Checksum::None,
        _ if is == bad(right) => Checksum::Bad,
        _ => Checksum::Is(is),
    }
}

type Read = (Body, (u16, u16), Checksum);

fn read_udp(bytes: &[u8], src: IpAddr, dst: IpAddr) -> Result<Read, Malformed> {
    let udp = udp::Packet::new_checked(bytes)?;
    let checksum = read_checksum(&bytes[..udp.total_len()], udp::CHECKSUM, src, dst, Protocol::Udp);
    Ok((Body::Udp(udp.payload().into()), (udp.src_port(), udp.dst_port()), checksum))
}

fn read_ip(view: &ip::Packet<&[u8]>) -> Ip {
    match view {
        ip::Packet::V4(packet) => {
            let fragment = view.is_fragment().then(|| ipv6::Fragment {
                identification: packet.identification().into(),
                offset: packet.fragment_offset(),
                more: packet.more_fragments(),
            });
            Ip {
                ttl: packet.ttl(),
                tos: packet.traffic_class(),
                id: if fragment.is_some() { 0 } else { packet.identification() },
                dont_fragment: packet.dont_fragment(),
                label: 0,
                fragment,
                wrong_checksum: (!packet.verify_checksum()).then(|| packet.checksum()),
            }
        }
        ip::Packet::V6(packet) => {
            let fragment = packet.upper_layer().ok().and_then(|upper| upper.fragment);
            Ip {
                ttl: packet.hop_limit(),
                tos: packet.traffic_class(),
                dont_fragment: fragment.is_none(),
                label: packet.flow_label(),
                fragment,
                ..Ip::default()
            }
        }
    }
}

fn write_ip(ip: &Ip, src: IpAddr, dst: IpAddr, protocol: Protocol, body: &[u8]) -> Option<Vec<u8>> {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut bytes = vec![0; ipv4::HEADER_LEN];
            bytes.extend_from_slice(body);
            let mut packet = ipv4::Packet::init(&mut bytes, src, dst, protocol, ip.ttl).ok()?;
            packet.set_traffic_class(ip.tos);
            packet.set_dont_fragment(ip.dont_fragment);
            packet.set_identification(ip.id);
            if let Some(fragment) = ip.fragment {
                packet.set_identification(fragment.identification as u16);
                packet.set_fragment(fragment.offset, fragment.more);
            }
            packet.fill_checksum();
            if let Some(wrong) = ip.wrong_checksum {
                packet.set_checksum(wrong);
            }
            Some(bytes)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let header = ip.fragment.map(|fragment| {
                let [a, b, c, d] = fragment.identification.to_be_bytes();
                let [high, low] = (fragment.offset as u16 & 0xfff8 | u16::from(fragment.more)).to_be_bytes();
                [protocol.into(), 0, high, low, a, b, c, d]
            });
            let first = if header.is_some() { Protocol::Other(FRAGMENT) } else { protocol };
            let mut bytes = vec![0; ipv6::HEADER_LEN];
            bytes.extend_from_slice(header.as_ref().map_or(&[], |header| header.as_slice()));
            bytes.extend_from_slice(body);
            let mut packet = ipv6::Packet::init(&mut bytes, src, dst, first, ip.ttl).ok()?;
            packet.set_traffic_class(ip.tos);
            packet.set_flow_label(ip.label);
            Some(bytes)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

/// The fragment header's number (RFC 8200 §4.5).
const FRAGMENT: u8 = 44;

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (src, dst) = (self.src, self.dst);
        match &self.body {
            Body::Udp(payload) => write!(f, "{src} > {dst} udp {payload}")?,
            Body::Tcp { segment, urgent, options, payload } => {
                write!(f, "{src} > {dst} tcp ")?;
                tcp::show(f, segment, *urgent, options)?;
                write!(f, " {payload}")?;
            }
            Body::Icmp(message) => {
                write!(f, "{} > {} {} ", src.ip(), dst.ip(), self.protocol())?;
                message.show(f, self.protocol())?;
            }
            Body::Gre(gre) => write!(f, "{} > {} gre {gre}", src.ip(), dst.ip())?,
            Body::Sctp { tag, chunks } => {
                write!(f, "{src} > {dst} sctp tag {tag:#x}")?;
                chunks.iter().try_for_each(|chunk| write!(f, " ({chunk})"))?;
            }
            Body::Other { protocol, payload } => {
                write!(f, "{} > {} proto {} {payload}", src.ip(), dst.ip(), u8::from(*protocol))?;
            }
        }
        match self.checksum {
            Checksum::Right => {}
            Checksum::None => f.write_str(" nosum")?,
            Checksum::Bad => f.write_str(" badsum")?,
            Checksum::Is(value) => write!(f, " sum {value:#06x}")?,
        }
        self.ip.fmt(f)
    }
}

impl fmt::Display for Ip {
    /// Each field that is not usual, with a space before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fragment) = self.fragment {
            let more = if fragment.more { " more" } else { "" };
            write!(f, " frag id {} offset {}{more}", fragment.identification, fragment.offset)?;
        }
        if self.id != 0 {
            write!(f, " id {}", self.id)?;
        }
        // A fragment that may not be fragmented is what is unusual.
        match (self.dont_fragment, self.fragment.is_some()) {
            (false, false) => f.write_str(" nodf")?,
            (true, true) => f.write_str(" df")?,
            (true, false) | (false, true) => {}
        }
        if self.tos != 0 {
            write!(f, " tos {:#x}", self.tos)?;
        }
        if self.label != 0 {
            write!(f, " label {:#x}", self.label)?;
        }
        if let Some(wrong) = self.wrong_checksum {
            write!(f, " ipsum {wrong:#06x}")?;
        }
        if self.ttl != USUAL_TTL {
            write!(f, " ttl {}", self.ttl)?;
        }
        Ok(())
    }
}

impl FromStr for Line {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        let mut words = Words::of(text);
        let line = Self::parse(&mut words, MAX_QUOTES)?;
        match words.next() {
            None => Ok(line),
            Some(more) => Err(LineError::new("the end of the line", more)),
        }
    }
}

impl Line {
    /// Reads a line up to its end or the parenthesis that closes it.
    fn parse(words: &mut Words<'_>, quotes: usize) -> Result<Self, LineError> {
        let src = words.end()?;
        words.literal(">")?;
        let dst = words.end()?;
        if src.is_ipv4() != dst.is_ipv4() {
            return Err(LineError::new("two addresses of one family", &dst.ip().to_string()));
        }
        let expected = "udp, tcp, icmp, icmp6, gre, sctp or proto";
        let word = words.expect(expected)?;
        let body = match word {
            "udp" => Body::Udp(words.payload()?),
            "tcp" => tcp::parse(words)?,
            "icmp" | "icmp6" if (word == "icmp") == src.is_ipv4() => {
                let protocol = if src.is_ipv4() { Protocol::Icmp } else { Protocol::Icmpv6 };
                Body::Icmp(Message::parse(words, protocol, quotes)?)
            }
            "icmp" | "icmp6" => return Err(LineError::new("icmp over IPv4 or icmp6 over IPv6", word)),
            "gre" => Body::Gre(Gre::parse(words)?),
            "sctp" => sctp::parse(words)?,
            "proto" => {
                let protocol: u8 = words.number("a protocol number")?;
                Body::Other { protocol: protocol.into(), payload: words.payload()? }
            }
            other => return Err(LineError::new(expected, other)),
        };
        let (mut ip, mut checksum) = (Ip::default(), Checksum::Right);
        let mut fragment_bit = None;
        while let Some(word) = words.peek().filter(|word| *word != ")") {
            match word {
                "ttl" => ip.ttl = words.field("ttl", "a time to live")?,
                "tos" => ip.tos = words.field("tos", "a number")?,
                "id" => ip.id = words.field("id", "a number")?,
                "label" => ip.label = words.field::<u32>("label", "a number")? & 0x000f_ffff,
                "ipsum" => ip.wrong_checksum = Some(words.field("ipsum", "a number")?),
                "sum" => checksum = Checksum::Is(words.field("sum", "a number")?),
                "badsum" | "nosum" | "nodf" | "df" => {
                    words.next();
                    match word {
                        "badsum" => checksum = Checksum::Bad,
                        "nosum" => checksum = Checksum::None,
                        word => fragment_bit = Some(word == "df"),
                    }
                }
                "frag" => {
                    words.next();
                    let identification = words.field("id", "a number")?;
                    let offset: u16 = words.field("offset", "a multiple of 8")?;
                    let more = words.peek() == Some("more");
                    if more {
                        words.next();
                    }
                    let offset = usize::from(offset & 0xfff8);
                    ip.fragment = Some(ipv6::Fragment { identification, offset, more });
                }
                other => return Err(LineError::new("ttl or the end of the line", other)),
            }
        }
        ip.dont_fragment = fragment_bit.unwrap_or(ip.fragment.is_none());
        Ok(Self { src, dst, body, checksum, ip })
    }
}

#[cfg(test)]
mod tests;
