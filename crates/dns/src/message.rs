//! DNS messages, RFC 1035 §4: a reader that borrows, an owned form, and (in [`writer`]) the way back.
//!
//! [`View`] walks the bytes as they came and copies nothing; [`Message`] is all of them decoded. Reading is bounded: every
//! step moves forward, except that a compression pointer must point before the name it is in, strictly further back each
//! time, so a loop cannot exist. What is wrong is a [`Malformed`]; nothing panics.

pub mod writer;

use core::fmt;

use crate::edns::{self, Opt};
use crate::record::{CLASS_IN, Soa, Srv};
use crate::{MAX_NAME, Name, RData, Rcode, Record, Type};

/// The length of a message's header, in bytes.
pub const HEADER: usize = 12;
/// The longest message, in bytes: TCP has a 16-bit length (RFC 1035 §4.2.2).
pub const MAX_MESSAGE: usize = 65_535;

/// Why bytes are not a DNS message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The message ends inside something.
    Truncated,
    /// A pointer that does not point backwards, a reserved label type, or a name of more than 255 bytes.
    BadName,
    /// Record data that does not have the form of its type.
    BadData,
    /// More than one OPT record, one that the root does not own, or broken options (RFC 6891 §6.1.1).
    BadOpt,
    /// Bytes behind the last record.
    TrailingBytes,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the message ends early",
            Self::BadName => "a name in the message cannot be read",
            Self::BadData => "a record's data does not fit its type",
            Self::BadOpt => "the message's OPT record is broken",
            Self::TrailingBytes => "bytes follow the last record",
        })
    }
}

impl std::error::Error for Malformed {}

/// The fixed part of a message (RFC 1035 §4.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The number that ties a response to its query.
    pub id: u16,
    /// QR, opcode, AA, TC, RD, RA, AD, CD and the lower response code, as on the wire.
    pub flags: u16,
    /// Questions, answers, authority records, additional records.
    pub counts: [u16; 4],
}

impl Header {
    /// The bit that says response.
    pub const QR: u16 = 0x8000;
    /// Authoritative answer.
    pub const AA: u16 = 0x0400;
    /// Truncated.
    pub const TC: u16 = 0x0200;
    /// Recursion desired.
    pub const RD: u16 = 0x0100;
    /// Recursion available.
    pub const RA: u16 = 0x0080;
    /// Checking disabled.
    pub const CD: u16 = 0x0010;
    /// The four bits of the operation.
    pub const OPCODE: u16 = 0x7800;

    /// Reads a header.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let head = bytes.first_chunk::<HEADER>()?;
        let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        Some(Self { id: word(0), flags: word(2), counts: [word(4), word(6), word(8), word(10)] })
    }

    /// The header's bytes.
    pub fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let words = [self.id, self.flags, self.counts[0], self.counts[1], self.counts[2], self.counts[3]];
        for (word, bytes) in words.iter().zip(bytes.chunks_exact_mut(2)) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// True if all bits of `flag` are set.
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag == flag
    }
}

/// A question (RFC 1035 §4.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What is asked about.
    pub name: Name,
    /// The type asked for.
    pub qtype: Type,
    /// The class asked for.
    pub qclass: u16,
}

/// Where in a message a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What was asked for.
    Answer,
    /// The zone's start of authority or its servers.
    Authority,
    /// What may be useful.
    Additional,
}

/// A message whose header has been read and whose rest is read while walking it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    bytes: &'a [u8],
    header: Header,
}

impl<'a> View<'a> {
    /// Looks at the header.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] for less than a header.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let header = Header::read(bytes).ok_or(Malformed::Truncated)?;
        Ok(Self { bytes, header })
    }

    /// The header.
    pub fn header(&self) -> Header {
        self.header
    }

    /// The questions, and where the records begin.
    ///
    /// # Errors
    /// [`Malformed`] if a question cannot be read.
    pub fn questions(&self) -> Result<(Vec<Question>, usize), Malformed> {
        let mut at = HEADER;
        let mut questions = Vec::new();
        for _ in 0..self.header.counts[0] {
            let (name, end) = read_name(self.bytes, at)?;
            let fixed = self.bytes.get(end..end + 4).ok_or(Malformed::Truncated)?;
            let [t0, t1, c0, c1] = *fixed else { return Err(Malformed::Truncated) };
            questions.push(Question {
                name,
                qtype: Type(u16::from_be_bytes([t0, t1])),
                qclass: u16::from_be_bytes([c0, c1]),
            });
            at = end + 4;
        }
        Ok((questions, at))
    }

    /// The records from offset `at`, where [`questions`](Self::questions) ended.
    pub fn records(&self, at: usize) -> Records<'a> {
        let [_, answers, authority, additional] = self.header.counts;
        Records { bytes: self.bytes, at, left: [answers, authority, additional] }
    }
}

/// Walks the records of a message.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    left: [u16; 3],
}

impl<'a> Records<'a> {
    /// The next record, or `None` behind the last.
    ///
    /// # Errors
    /// [`Malformed`] if it cannot be read; there is no going on then.
    pub fn next_record(&mut self) -> Result<Option<RawRecord<'a>>, Malformed> {
        let section = match self.left {
            [0, 0, 0] => return Ok(None),
            [0, 0, _] => Section::Additional,
            [0, _, _] => Section::Authority,
            [_, _, _] => Section::Answer,
        };
        self.left[section as usize] -= 1;
        let name_end = skip_name(self.bytes, self.at)?;
        let fixed = self.bytes.get(name_end..).and_then(|rest| rest.first_chunk::<10>()).ok_or(Malformed::Truncated)?;
        let data_at = name_end + 10;
        let data_end = data_at + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        if data_end > self.bytes.len() {
            return Err(Malformed::Truncated);
        }
        let record = RawRecord {
            message: self.bytes,
            section,
            owner_at: self.at,
            rtype: Type(u16::from_be_bytes([fixed[0], fixed[1]])),
            class: u16::from_be_bytes([fixed[2], fixed[3]]),
            ttl: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            data_at,
            data_end,
        };
        self.at = data_end;
        Ok(Some(record))
    }

    /// The offset behind the last record that was read.
    pub fn offset(&self) -> usize {
        self.at
    }
}

/// A record where it stands in the message.
#[derive(Clone, Copy, Debug)]
pub struct RawRecord<'a> {
    message: &'a [u8],
    /// Its section.
    pub section: Section,
    owner_at: usize,
    /// Its type.
    pub rtype: Type,
    /// Its class; for OPT the UDP payload size.
    pub class: u16,
    /// Its TTL in seconds; for OPT extended code, version and flags.
    pub ttl: u32,
    data_at: usize,
    data_end: usize,
}

impl<'a> RawRecord<'a> {
    /// The owner.
    ///
    /// # Errors
    /// [`Malformed::BadName`] or [`Malformed::Truncated`].
    pub fn owner(&self) -> Result<Name, Malformed> {
        read_name(self.message, self.owner_at).map(|(name, _)| name)
    }

    /// The data as it stands, with what pointers it has.
    pub fn raw_data(&self) -> &'a [u8] {
        &self.message[self.data_at..self.data_end]
    }

    /// The record as an OPT record.
    ///
    /// # Errors
    /// [`Malformed::BadOpt`] if the root does not own it or an option is cut.
    pub fn as_opt(&self) -> Result<Opt<'a>, Malformed> {
        let options = self.raw_data();
        let owned_by_root = self.message.get(self.owner_at) == Some(&0);
        if !owned_by_root || !edns::options_are_whole(options) {
            return Err(Malformed::BadOpt);
        }
        Ok(Opt { udp_size: self.class, ttl: self.ttl, options })
    }

    /// The data, decompressed and decoded.
    ///
    /// # Errors
    /// [`Malformed`] if it does not have the form of its type.
    pub fn data(&self) -> Result<RData, Malformed> {
        let raw = self.raw_data();
        let whole_name = |from: usize| -> Result<Name, Malformed> {
            let (name, end) = read_name(self.message, self.data_at + from)?;
            if end == self.data_end { Ok(name) } else { Err(Malformed::BadData) }
        };
        Ok(match self.rtype {
            Type::A => RData::A(<[u8; 4]>::try_from(raw).map_err(|_| Malformed::BadData)?.into()),
            Type::AAAA => RData::Aaaa(<[u8; 16]>::try_from(raw).map_err(|_| Malformed::BadData)?.into()),
            Type::PTR => RData::Ptr(whole_name(0)?),
            Type::CNAME => RData::Cname(whole_name(0)?),
            Type::NS => RData::Ns(whole_name(0)?),
            Type::SRV => {
                let fixed = raw.first_chunk::<6>().ok_or(Malformed::BadData)?;
                let word = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
                RData::Srv(Srv { priority: word(0), weight: word(2), port: word(4), target: whole_name(6)? })
            }
            Type::TXT => RData::Txt(strings(raw)?),
            Type::SOA => self.soa()?,
            other => RData::Unknown(other, raw.to_vec()),
        })
    }

    fn soa(&self) -> Result<RData, Malformed> {
        let (mname, at) = read_name(self.message, self.data_at)?;
        let (rname, at) = read_name(self.message, at)?;
        let fixed = self.message.get(at..self.data_end).and_then(|rest| <&[u8; 20]>::try_from(rest).ok());
        let fixed = fixed.ok_or(Malformed::BadData)?;
        let word = |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        Ok(RData::Soa(Soa {
            mname,
            rname,
            serial: word(0),
            refresh: word(4),
            retry: word(8),
            expire: word(12),
            minimum: word(16),
        }))
    }
}

/// Splits TXT data into its strings.
fn strings(mut raw: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    let mut strings = Vec::new();
    while let Some((&length, rest)) = raw.split_first() {
        let (string, rest) = rest.split_at_checked(usize::from(length)).ok_or(Malformed::BadData)?;
        strings.push(string.to_vec());
        raw = rest;
    }
    if strings.is_empty() { Err(Malformed::BadData) } else { Ok(strings) }
}

/// Reads the name at `at`, following pointers, and says where it ends in place.
///
/// # Errors
/// [`Malformed::Truncated`] or [`Malformed::BadName`].
pub fn read_name(message: &[u8], at: usize) -> Result<(Name, usize), Malformed> {
    let mut wire = [0; MAX_NAME];
    let mut length = 0;
    let mut end = None;
    let mut at = at;
    // Each pointer must lead before the start of the piece it ends.
    let mut piece = at;
    loop {
        let byte = *message.get(at).ok_or(Malformed::Truncated)?;
        match byte {
            0xc0.. => {
                let low = *message.get(at + 1).ok_or(Malformed::Truncated)?;
                let target = usize::from(u16::from_be_bytes([byte & 0x3f, low]));
                if target >= piece {
                    return Err(Malformed::BadName);
                }
                end.get_or_insert(at + 2);
                at = target;
                piece = target;
            }
            0..=63 => {
                let next = at + 1 + usize::from(byte);
                let label = message.get(at..next).ok_or(Malformed::Truncated)?;
                let room = wire.get_mut(length..length + label.len()).ok_or(Malformed::BadName)?;
                room.copy_from_slice(label);
                length += label.len();
                at = next;
                if byte == 0 {
                    break;
                }
            }
            64..=191 => return Err(Malformed::BadName),
        }
    }
    let name = Name::from_wire(&wire[..length]).map_err(|_| Malformed::BadName)?;
    Ok((name, end.unwrap_or(at)))
}

/// Where the name at `at` ends in place; its pointer is not followed.
fn skip_name(message: &[u8], mut at: usize) -> Result<usize, Malformed> {
    loop {
        match *message.get(at).ok_or(Malformed::Truncated)? {
            0 => return Ok(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            64..=191 => return Err(Malformed::BadName),
            0xc0.. => return if at + 2 <= message.len() { Ok(at + 2) } else { Err(Malformed::Truncated) },
        }
    }
}

/// A message decoded into owned parts. Records of other classes than IN are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The header as it came; when writing, only `id` and `flags` count.
    pub header: Header,
    /// The questions.
    pub questions: Vec<Question>,
    /// The answers.
    pub answers: Vec<Record>,
    /// The authority records.
    pub authority: Vec<Record>,
    /// The additional records, OPT not among them.
    pub additional: Vec<Record>,
    /// The OPT record.
    pub edns: Option<Edns>,
}

/// An owned OPT record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edns {
    /// The sender's largest UDP payload, in bytes.
    pub udp_size: u16,
    /// Extended response code, version and flags.
    pub ttl: u32,
    /// The options as (code, data).
    pub options: Vec<(u16, Vec<u8>)>,
}

impl Message {
    /// Decodes a whole message.
    ///
    /// # Errors
    /// [`Malformed`] if any part of it cannot be read.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let view = View::new(bytes)?;
        let (questions, at) = view.questions()?;
        let mut message = Self { header: view.header(), questions, ..Self::default() };
        let mut records = view.records(at);
        while let Some(raw) = records.next_record()? {
            if raw.rtype == Type::OPT {
                let opt = raw.as_opt()?;
                let misplaced = raw.section != Section::Additional || message.edns.is_some();
                if misplaced {
                    return Err(Malformed::BadOpt);
                }
                let options = opt.options().map(|(code, data)| (code, data.to_vec())).collect();
                message.edns = Some(Edns { udp_size: opt.udp_size, ttl: opt.ttl, options });
                continue;
            }
            if raw.class != CLASS_IN {
                continue;
            }
            let record = Record { owner: raw.owner()?, ttl: raw.ttl, data: raw.data()? };
            match raw.section {
                Section::Answer => message.answers.push(record),
                Section::Authority => message.authority.push(record),
                Section::Additional => message.additional.push(record),
            }
        }
        if records.offset() != bytes.len() {
            return Err(Malformed::TrailingBytes);
        }
        Ok(message)
    }

    /// The response code with its EDNS extension.
    pub fn rcode(&self) -> Rcode {
        let extended = self.edns.as_ref().map_or(0, |edns| edns.ttl.to_be_bytes()[0]);
        Rcode(u16::from(extended) << 4 | self.header.flags & 0xf)
    }

    /// The data of the first EDNS option `code`.
    pub fn option(&self, code: u16) -> Option<&[u8]> {
        let edns = self.edns.as_ref()?;
        edns.options.iter().find(|(found, _)| *found == code).map(|(_, data)| &**data)
    }
}

#[cfg(test)]
mod tests;
