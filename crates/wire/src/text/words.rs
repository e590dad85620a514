//! The words of a line: what stands between blanks, a parenthesis, a comma, or a text in quotes.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::str::FromStr;

/// Why a text is not a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// The word that was expected.
    pub expected: &'static str,
    /// What stood in its place; empty at the end of the line.
    pub found: String,
}

impl LineError {
    pub(super) fn new(expected: &'static str, found: &str) -> Self {
        Self { expected, found: found.to_owned() }
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = if self.found.is_empty() { "the end of the line" } else { &self.found };
        write!(f, "expected {}, found {found}", self.expected)
    }
}

impl core::error::Error for LineError {}

/// A number that may be written with `0x`.
pub(super) trait Number: FromStr {
    fn of_u64(number: u64) -> Option<Self>;
}

macro_rules! number {
    ($($kind:ty)*) => { $(impl Number for $kind {
        fn of_u64(number: u64) -> Option<Self> {
            Self::try_from(number).ok()
        }
    })* };
}
number!(u8 u16 u32 usize);

/// What is left of a line.
#[derive(Clone)]
pub(super) struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self(text)
    }

    /// The next word, which stays.
    pub(super) fn peek(&self) -> Option<&'a str> {
        self.clone().next()
    }

    /// The next word. A text in quotes keeps them.
    pub(super) fn next(&mut self) -> Option<&'a str> {
        let text = self.0.trim_ascii_start();
        let len = match *text.as_bytes().first()? {
            b'(' | b')' | b',' => 1,
            b'"' => quoted_len(text),
            _ => text.find([' ', '\t', '\n', '\r', '(', ')', ',']).unwrap_or(text.len()),
        };
        // A word of other blanks than the ones above does not end with `trim_ascii_start`, but has a length.
        let (word, rest) = text.split_at(len.max(1).min(text.len()));
        self.0 = rest;
        Some(word)
    }

    pub(super) fn expect(&mut self, expected: &'static str) -> Result<&'a str, LineError> {
        self.next().ok_or(LineError { expected, found: String::new() })
    }

    pub(super) fn literal(&mut self, expected: &'static str) -> Result<(), LineError> {
        let found = self.expect(expected)?;
        if found == expected { Ok(()) } else { Err(LineError::new(expected, found)) }
    }

    /// Takes the word if it is next.
    pub(super) fn take(&mut self, word: &str) -> bool {
        let is_next = self.peek() == Some(word);
        if is_next {
            self.next();
        }
        is_next
    }

    pub(super) fn number<N: Number>(&mut self, expected: &'static str) -> Result<N, LineError> {
        let found = self.expect(expected)?;
        let hex = found.strip_prefix("0x").map(|digits| u64::from_str_radix(digits, 16).ok().and_then(N::of_u64));
        hex.unwrap_or_else(|| found.parse().ok()).ok_or_else(|| LineError::new(expected, found))
    }

    /// `word` and the number after it.
    pub(super) fn field<N: Number>(&mut self, word: &'static str, expected: &'static str) -> Result<N, LineError> {
        self.literal(word)?;
        self.number(expected)
    }

    /// The number after `word`, if that is next.
    pub(super) fn field_or<N: Number>(&mut self, word: &'static str, default: N) -> Result<N, LineError> {
        if self.take(word) { self.number("a number") } else { Ok(default) }
    }

    /// An address, with or without a port.
    pub(super) fn end(&mut self) -> Result<SocketAddr, LineError> {
        let expected = "an address";
        let word = self.expect(expected)?;
        let bare = || word.parse::<IpAddr>().map(|address| SocketAddr::new(address, 0));
        word.parse().or_else(|_| bare()).map_err(|_| {
            let with_zero = word.rsplit_once(':').map(|(address, _)| format!("{address}:0"));
            let is_port = with_zero.is_some_and(|text| text.parse::<SocketAddr>().is_ok());
            LineError::new(if is_port { "an address and a port from 0 to 65535" } else { expected }, word)
        })
    }
}

/// The bytes of the quoted text at the start of `text`, quotes included; all of it if they are not closed.
fn quoted_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}
