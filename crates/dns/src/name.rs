//! Domain names in wire form.
//!
//! A [`Name`] owns an absolute, uncompressed name of at most 255 bytes as RFC 1035 §3.1 writes it. The letters keep the
//! case they came in; comparing, ordering and hashing ignore it (RFC 4343). Compressed names are read by
//! [`Message`](crate::message) and become a `Name` there.

use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::str::FromStr;

/// The longest name on the wire, with its length bytes and the root (RFC 1035 §3.1).
pub const MAX_NAME: usize = 255;
/// The longest label (RFC 1035 §3.1).
pub const MAX_LABEL: usize = 63;

/// An absolute domain name, uncompressed.
#[derive(Clone)]
pub struct Name {
    /// Labels with their length bytes, ended by the root's zero; 1 to 255 bytes.
    wire: Box<[u8]>,
}

/// Why some text or bytes are not a domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// More than 255 bytes on the wire.
    TooLong,
    /// A label of more than 63 bytes.
    LabelTooLong,
    /// An empty label between two dots, or in front of one.
    EmptyLabel,
    /// A backslash followed by nothing, or by a number above 255.
    BadEscape,
    /// Wire bytes that end early, go on after the root or hold a pointer.
    NotAName,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "a domain name has at most 255 bytes",
            Self::LabelTooLong => "a label of a domain name has at most 63 bytes",
            Self::EmptyLabel => "a domain name has no empty labels",
            Self::BadEscape => "a backslash in a domain name stands before a character or a decimal byte",
            Self::NotAName => "these bytes are not a domain name",
        })
    }
}

impl std::error::Error for NameError {}

impl Name {
    /// The root, `.`.
    pub fn root() -> Self {
        Self { wire: Box::new([0]) }
    }

    /// Reads presentation format (RFC 1035 §5.1): dots between labels, `\.` and `\DDD` escapes. The final dot may be left
    /// out; the name is absolute either way.
    ///
    /// # Errors
    /// [`NameError`] for what a name may not be.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text == "." {
            return Ok(Self::root());
        }
        let mut wire = Vec::with_capacity(text.len() + 2);
        let mut label = Vec::with_capacity(MAX_LABEL);
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b'.' => push_label(&mut wire, &mut label)?,
                b'\\' => label.push(escaped(&mut bytes)?),
                _ => label.push(byte),
            }
        }
        if !label.is_empty() {
            push_label(&mut wire, &mut label)?;
        }
        if wire.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        wire.push(0);
        if wire.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        Ok(Self { wire: wire.into() })
    }

    /// Takes exactly one uncompressed name.
    ///
    /// # Errors
    /// [`NameError`] if the bytes are anything else.
    pub fn from_wire(wire: &[u8]) -> Result<Self, NameError> {
        let mut at = 0;
        loop {
            let length = usize::from(*wire.get(at).ok_or(NameError::NotAName)?);
            if length > MAX_LABEL {
                return Err(NameError::NotAName);
            }
            at += 1 + length;
            if length == 0 {
                break;
            }
        }
        match () {
            () if at != wire.len() => Err(NameError::NotAName),
            () if at > MAX_NAME => Err(NameError::TooLong),
            () => Ok(Self { wire: wire.into() }),
        }
    }

    /// The name with `label` in front of it.
    ///
    /// # Errors
    /// [`NameError`] if the label or the whole is too long, or the label empty.
    pub fn child(&self, label: impl AsRef<[u8]>) -> Result<Self, NameError> {
        let mut wire = Vec::with_capacity(self.wire.len() + label.as_ref().len() + 1);
        push_label(&mut wire, &mut label.as_ref().to_vec())?;
        wire.extend_from_slice(&self.wire);
        if wire.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        Ok(Self { wire: wire.into() })
    }

    /// The labels of `self`, then those of `suffix`: `_wireguard._udp` below a zone.
    ///
    /// # Errors
    /// [`NameError::TooLong`].
    pub fn below(&self, suffix: &Self) -> Result<Self, NameError> {
        let labels = &self.wire[..self.wire.len() - 1];
        if labels.len() + suffix.wire.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        Ok(Self { wire: [labels, &suffix.wire].concat().into() })
    }

    /// The wire form, in the case it has.
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// The labels from the left, without the root.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &*self.wire;
        core::iter::from_fn(move || {
            let (&length, after) = rest.split_first()?;
            let label = after.get(..usize::from(length)).filter(|label| !label.is_empty())?;
            rest = &after[label.len()..];
            Some(label)
        })
    }

    /// True for `.`.
    pub fn is_root(&self) -> bool {
        self.wire.len() == 1
    }

    /// The name without its first label; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let first = self.labels().next()?.len();
        Some(Self { wire: self.wire[1 + first..].into() })
    }

    /// True if `self` is `zone` or below it.
    pub fn is_in(&self, zone: &Self) -> bool {
        let mut at = 0;
        loop {
            match (self.wire.len() - at).cmp(&zone.wire.len()) {
                Ordering::Less => return false,
                Ordering::Equal => return self.wire[at..].eq_ignore_ascii_case(&zone.wire),
                Ordering::Greater => at += 1 + usize::from(self.wire[at]),
            }
        }
    }

    /// The name in lower case: what tables are keyed by.
    pub fn to_lowercase(&self) -> Self {
        Self { wire: self.wire.to_ascii_lowercase().into() }
    }
}

/// Appends the finished label to the wire form and empties it.
fn push_label(wire: &mut Vec<u8>, label: &mut Vec<u8>) -> Result<(), NameError> {
    match u8::try_from(label.len()) {
        Ok(0) => Err(NameError::EmptyLabel),
        Ok(length) if usize::from(length) <= MAX_LABEL => {
            wire.push(length);
            wire.append(label);
            Ok(())
        }
        Ok(_) | Err(_) => Err(NameError::LabelTooLong),
    }
}

/// The byte after a backslash: itself, or three decimal digits.
fn escaped(bytes: &mut core::iter::Peekable<core::str::Bytes<'_>>) -> Result<u8, NameError> {
    let first = bytes.next().ok_or(NameError::BadEscape)?;
    if !first.is_ascii_digit() {
        return Ok(first);
    }
    let mut value = u16::from(first - b'0');
    for _ in 0..2 {
        let digit = bytes.next().filter(u8::is_ascii_digit).ok_or(NameError::BadEscape)?;
        value = value * 10 + u16::from(digit - b'0');
    }
    u8::try_from(value).map_err(|_| NameError::BadEscape)
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

// A length byte is at most 63 and so never an upper-case letter: the whole wire form may be compared without case.
impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.wire.eq_ignore_ascii_case(&other.wire)
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.wire.iter().for_each(|byte| state.write_u8(byte.to_ascii_lowercase()));
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The order of the wire bytes in lower case; not the canonical order of DNSSEC.
impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        let lower = |name: &Self| name.wire.to_ascii_lowercase();
        lower(self).cmp(&lower(other))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for label in self.labels() {
            for &byte in label {
                match byte {
                    b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => write!(f, "\\{}", char::from(byte))?,
                    0x21..=0x7e => write!(f, "{}", char::from(byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests;
