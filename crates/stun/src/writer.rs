//! Writes a message into the caller's buffer, attribute by attribute, without allocation.

use core::fmt;
use core::net::SocketAddr;

use crate::credentials::Key;
use crate::message::{Class, HEADER, Method, TransactionId, message_type};
use crate::{AttributeType, ErrorCode, address, fingerprint, integrity};

/// The buffer is too small, or the message would be longer than its length field can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the STUN message does not fit its buffer")
    }
}

impl std::error::Error for NoRoom {}

/// A message that is being written. What does not fit is noticed once, at the end.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    id: TransactionId,
    len: usize,
    full: bool,
}

impl<'a> Writer<'a> {
    /// Begins a message in `out`, which must hold all of it.
    pub fn new(out: &'a mut [u8], class: Class, method: Method, id: TransactionId) -> Self {
        let mut writer = Self { out, id, len: 0, full: false };
        writer.put(&message_type(class, method));
        writer.put(&[0, 0]);
        writer.put(&id.0);
        writer
    }

    /// Appends an attribute, and zeros up to a multiple of four bytes.
    pub fn attribute(&mut self, kind: AttributeType, value: &[u8]) -> &mut Self {
        self.parts(kind, value, &[])
    }

    /// Appends an attribute of so many zeros: PADDING.
    pub fn zeros(&mut self, kind: AttributeType, length: u16) -> &mut Self {
        self.put(&kind.0.to_be_bytes());
        self.put(&length.to_be_bytes());
        match self.out.get_mut(self.len..self.len + usize::from(length)) {
            Some(room) if !self.full => {
                room.fill(0);
                self.len += usize::from(length);
            }
            Some(_) | None => self.full = true,
        }
        self.pad()
    }

    /// Appends an address as it is: MAPPED-ADDRESS, OTHER-ADDRESS, RESPONSE-ORIGIN, ALTERNATE-SERVER and those of RFC 3489.
    pub fn address(&mut self, kind: AttributeType, address: SocketAddr) -> &mut Self {
        let mut value = [0; address::MAX];
        let len = address::write(address, &mut value);
        self.attribute(kind, &value[..len])
    }

    /// Appends an address xored with the transaction id: XOR-MAPPED-ADDRESS.
    pub fn xor_address(&mut self, kind: AttributeType, address: SocketAddr) -> &mut Self {
        let mut value = [0; address::MAX];
        let len = address::write_xor(address, &self.id, &mut value);
        self.attribute(kind, &value[..len])
    }

    /// Appends ERROR-CODE.
    pub fn error(&mut self, error: ErrorCode<'_>) -> &mut Self {
        self.parts(AttributeType::ERROR_CODE, &error.head(), error.reason.as_bytes())
    }

    /// Appends UNKNOWN-ATTRIBUTES. To a client of RFC 3489 the last type is repeated if their number is odd (RFC 3489
    /// §11.2.10): its attributes are not padded.
    pub fn unknown(&mut self, kinds: impl Iterator<Item = AttributeType>) -> &mut Self {
        let head = self.len;
        self.put(&AttributeType::UNKNOWN_ATTRIBUTES.0.to_be_bytes());
        self.put(&[0, 0]);
        let mut last = None;
        for kind in kinds {
            self.put(&kind.0.to_be_bytes());
            last = Some(kind);
        }
        if let Some(last) = last.filter(|_| self.id.is_legacy() && !self.len.is_multiple_of(4)) {
            self.put(&last.0.to_be_bytes());
        }
        let value = (self.len.saturating_sub(head + 4)) as u16;
        if let Some(length) = self.out.get_mut(head + 2..head + 4) {
            length.copy_from_slice(&value.to_be_bytes());
        }
        self.pad()
    }

    /// Appends MESSAGE-INTEGRITY over what has been written.
    pub fn integrity(&mut self, key: &Key) -> &mut Self {
        let Some(before) = self.written() else { return self };
        let value = integrity::sha1(key, before);
        self.attribute(AttributeType::MESSAGE_INTEGRITY, &value)
    }

    /// Appends MESSAGE-INTEGRITY-SHA256, not truncated, over what has been written.
    pub fn integrity_sha256(&mut self, key: &Key) -> &mut Self {
        let Some(before) = self.written() else { return self };
        let value = integrity::sha256(key, before);
        self.attribute(AttributeType::MESSAGE_INTEGRITY_SHA256, &value)
    }

    /// Appends FINGERPRINT over what has been written: nothing may follow.
    pub fn fingerprint(&mut self) -> &mut Self {
        self.write_length(self.len + 8);
        let Some(before) = self.written() else { return self };
        let value = fingerprint::of(before).to_be_bytes();
        self.attribute(AttributeType::FINGERPRINT, &value)
    }

    /// The length of the finished message, in bytes.
    ///
    /// # Errors
    /// If it did not fit; the buffer then holds nothing of use.
    pub fn finish(&mut self) -> Result<usize, NoRoom> {
        self.write_length(self.len);
        if self.full { Err(NoRoom) } else { Ok(self.len) }
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// False, unless there was no room for a header.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn parts(&mut self, kind: AttributeType, first: &[u8], second: &[u8]) -> &mut Self {
        let Ok(length) = u16::try_from(first.len() + second.len()) else {
            self.full = true;
            return self;
        };
        self.put(&kind.0.to_be_bytes());
        self.put(&length.to_be_bytes());
        self.put(first);
        self.put(second);
        self.pad()
    }

    fn pad(&mut self) -> &mut Self {
        self.put(&[0; 3][..self.len.next_multiple_of(4) - self.len]);
        self
    }

    fn put(&mut self, bytes: &[u8]) {
        match self.out.get_mut(self.len..self.len + bytes.len()) {
            Some(room) if !self.full => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            Some(_) | None => self.full = true,
        }
    }

    fn write_length(&mut self, whole: usize) {
        match (u16::try_from(whole.saturating_sub(HEADER)), self.out.get_mut(2..4)) {
            (Ok(length), Some(field)) => field.copy_from_slice(&length.to_be_bytes()),
            (Ok(_) | Err(_), _) => self.full = true,
        }
    }

    /// What has been written, if all of it fitted.
    fn written(&self) -> Option<&[u8]> {
        (!self.full).then(|| &self.out[..self.len])
    }
}
