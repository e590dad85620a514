//! Questions written by hand, and what comes back for them.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use pinhole_dns::message::Message;
use pinhole_dns::{RData, Record};

use super::stage::PATIENCE;

pub const A: u16 = 1;
pub const NS: u16 = 2;
pub const SOA: u16 = 6;
pub const PTR: u16 = 12;
pub const TXT: u16 = 16;
pub const AAAA: u16 = 28;
pub const SRV: u16 = 33;
pub const AXFR: u16 = 252;
pub const ANY: u16 = 255;

pub const NOERROR: u16 = 0;
pub const FORMERR: u16 = 1;
pub const NXDOMAIN: u16 = 3;
pub const NOTIMP: u16 = 4;
pub const REFUSED: u16 = 5;

/// The bit that says "response".
pub const QR: u16 = 0x8000;
/// "Authoritative answer".
pub const AA: u16 = 0x0400;
/// "Truncated".
pub const TC: u16 = 0x0200;
/// "Recursion desired".
pub const RD: u16 = 0x0100;

/// A question.
#[derive(Clone, Debug)]
pub struct Query {
    name: Vec<u8>,
    qtype: u16,
    qclass: u16,
    id: u16,
    flags: u16,
    opt: Option<Opt>,
}

#[derive(Clone, Debug)]
struct Opt {
    size: u16,
    ttl: u32,
    options: Vec<u8>,
}

impl Query {
    /// A question of class IN with id 0x1234 and RD, without EDNS: what wgsd's client sends.
    pub fn new(name: &str, qtype: u16) -> Self {
        Self { name: wire_name(name), qtype, qclass: 1, id: 0x1234, flags: RD, opt: None }
    }

    pub fn class(self, qclass: u16) -> Self {
        Self { qclass, ..self }
    }

    pub fn id(self, id: u16) -> Self {
        Self { id, ..self }
    }

    pub fn flags(self, flags: u16) -> Self {
        Self { flags, ..self }
    }

    /// With EDNS and this UDP size.
    pub fn edns(self, size: u16) -> Self {
        Self { opt: Some(Opt { size, ttl: 0, options: Vec::new() }), ..self }
    }

    /// With this version, these flags.
    pub fn edns_ttl(mut self, ttl: u32) -> Self {
        self.opt.as_mut().expect("EDNS first").ttl = ttl;
        self
    }

    /// With an EDNS option.
    pub fn option(mut self, code: u16, data: &[u8]) -> Self {
        let options = &mut self.opt.as_mut().expect("EDNS first").options;
        options.extend_from_slice(&code.to_be_bytes());
        options.extend_from_slice(&(data.len() as u16).to_be_bytes());
        options.extend_from_slice(data);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let additional = u16::from(self.opt.is_some());
        for word in [self.id, self.flags, 1, 0, 0, additional] {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        bytes.extend_from_slice(&self.name);
        bytes.extend_from_slice(&self.qtype.to_be_bytes());
        bytes.extend_from_slice(&self.qclass.to_be_bytes());
        if let Some(opt) = &self.opt {
            bytes.extend_from_slice(&[0, 0, 41]);
            bytes.extend_from_slice(&opt.size.to_be_bytes());
            bytes.extend_from_slice(&opt.ttl.to_be_bytes());
            bytes.extend_from_slice(&(opt.options.len() as u16).to_be_bytes());
            bytes.extend_from_slice(&opt.options);
        }
        bytes
    }
}

/// The wire form of a name in dotted text, case as it is.
pub fn wire_name(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.trim_end_matches('.').split('.').filter(|label| !label.is_empty()) {
        wire.push(label.len() as u8);
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    wire
}

/// A UDP socket that asks one server.
pub struct Client {
    udp: UdpSocket,
    pub server: SocketAddr,
}

impl Client {
    pub fn new(udp: UdpSocket, server: SocketAddr) -> Self {
        Self { udp, server }
    }

    /// Sends without waiting.
    pub fn send(&self, bytes: &[u8]) {
        // The kernel reports here what an earlier datagram met.
        let _ = self.udp.send(bytes).or_else(|_| self.udp.send(bytes));
    }

    /// The next datagram, if one comes in time.
    pub fn receive(&self, within: Duration) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        self.udp.set_read_timeout(Some(within)).expect("a timeout");
        match self.udp.recv(&mut buffer) {
            Ok(length) => Some(buffer[..length].to_vec()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => None,
            Err(error) => panic!("receiving: {error}"),
        }
    }

    /// A query and its answer, whatever the answer to earlier ones.
    pub fn try_exchange(&self, bytes: &[u8], within: Duration) -> Option<Vec<u8>> {
        self.send(bytes);
        loop {
            let answer = self.receive(within)?;
            if answer.get(..2) == bytes.get(..2) {
                return Some(answer);
            }
        }
    }

    /// A query and its answer as bytes.
    pub fn exchange(&self, query: &Query) -> Vec<u8> {
        self.try_exchange(&query.bytes(), PATIENCE).unwrap_or_else(|| panic!("no answer to {query:?}"))
    }

    /// A query and its answer.
    pub fn ask(&self, query: &Query) -> Answer {
        Answer::read(&self.exchange(query))
    }

    /// True if the server has nothing to say to `bytes`: a question behind it is answered, and nothing before that. Both go
    /// to the same socket of the server, which takes them in order.
    pub fn is_silent_to(&self, bytes: &[u8]) -> bool {
        let marker = Query::new("version.bind.", TXT).class(3).id(0x7e57);
        while self.receive(Duration::from_millis(1)).is_some() {}
        self.send(bytes);
        self.send(&marker.bytes());
        let first = self.receive(PATIENCE).expect("the server answers");
        first.get(..2) == Some(&[0x7e, 0x57])
    }
}

/// Writes a message to a DNS stream.
pub fn write_framed(mut stream: &TcpStream, message: &[u8]) -> std::io::Result<()> {
    stream.write_all(&[&(message.len() as u16).to_be_bytes(), message].concat())
}

/// Reads a message from a DNS stream.
pub fn read_framed(mut stream: &TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// An answer, and how long it was.
#[derive(Debug)]
pub struct Answer {
    pub len: usize,
    pub message: Message,
}

impl Answer {
    pub fn read(bytes: &[u8]) -> Self {
        let message = Message::decode(bytes).unwrap_or_else(|error| panic!("{error:?} in {bytes:02x?}"));
        Self { len: bytes.len(), message }
    }

    pub fn rcode(&self) -> u16 {
        self.message.rcode().0
    }

    pub fn has(&self, flag: u16) -> bool {
        self.message.header.flags & flag != 0
    }

    /// The types of the records in Answer, Authority and Additional.
    pub fn types(&self) -> [Vec<u16>; 3] {
        let types = |records: &[Record]| records.iter().map(|record| record.data.rtype().0).collect();
        [types(&self.message.answers), types(&self.message.authority), types(&self.message.additional)]
    }

    /// The targets of the PTR records in Answer.
    pub fn targets(&self) -> Vec<String> {
        let target = |record: &Record| match &record.data {
            RData::Ptr(name) => Some(name.to_string()),
            _ => None,
        };
        self.message.answers.iter().filter_map(target).collect()
    }

    /// The serial of the SOA record in Answer or Authority.
    pub fn serial(&self) -> u32 {
        let mut records = self.message.answers.iter().chain(&self.message.authority);
        let serial =
            records.find_map(|record| if let RData::Soa(soa) = &record.data { Some(soa.serial) } else { None });
        serial.expect("a start of authority")
    }

    /// The strings of the first TXT record anywhere.
    pub fn text(&self) -> Vec<String> {
        let mut records = self.message.answers.iter().chain(&self.message.additional);
        let text = records.find_map(|record| if let RData::Txt(strings) = &record.data { Some(strings) } else { None });
        let strings = text.expect("a TXT record").iter();
        strings.map(|string| String::from_utf8_lossy(string).into_owned()).collect()
    }

    /// The address and port of an SRV answer, as wgsd's client takes them.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        let RData::Srv(srv) = &self.message.answers.first()?.data else { return None };
        match self.message.additional.first()?.data {
            RData::A(address) => Some((address, srv.port).into()),
            RData::Aaaa(address) => Some((address, srv.port).into()),
            _ => None,
        }
    }
}
