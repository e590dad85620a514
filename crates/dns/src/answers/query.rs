//! A query as the server reads it: one pass, no allocation, the name lower-cased and hashed on the way.

use crate::answers::{Outcome, Reason};
use crate::edns::{self, Opt, cookie};
use crate::message::{HEADER, Header, Malformed, View};
use crate::{MAX_NAME, Rcode, Type};

/// Records that a query may have beside its question: OPT, a signature, and some to spare.
const MAX_RECORDS: u16 = 8;

/// A well-formed query with one question.
#[derive(Debug)]
pub struct Query<'a> {
    message: &'a [u8],
    header: Header,
    name_len: usize,
    qtype: Type,
    qclass: u16,
    opt: Option<Opt<'a>>,
    hash: u64,
    upper_case: bool,
    /// The name in lower case, zeros behind it.
    lower: [u8; MAX_NAME + 1],
}

/// A message that is no query we can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswerable {
    /// Silence is the answer.
    Drop(Reason),
    /// This code and nothing else is the answer.
    Error(Rcode),
}

impl Unanswerable {
    /// Writes what there is to say about `message`: a header.
    pub fn reply(self, message: &[u8], out: &mut [u8]) -> Outcome {
        let rcode = match self {
            Self::Drop(reason) => return Outcome::Drop(reason),
            Self::Error(rcode) => rcode,
        };
        let (Some(header), Some(room)) = (Header::read(message), out.get_mut(..HEADER)) else {
            return Outcome::Drop(Reason::NoRoom);
        };
        let flags = Header::QR | header.flags & (Header::OPCODE | Header::RD | Header::CD) | rcode.0;
        room.copy_from_slice(&Header { id: header.id, flags, counts: [0; 4] }.to_bytes());
        Outcome::Reply(HEADER)
    }
}

impl<'a> Query<'a> {
    /// Reads a message as a query.
    ///
    /// # Errors
    /// What to do instead of answering: drop what is too short or a response; NOTIMP for another operation than QUERY;
    /// FORMERR for anything but one question, no answer or authority (but for IXFR, which says there what the client has,
    /// RFC 1995 §3), at most one good OPT record, and nothing behind.
    pub fn read(message: &'a [u8]) -> Result<Self, Unanswerable> {
        const FORMERR: Unanswerable = Unanswerable::Error(Rcode::FORMERR);
        let header = Header::read(message).ok_or(Unanswerable::Drop(Reason::TooShort))?;
        if header.has(Header::QR) {
            return Err(Unanswerable::Drop(Reason::Response));
        }
        if header.flags & Header::OPCODE != 0 {
            return Err(Unanswerable::Error(Rcode::NOTIMP));
        }
        let [1, 0, authority @ 0..=1, records @ 0..=MAX_RECORDS] = header.counts else { return Err(FORMERR) };
        let name_len = name_len(&message[HEADER..]).ok_or(FORMERR)?;
        let fixed = message[HEADER + name_len..].first_chunk::<4>().ok_or(FORMERR)?;
        let qtype = Type(u16::from_be_bytes([fixed[0], fixed[1]]));
        if authority > 0 && qtype != Type::IXFR {
            return Err(FORMERR);
        }
        let opt = if authority + records == 0 && message.len() == HEADER + name_len + 4 {
            None
        } else {
            read_opt(message, HEADER + name_len + 4).map_err(|_| FORMERR)?
        };
        let mut lower = [0; MAX_NAME + 1];
        lower[..name_len].copy_from_slice(&message[HEADER..HEADER + name_len]);
        let (hash, upper_case) = lower_and_hash(&mut lower, name_len);
        Ok(Self {
            message,
            header,
            name_len,
            qtype,
            qclass: u16::from_be_bytes([fixed[2], fixed[3]]),
            opt,
            hash,
            upper_case,
            lower,
        })
    }

    /// The type asked for.
    pub fn qtype(&self) -> Type {
        self.qtype
    }

    /// The class asked for.
    pub fn qclass(&self) -> u16 {
        self.qclass
    }

    /// The EDNS record.
    pub fn opt(&self) -> Option<&Opt<'a>> {
        self.opt.as_ref()
    }

    /// The name asked for, as it was written.
    pub fn name(&self) -> &'a [u8] {
        &self.message[HEADER..HEADER + self.name_len]
    }

    /// The same in lower case.
    pub fn lower_name(&self) -> &[u8] {
        &self.lower[..self.name_len]
    }

    /// The message as it was received.
    pub fn message(&self) -> &'a [u8] {
        self.message
    }

    pub(super) fn id(&self) -> u16 {
        self.header.id
    }

    pub(super) fn flags(&self) -> u16 {
        self.header.flags
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn has_upper_case(&self) -> bool {
        self.upper_case
    }

    /// The question with its type and class.
    pub(super) fn question(&self) -> &'a [u8] {
        &self.message[HEADER..self.question_end()]
    }

    pub(super) fn question_end(&self) -> usize {
        HEADER + self.name_len + 4
    }

    pub(super) fn len(&self) -> usize {
        self.message.len()
    }

    /// True if the name is `origin` (lower-case wire form) or below it.
    pub(super) fn is_below(&self, origin: &[u8]) -> bool {
        let Some(boundary) = self.name_len.checked_sub(origin.len()) else { return false };
        if self.lower_name()[boundary..] != *origin {
            return false;
        }
        let mut at = 0;
        while at < boundary {
            at += 1 + usize::from(self.lower[at]);
        }
        at == boundary
    }
}

/// The length of the uncompressed name at the start of `bytes`, if there is one of at most 255 bytes.
fn name_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let length = *bytes.get(at)?;
        if length > 63 {
            return None;
        }
        at += 1 + usize::from(length);
        if at > MAX_NAME {
            return None;
        }
        if length == 0 {
            return Some(at);
        }
    }
}

/// Reads the records behind the question for the OPT record.
fn read_opt(message: &[u8], at: usize) -> Result<Option<Opt<'_>>, Malformed> {
    let mut records = View::new(message)?.records(at);
    let mut opt = None;
    while let Some(record) = records.next_record()? {
        if record.rtype == Type::OPT {
            let found = record.as_opt()?;
            let bad_cookie = found.option(edns::COOKIE).is_some_and(|data| !cookie::is_well_formed(data));
            if bad_cookie || opt.replace(found).is_some() {
                return Err(Malformed::BadOpt);
            }
        }
    }
    if records.offset() == message.len() { Ok(opt) } else { Err(Malformed::TrailingBytes) }
}

/// Lower-cases `name[..len]` in place, eight bytes at a time, and hashes it; true if that changed anything. Length bytes are
/// below `A` and stay as they are.
pub(super) fn lower_and_hash(name: &mut [u8; MAX_NAME + 1], len: usize) -> (u64, bool) {
    // wyhash's way: multiply to 128 bits and fold. The table's names are ours, so nobody can fill it with collisions.
    const K0: u64 = 0xa076_1d64_78bd_642f;
    const K1: u64 = 0xe703_7ed1_a0b4_28db;
    let mut hash = K0 ^ len as u64;
    let mut upper = 0;
    for chunk in name.as_chunks_mut::<8>().0[..len.div_ceil(8)].iter_mut() {
        let word = u64::from_le_bytes(*chunk);
        let bits = upper_case_bits(word);
        upper |= bits;
        // 0x80 marks an upper-case byte, 0x20 is what makes it lower case.
        let lower = word | bits >> 2;
        *chunk = lower.to_le_bytes();
        let product = u128::from(hash ^ lower) * u128::from(K1);
        hash = product as u64 ^ (product >> 64) as u64;
    }
    (hash, upper != 0)
}

/// 0x80 in each byte that is an upper-case ASCII letter.
const fn upper_case_bits(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let low_seven = word & (ONES * 0x7f);
    let above_z = low_seven + ONES * (0x7f - b'Z' as u64);
    let from_a = low_seven + ONES * (0x80 - b'A' as u64);
    (from_a ^ above_z) & !word & (ONES * 0x80)
}

#[cfg(test)]
mod tests {
    use super::{MAX_NAME, lower_and_hash};

    #[test]
    fn every_byte_is_lower_cased_as_ascii_has_it() {
        for byte in 0..=255u8 {
            for at in 0..17 {
                let mut name = [b'x'; MAX_NAME + 1];
                name[at] = byte;
                let (_, changed) = lower_and_hash(&mut name, 17);
                assert_eq!(name[at], byte.to_ascii_lowercase());
                assert_eq!(changed, byte.is_ascii_uppercase(), "{byte:#x}");
            }
        }
    }

    #[test]
    fn names_that_differ_in_case_hash_alike_and_others_do_not() {
        let hash = |text: &str| {
            let mut name = [0; MAX_NAME + 1];
            name[..text.len()].copy_from_slice(text.as_bytes());
            lower_and_hash(&mut name, text.len()).0
        };
        assert_eq!(hash("YutrLed535"), hash("yutrled535"));
        assert_ne!(hash("yutrled535"), hash("yutrled536"));
        assert_ne!(hash("a"), hash("a\0"));
    }
}
