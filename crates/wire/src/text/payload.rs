//! Payloads: numbers of zeros and texts in quotes, one after another.

use core::fmt;
use core::ops::Deref;

use super::MAX_LEN;
use super::words::{LineError, Words};

/// Bytes, written as what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload(pub Vec<u8>);

/// A run of zeros at least this long is written as a number even between other bytes.
const RUN: usize = 8;

impl Payload {
    /// So many zeros.
    pub fn zeros(len: usize) -> Self {
        Self(vec![0; len])
    }
}

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_slice();
        let zeros = |bytes: &[u8]| bytes.iter().take_while(|&&byte| byte == 0).count();
        if zeros(rest) == rest.len() {
            return write!(f, "{}", rest.len());
        }
        let mut blank = "";
        while !rest.is_empty() {
            f.write_str(blank)?;
            blank = " ";
            let run = zeros(rest);
            if run >= RUN {
                write!(f, "{run}")?;
                rest = &rest[run..];
                continue;
            }
            let is_run = |at: &usize| rest[*at] == 0 && zeros(&rest[*at..]) >= RUN;
            let text;
            (text, rest) = rest.split_at((0..rest.len()).find(is_run).unwrap_or(rest.len()));
            write!(f, "\"{}\"", Escaped(text))?;
        }
        Ok(())
    }
}

struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&byte| match byte {
            b'\r' => f.write_str("\\r"),
            b'\n' => f.write_str("\\n"),
            b'\t' => f.write_str("\\t"),
            b'"' => f.write_str("\\\""),
            b'\\' => f.write_str("\\\\"),
            b' '..=b'~' => write!(f, "{}", char::from(byte)),
            _ => write!(f, "\\x{byte:02x}"),
        })
    }
}

impl Words<'_> {
    /// A payload: at least one piece of it.
    pub(super) fn payload(&mut self) -> Result<Payload, LineError> {
        let mut bytes = Vec::new();
        let is_piece = |word: &str| word.starts_with('"') || word.starts_with(|first: char| first.is_ascii_digit());
        let mut first = true;
        while first || self.peek().is_some_and(is_piece) {
            first = false;
            if self.peek().is_some_and(|word| word.starts_with('"')) {
                let word = self.expect("a text")?;
                unescape(word, &mut bytes).ok_or_else(|| LineError::new("a text in quotes", word))?;
            } else {
                let len: usize = self.number("a payload length")?;
                if len > MAX_LEN {
                    return Err(LineError::new("a length that IP allows", &len.to_string()));
                }
                bytes.resize(bytes.len() + len, 0);
            }
            if bytes.len() > MAX_LEN {
                return Err(LineError::new("a length that IP allows", &bytes.len().to_string()));
            }
        }
        Ok(Payload(bytes))
    }
}

fn unescape(word: &str, bytes: &mut Vec<u8>) -> Option<()> {
    let mut rest = word.strip_prefix('"')?.strip_suffix('"')?.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'\\' => match rest.next()? {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'x' => {
                    let mut digit = || char::from(rest.next()?).to_digit(16);
                    (digit()? << 4 | digit()?) as u8
                }
                literal @ (b'"' | b'\\') => literal,
                _ => return None,
            },
            byte => byte,
        };
        bytes.push(byte);
    }
    Some(())
}
