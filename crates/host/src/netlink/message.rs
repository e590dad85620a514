//! Netlink messages as bytes: a builder, and views of what comes back (include/uapi/linux/netlink.h).
//!
//! A message is a 16-byte header, a family-specific fixed part, and attributes: length (u16), kind (u16), value, padded to
//! four bytes. Nested attributes are attributes in a value. Integers are in host order unless an attribute says otherwise.

/// Bytes of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// `NLA_F_NESTED`: the value holds attributes.
const NESTED: u16 = 1 << 15;
/// `NLA_TYPE_MASK`: the kind without its two flag bits.
const KIND_MASK: u16 = 0x3fff;

/// A message that is being built.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A message of `kind` (`nlmsg_type`) with `flags` beside those that [`Socket`](super::Socket) adds itself.
    pub fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        Self { bytes }
    }

    /// Appends the fixed part, as it is laid out in memory.
    #[must_use]
    pub fn fixed(mut self, fixed: &[u8]) -> Self {
        self.bytes.extend_from_slice(fixed);
        self.pad();
        self
    }

    /// Appends an attribute.
    #[must_use]
    pub fn attr(mut self, kind: u16, value: &[u8]) -> Self {
        self.push(kind, value);
        self
    }

    /// Appends a one-byte attribute.
    #[must_use]
    pub fn attr_u8(self, kind: u16, value: u8) -> Self {
        self.attr(kind, &[value])
    }

    /// Appends a 16-bit attribute in host order.
    #[must_use]
    pub fn attr_u16(self, kind: u16, value: u16) -> Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Appends a 32-bit attribute in host order.
    #[must_use]
    pub fn attr_u32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Appends a 32-bit attribute in network order, as nfnetlink wants them.
    #[must_use]
    pub fn attr_be32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Appends a 64-bit attribute in network order.
    #[must_use]
    pub fn attr_be64(self, kind: u16, value: u64) -> Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Appends a string attribute with its closing NUL.
    #[must_use]
    pub fn attr_str(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// Appends an attribute whose value is what `build` appends.
    #[must_use]
    pub fn nest(mut self, kind: u16, build: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        let mut built = build(self);
        let length = u16::try_from(built.bytes.len() - start).expect("a nested attribute stays below 64 KiB");
        built.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        built
    }

    /// Bytes so far, for callers that split long requests.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never true: a message has at least its header.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The finished message with its length, `flags` added and `sequence` set.
    pub fn finish(mut self, flags: u16, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).expect("a message stays below 4 GiB");
        let flags = flags | u16::from_ne_bytes([self.bytes[6], self.bytes[7]]);
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }

    fn push(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(4 + value.len()).expect("an attribute stays below 64 KiB");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// One message from the kernel.
#[derive(Clone, Debug)]
pub struct Reply {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`: that of the request, zero for an event.
    pub sequence: u32,
    /// What follows the header: the fixed part and the attributes.
    pub payload: Vec<u8>,
}

impl Reply {
    /// The first `N` bytes of the payload, the family's fixed part.
    pub fn fixed<const N: usize>(&self) -> Option<&[u8; N]> {
        self.payload.first_chunk()
    }

    /// The attributes behind a fixed part of `skip` bytes (unpadded size).
    pub fn attributes(&self, skip: usize) -> Attributes<'_> {
        attributes(self.payload.get(skip.next_multiple_of(4)..).unwrap_or_default())
    }
}

/// The attributes in `bytes`, in their order, up to the first that does not parse.
pub fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes { rest: bytes }
}

/// The value of the first attribute of `kind` in `bytes`.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|&(k, _)| k == kind).map(|(_, value)| value)
}

/// Iterates over `(kind without flag bits, value)`.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let &[l0, l1, k0, k1] = self.rest.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = self.rest.get(4..length)?;
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & KIND_MASK, value))
    }
}

/// Splits what one receive gave into messages; stops at the first that does not parse.
pub(crate) fn split(bytes: &[u8]) -> impl Iterator<Item = Reply> {
    messages(bytes).map(|(header, payload)| Reply { payload: payload.to_vec(), ..header })
}

/// As [`split`], with the payloads where they are and the replies' own empty.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (Reply, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.first_chunk::<HEADER>()?;
        let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let length = word(0) as usize;
        let payload = bytes.get(HEADER..length)?;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let flags = u16::from_ne_bytes([header[6], header[7]]);
        let sequence = word(8);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((Reply { kind, flags, sequence, payload: Vec::new() }, payload))
    })
}
