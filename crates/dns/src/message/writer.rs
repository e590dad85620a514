//! Writing messages, with or without name compression.
//!
//! Compression follows what wgsd's library does, because its bytes are golden: owner names and the names in PTR, CNAME, NS
//! and SOA data are compressed, the target of an SRV is not (RFC 2782), and any name written may be pointed at.

use crate::edns;
use crate::message::{Header, Message, Question};
use crate::record::CLASS_IN;
use crate::{Name, RData, Record};

/// A pointer has 14 bits of offset (RFC 1035 §4.1.4).
const MAX_POINTER: usize = 0x3fff;

/// Appends names and records to a message, remembering the names when compressing.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    compress: bool,
    /// Where a name, or the rest of one after a label, begins, each with the hash of its lower-case bytes.
    suffixes: Vec<(u32, u16)>,
}

impl Writer {
    /// A message with this header and nothing else; the counts are the caller's to keep.
    pub fn new(header: Header, compress: bool) -> Self {
        Self { bytes: header.to_bytes().to_vec(), compress, suffixes: Vec::new() }
    }

    /// Appends a question.
    pub fn question(&mut self, question: &Question) {
        self.name(&question.name, true);
        self.bytes.extend_from_slice(&question.qtype.0.to_be_bytes());
        self.bytes.extend_from_slice(&question.qclass.to_be_bytes());
    }

    /// Appends a record.
    ///
    /// # Panics
    /// If the data is longer than 65,535 bytes, which no decoded or checked record is.
    pub fn record(&mut self, record: &Record) {
        self.name(&record.owner, true);
        self.bytes.extend_from_slice(&record.data.rtype().0.to_be_bytes());
        self.bytes.extend_from_slice(&CLASS_IN.to_be_bytes());
        self.bytes.extend_from_slice(&record.ttl.to_be_bytes());
        let length_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.data(&record.data);
        let length = self.bytes.len() - length_at - 2;
        let length = u16::try_from(length).expect("record data fits its 16-bit length");
        self.bytes[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    }

    /// Appends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The length so far, in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// False: there is always a header.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The finished message.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn data(&mut self, data: &RData) {
        match data {
            RData::A(address) => self.bytes.extend_from_slice(&address.octets()),
            RData::Aaaa(address) => self.bytes.extend_from_slice(&address.octets()),
            RData::Ptr(name) | RData::Cname(name) | RData::Ns(name) => self.name(name, true),
            RData::Srv(srv) => {
                for word in [srv.priority, srv.weight, srv.port] {
                    self.bytes.extend_from_slice(&word.to_be_bytes());
                }
                self.name(&srv.target, false);
            }
            RData::Txt(strings) => {
                for string in
                    strings.iter().flat_map(|string| string.chunks(255).chain(string.is_empty().then_some(&[][..])))
                {
                    self.bytes.push(string.len() as u8);
                    self.bytes.extend_from_slice(string);
                }
            }
            RData::Soa(soa) => {
                self.name(&soa.mname, true);
                self.name(&soa.rname, true);
                for word in [soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum] {
                    self.bytes.extend_from_slice(&word.to_be_bytes());
                }
            }
            RData::Unknown(_, bytes) => self.bytes.extend_from_slice(bytes),
        }
    }

    /// Appends a name; a suffix that stands in the message already becomes a pointer if `may_point`.
    fn name(&mut self, name: &Name, may_point: bool) {
        let mut rest = name.wire();
        while rest.len() > 1 {
            if self.compress {
                let hash = fnv(rest);
                let known = self.suffixes.iter().find(|(other, at)| *other == hash && self.stands_at(*at, rest));
                match known {
                    Some((_, at)) if may_point => return self.bytes.extend_from_slice(&(0xc000 | at).to_be_bytes()),
                    Some(_) => {}
                    None if self.bytes.len() <= MAX_POINTER => self.suffixes.push((hash, self.bytes.len() as u16)),
                    None => {}
                }
            }
            let (label, after) = rest.split_at(1 + usize::from(rest[0]));
            self.bytes.extend_from_slice(label);
            rest = after;
        }
        self.bytes.push(0);
    }

    /// True if the name that begins at `at` is `wire`, whatever the case.
    fn stands_at(&self, at: u16, mut wire: &[u8]) -> bool {
        let mut at = usize::from(at);
        loop {
            match self.bytes.get(at) {
                Some(&high @ 0xc0..) => {
                    let Some(&low) = self.bytes.get(at + 1) else { return false };
                    at = usize::from(u16::from_be_bytes([high & 0x3f, low]));
                }
                Some(&length) => {
                    let piece = 1 + usize::from(length);
                    let (Some(here), Some(wanted)) = (self.bytes.get(at..at + piece), wire.get(..piece)) else {
                        return false;
                    };
                    if !here.eq_ignore_ascii_case(wanted) {
                        return false;
                    }
                    if length == 0 {
                        return true;
                    }
                    at += piece;
                    wire = &wire[piece..];
                }
                None => return false,
            }
        }
    }
}

/// FNV-1a of the bytes in lower case: tells most names apart before they are compared.
fn fnv(wire: &[u8]) -> u32 {
    wire.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193))
}

impl Message {
    /// Writes the message, compressed; OPT stands last.
    pub fn encode(&self) -> Vec<u8> {
        let opt = usize::from(self.edns.is_some());
        let counts = [self.questions.len(), self.answers.len(), self.authority.len(), self.additional.len() + opt];
        let counts = counts.map(|count| u16::try_from(count).unwrap_or(u16::MAX));
        let mut writer = Writer::new(Header { counts, ..self.header }, true);
        self.questions.iter().for_each(|question| writer.question(question));
        let records = self.answers.iter().chain(&self.authority).chain(&self.additional);
        records.for_each(|record| writer.record(record));
        if let Some(edns) = &self.edns {
            let mut options = Vec::new();
            edns.options.iter().for_each(|(code, data)| edns::push_option(&mut options, *code, data));
            let length = u16::try_from(options.len()).unwrap_or(u16::MAX);
            writer.raw(&edns::opt_head(edns.udp_size, edns.ttl, length));
            writer.raw(&options[..usize::from(length)]);
        }
        writer.finish()
    }
}
