//! An IRC client that offers files, and others who come for them.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use pinhole_sansio::Rng;
use pinhole_wire::text::Line;

use super::data::Data;
use super::end::Stream;
use super::ftp::own_hosts;
use super::{digits, end, find, one, spoil};
use crate::script::Side;

#[derive(Clone, Debug)]
pub(super) struct Irc {
    client: Side,
    control: Stream,
    data: Data,
}

impl Irc {
    pub fn new(client: Side, (own, peer): (SocketAddr, SocketAddr), rng: &mut Rng) -> Self {
        Self { client, control: Stream::new(client, own, peer, rng), data: Data::default() }
    }

    pub fn speak(&mut self, rng: &mut Rng) -> Option<(usize, Side, Line)> {
        let hosts = own_hosts(&self.control.ends);
        if rng.chance(0.3)
            && let Some((at, side, line)) = self.data.speak(hosts, 6_668, rng)
        {
            return Some((at + 1, side, line));
        }
        let control = |(side, line)| (0, side, line);
        if !self.control.is_open() || rng.chance(0.15) {
            return self.control.shake(rng).map(control);
        }
        let side = if rng.chance(0.8) { self.client } else { self.client.other() };
        if let Some(rest) = self.control.rest(side, rng) {
            return Some(control(rest));
        }
        let mut text = self.text(side, rng);
        if rng.chance(0.1) {
            text.extend(self.text(side, rng));
        }
        if rng.chance(0.1) {
            spoil(&mut text, rng);
        }
        self.control.say(side, text, rng).map(control)
    }

    pub fn hear(&mut self, connection: usize, side: Side, line: &Line) {
        if let Some(at) = connection.checked_sub(1) {
            return self.data.hear(at, side, line);
        }
        let Some(text) = self.control.hear(side, line) else { return };
        if let Some(to) = offered(text) {
            self.data.invite(side, to);
        }
    }

    fn text(&self, side: Side, rng: &mut Rng) -> Vec<u8> {
        let ends = self.control.ends.of(side);
        let Some((IpAddr::V4(own), IpAddr::V4(peer))) = ends.map(|(own, peer)| (own.ip(), peer.ip())) else {
            return b"PING\r\n".to_vec();
        };
        let number = u32::from(if rng.chance(0.9) { own } else { peer });
        let port = if rng.chance(0.9) { 6_000 + rng.below(3) } else { one(&[0, 1, 65_535, 70_000], rng) };
        let offer = one(&["SEND", "CHAT", "MOVE", "TSEND", "SCHAT", "send", "XSEND"], rng);
        let end = one(&["\r\n", "\r\n", "\n", ""], rng);
        let text = match rng.below(12) {
            0..=5 => format!("PRIVMSG bob :\x01DCC {offer} file {number} {port} 1234\x01{end}"),
            6 => format!("PRIVMSG bob :\x01DCC {offer} file  {number}  {port}\x01{end}"),
            7 => format!("  \r\nprivmsg bob :\x01DCC {offer} f {number} {port}{end}"),
            8 => format!("PRIVMSG bob :hello :\x01DCC {offer} file {number} {port} 1234\x01{end}"),
            _ => format!("{}{end}", one(&["PING x", "NICK me", "PRIVMSG bob :hi", "JOIN #x"], rng)),
        };
        text.into_bytes()
    }
}

/// Where somebody goes that reads this.
fn offered(text: &[u8]) -> Option<SocketAddr> {
    let offer = &text[find(text, b"DCC ")?..];
    let file = &offer[find(offer, b" f")? + 1..];
    let (address, behind) = digits(&file[file.iter().position(|&byte| byte == b' ')? + 1..])?;
    let (port, _) = digits(behind.get(1..)?)?;
    Some(end(Ipv4Addr::from(address).into(), port as u16))
}
