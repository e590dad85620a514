//! An FTP session: what clients and servers say, and connections to where they say.

use core::net::{IpAddr, SocketAddr};

use pinhole_sansio::Rng;
use pinhole_wire::text::Line;

use super::data::Data;
use super::end::{Ends, Stream};
use super::{digits, end, find, one, spoil};
use crate::script::Side;

#[derive(Clone, Debug)]
pub(super) struct Ftp {
    client: Side,
    control: Stream,
    data: Data,
}

impl Ftp {
    pub fn new(client: Side, (own, peer): (SocketAddr, SocketAddr), rng: &mut Rng) -> Self {
        Self { client, control: Stream::new(client, own, peer, rng), data: Data::default() }
    }

    pub fn speak(&mut self, rng: &mut Rng) -> Option<(usize, Side, Line)> {
        let hosts = own_hosts(&self.control.ends);
        if rng.chance(0.3)
            && let Some((at, side, line)) = self.data.speak(hosts, 20, rng)
        {
            return Some((at + 1, side, line));
        }
        let control = |(side, line)| (0, side, line);
        if !self.control.is_open() || rng.chance(0.15) {
            return self.control.shake(rng).map(control);
        }
        let side = if rng.chance(0.5) { self.client } else { self.client.other() };
        if let Some(rest) = self.control.rest(side, rng) {
            return Some(control(rest));
        }
        let mut text = self.text(side, rng);
        if rng.chance(0.1) {
            text.extend(self.text(side, rng));
        }
        if rng.chance(0.05) {
            spoil(&mut text, rng);
        }
        self.control.say(side, text, rng).map(control)
    }

    pub fn hear(&mut self, connection: usize, side: Side, line: &Line) {
        if let Some(at) = connection.checked_sub(1) {
            return self.data.hear(at, side, line);
        }
        let Some(text) = self.control.hear(side, line) else { return };
        let peer = self.control.ends.of(side).map(|(_, peer)| peer.ip());
        if let Some(to) = peer.and_then(|peer| announced(text, peer)) {
            self.data.invite(side, to);
        }
    }

    /// A line of a side: often one that announces a port.
    fn text(&self, side: Side, rng: &mut Rng) -> Vec<u8> {
        let is_client = side == self.client;
        let Some((own, peer)) = self.control.ends.of(side) else { return b"NOOP\r\n".to_vec() };
        let address = if rng.chance(0.93) { own.ip() } else { peer.ip() };
        let port = match rng.below(20) {
            0 => one(&[0, 20, 65_535, 65_534], rng),
            // The higher octet is more than 255 when it is written.
            1..=16 => 5_000 + rng.below(3) as u16,
            _ => rng.next_u64() as u16,
        };
        let [high, low] = port.to_be_bytes();
        let commas = match address {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                format!("{a},{b},{c},{d},{high},{low}")
            }
            IpAddr::V6(_) => format!("10,0,0,1,{high},{low}"),
        };
        let family = if address.is_ipv4() { 1 } else { 2 };
        let bar = one(&['|', '|', '|', '!', '-', '1', ' '], rng);
        let end = one(&["\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", ""], rng);
        let text = match (is_client, rng.below(16)) {
            (true, 0..=4) => format!("PORT {commas}{end}"),
            (true, 5..=7) => format!("EPRT {bar}{family}{bar}{address}{bar}{port}{bar}{end}"),
            (true, 8) => format!("PORT  {commas}{end}"),
            (true, 9) => format!("EPRT |{}|{address}|{}|{end}", 3 - family, u32::from(port) + 65_536),
            (true, 10) => format!("PORT 10,0,0,{},{},{}{end}", rng.below(400), rng.below(400), rng.below(70_000)),
            (true, 11) => format!("port 0{commas}{end}"),
            (true, _) => format!("{}{end}", one(&["USER x", "PASV", "EPSV", "RETR y", "NOOP", "POR", "EPRT"], rng)),
            (false, 0..=3) => format!("227 Entering Passive Mode ({commas}).{end}"),
            (false, 4) => format!("227 {commas}{end}"),
            (false, 5 | 6) => format!("229 Entering Extended Passive Mode ({bar}{bar}{bar}{port}{bar}){end}"),
            (false, 7) => format!("229 (|||{}|){end}", u32::from(port) + 65_536 * rng.below(2) as u32),
            (false, 8) => format!("227 =10,0,0,{},{},{}{end}", rng.below(400), rng.below(400), rng.below(70_000)),
            (false, _) => format!("{}{end}", one(&["220 x", "227", "229", "200 y", "227 no", "229 no", "150 z"], rng)),
        };
        text.into_bytes()
    }
}

/// The hosts that speak, as each sees itself.
pub(super) fn own_hosts(ends: &Ends) -> [Option<IpAddr>; 2] {
    Side::ALL.map(|side| ends.of(side).map(|(own, _)| own.ip()))
}

/// Where an honest host goes that reads this.
fn announced(text: &[u8], peer: IpAddr) -> Option<SocketAddr> {
    let six = |from: usize| {
        let mut rest = text.get(from..)?;
        let mut numbers = [0; 6];
        for number in &mut numbers {
            let (value, behind) = digits(rest)?;
            *number = value as u8;
            rest = behind.get(1..).unwrap_or_default();
        }
        let [a, b, c, d, high, low] = numbers;
        Some(end(IpAddr::from([a, b, c, d]), u16::from_be_bytes([high, low])))
    };
    let first_digit = |from: usize| Some(from + text.get(from..)?.iter().position(u8::is_ascii_digit)?);
    if text.starts_with(b"PORT ") {
        return six(first_digit(5)?);
    }
    if text.starts_with(b"227 ") {
        return six(first_digit(4)?);
    }
    if text.starts_with(b"EPRT |") {
        let line = core::str::from_utf8(text).ok()?;
        let mut parts = line.split('|').skip(2);
        let address = parts.next()?.parse().ok()?;
        return Some(end(address, parts.next()?.parse().ok()?));
    }
    let bars = find(text, b"|||").filter(|_| text.starts_with(b"229 "))?;
    let (port, _) = digits(&text[bars + 3..])?;
    Some(end(peer, port as u16))
}
