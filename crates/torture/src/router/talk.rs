//! Conversations that helpers listen to: a client and a server that know what the other one sees of them.

use core::net::SocketAddr;

use pinhole_netfilter::InterfaceId;
use pinhole_wire::text::{Body, Line};

use super::make::{end, line, quoted};
use super::places::{FAR, FAR2, LAN, LAN2, WAN};
use crate::Choices;

/// A TCP connection, or datagrams between two ports.
#[derive(Clone, Debug)]
pub(super) struct Talk {
    pub(super) is_tcp: bool,
    /// Client and server: by which interface each is reached, its own end, and the other's as it sees it.
    pub(super) sides: [Side; 2],
}

/// One end of a conversation.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) by: InterfaceId,
    pub(super) own: SocketAddr,
    pub(super) other: SocketAddr,
    /// The next sequence number.
    pub(super) seq: u32,
    /// What is expected next of the other side.
    pub(super) ack: u32,
}

/// Ports of control connections: TCP's, then UDP's.
const CONTROL: [(u16, bool); 7] =
    [(21, true), (6_667, true), (1_723, true), (5_060, true), (69, false), (5_060, false), (21, true)];

impl Talk {
    /// One that begins; the client is inside or outside.
    pub(super) fn begin(choices: &mut Choices<'_>, family: usize, sides: [InterfaceId; 3]) -> Self {
        let (port, is_tcp) = *choices.one_of(&CONTROL);
        let from = *choices.one_of(&[40_000, 40_001]);
        let address = |text: &str, port: u16| -> SocketAddr { end(text, port).parse().expect("an address") };
        let ([client, server], by) = match choices.below(4) {
            0..3 => ([choices.one_of(&[LAN, LAN2]), choices.one_of(&[FAR, FAR2])], [sides[0], sides[1]]),
            _ => ([&FAR, choices.one_of(&[WAN, LAN])], [sides[1], sides[0]]),
        };
        let (client, server) = (address(client[family], from), address(server[family], port));
        let seq = *choices.one_of(&[1_000, u32::MAX - 5]);
        let side = |by, own, other, seq| Side { by, own, other, seq, ack: 0 };
        Self { is_tcp, sides: [side(by[0], client, server, seq), side(by[1], server, client, 9_000)] }
    }

    /// A packet of one side, and the interface that it comes by.
    pub(super) fn packet(&self, side: usize, flags: &str, payload: &[u8]) -> (InterfaceId, Vec<u8>) {
        let Side { by, own, other, seq, ack } = self.sides[side];
        let payload = quoted(payload);
        let text = match self.is_tcp {
            true => format!("{own} > {other} tcp {flags} seq {seq} ack {ack} win 64000 {payload}"),
            false => format!("{own} > {other} udp {payload}"),
        };
        (by, line(&text))
    }

    /// A few packets in a row from the side that is behind an interface, if one is.
    pub(super) fn burst(&mut self, choices: &mut Choices<'_>, by: InterfaceId) -> Vec<Vec<u8>> {
        let Some(side) = self.sides.iter().position(|side| side.by == by) else { return Vec::new() };
        let mut packets = Vec::new();
        for _ in 0..1 + choices.below(8) {
            let payload = if choices.rarely(4) { self.text(choices, side) } else { b"data".to_vec() };
            packets.push(self.packet(side, "P.", &payload).1);
            let length = payload.len() as u32;
            self.sides[side].seq = self.sides[side].seq.wrapping_add(length);
            self.sides[1 - side].ack = self.sides[1 - side].ack.wrapping_add(length);
        }
        packets
    }

    /// The packet has come out at the other side: what it is there, is what it answers.
    pub(super) fn arrived(&mut self, from: usize, by: InterfaceId, length: usize, flags: &str, packet: &[u8]) {
        let occupied = length as u32 + u32::from(flags.contains('S')) + u32::from(flags.contains('F'));
        self.sides[from].seq = self.sides[from].seq.wrapping_add(occupied);
        let Ok(said) = Line::of(packet) else { return };
        let there = &mut self.sides[1 - from];
        (there.by, there.own, there.other) = (by, said.dst, said.src);
        if let Body::Tcp { segment, payload, .. } = said.body {
            let occupied = payload.len() as u32 + occupied - length as u32;
            there.ack = segment.seq.wrapping_add(occupied);
        }
    }

    /// Something that a helper may take for its own.
    pub(super) fn text(&self, choices: &mut Choices<'_>, side: usize) -> Vec<u8> {
        let Side { own, other, .. } = &self.sides[side];
        let (own, other) = (if choices.rarely(6) { other } else { own }, other);
        let port = *choices.one_of(&[own.port(), 5_000, 0, 1, 65_535, 40_000, 999]);
        let mut text = match other.port().min(own.port()) {
            21 => ftp(choices, own, port),
            6_667 => irc(choices, own, port),
            1_723 => pptp(choices),
            69 => b"\0\x01file\0octet\0".to_vec(),
            _ => sip(choices, own, other, port),
        };
        if choices.rarely(4) && !text.is_empty() {
            let at = choices.below(text.len());
            text[at] = choices.byte();
        }
        if choices.rarely(10) {
            text.truncate(choices.below(text.len() + 1));
        }
        text
    }
}

fn ftp(choices: &mut Choices<'_>, own: &SocketAddr, port: u16) -> Vec<u8> {
    let (host, [high, low]) = (own.ip().to_string(), port.to_be_bytes());
    let commas = host.replace('.', ",");
    let family = if own.is_ipv4() { 1 } else { 2 };
    let text = match choices.below(9) {
        0 => format!("PORT {commas},{high},{low}\r\n"),
        1 => format!("EPRT |{family}|{host}|{port}|\r\n"),
        2 => format!("227 Entering Passive Mode ({commas},{high},{low}).\r\n"),
        3 => format!("229 Entering Extended Passive Mode (|||{port}|)\r\n"),
        4 => format!("227 {commas},{high},{low}\r\n"),
        5 => format!("PORT {commas},{high}"),
        6 => "USER anonymous\r\n".into(),
        7 => "PASV\r\nEPSV\r\n".into(),
        _ => format!("eprt !{family}!{host}!{port}!\r\n220 x\r\n"),
    };
    text.into_bytes()
}

fn irc(choices: &mut Choices<'_>, own: &SocketAddr, port: u16) -> Vec<u8> {
    let number = match own.ip() {
        core::net::IpAddr::V4(v4) => v4.to_bits(),
        core::net::IpAddr::V6(_) => 0x0a00_0001,
    };
    let kind = choices.one_of(&["SEND file", "CHAT x", "MOVE f", "RSEND y"]);
    format!("PRIVMSG bob :\x01DCC {kind} {number} {port} 100\x01\r\n").into_bytes()
}

fn pptp(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut message = vec![0, 156, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d, 0, choices.below(17) as u8, 0, 0];
    message.extend_from_slice(&[0, choices.below(4) as u8, 0, choices.below(4) as u8, 1]);
    message.resize(12 + 208, 0);
    if message[9] == 2 {
        message[14] = 1;
    }
    message
}

fn sip(choices: &mut Choices<'_>, own: &SocketAddr, other: &SocketAddr, port: u16) -> Vec<u8> {
    let (host, family) = (own.ip(), if own.is_ipv4() { 4 } else { 6 });
    let first = choices.one_of(&["INVITE", "INVITE", "REGISTER", "BYE", "ACK", "PRACK", "UPDATE", "CANCEL"]);
    let start = match choices.below(5) {
        0 => "SIP/2.0 200 OK".to_owned(),
        1 => "SIP/2.0 183 Session Progress".to_owned(),
        2 => "SIP/2.0 486 Busy Here".to_owned(),
        _ => format!("{first} sip:you@{other} SIP/2.0"),
    };
    let media = choices.one_of(&["audio", "video", "image"]);
    let mut body = format!("v=0\r\no=me 1 1 IN IP{family} {host}\r\ns=-\r\nc=IN IP{family} {host}\r\nt=0 0\r\n");
    for _ in 0..choices.below(3) {
        body += &format!("m={media} {port} RTP/AVP 0\r\n");
    }
    let expires = choices.one_of(&["3600", "0", "60"]);
    let length = if choices.rarely(4) { 3 } else { body.len() };
    format!(
        "{start}\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK1;rport\r\nFrom: <sip:me@{host}>;tag=1\r\n\
         To: <sip:you@{other}>\r\nCSeq: 1 {first}\r\nContact: <sip:me@{own}>;expires={expires}\r\n\
         Expires: {expires}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
