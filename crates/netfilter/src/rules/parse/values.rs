//! What options take: numbers, ports, addresses, marks, and ranges of these.

use core::net::IpAddr;

use crate::rules::{MarkTest, Masked, Problem, Span, names};
use crate::tuple::Address;

/// An option as it is written in a line: `! --name value value`.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// Its name.
    pub option: &'static str,
    /// Whether `!` stands before it.
    pub not: bool,
    /// What follows it.
    pub values: Vec<String>,
}

impl Given {
    /// The first value.
    pub fn value(&self) -> &str {
        self.values.first().map_or("", String::as_str)
    }

    /// What is wrong if the value is not what the option takes.
    pub fn wants(&self, wanted: &str) -> Problem {
        self.refuses(self.value(), wanted)
    }

    /// What is wrong with one of several values.
    pub fn refuses(&self, value: &str, wanted: &str) -> Problem {
        Problem::Value { option: self.option.to_owned(), value: value.to_owned(), wanted: wanted.to_owned() }
    }

    /// A number: decimal, `0x` hexadecimal, or octal with a zero before it.
    pub fn number<N: TryFrom<u64>>(&self, wanted: &str) -> Result<N, Problem> {
        number(self.value()).ok_or_else(|| self.wants(wanted))
    }

    /// `low:high`, `low:`, `:high` or a number.
    pub fn span(&self, highest: u32) -> Result<Span<u32>, Problem> {
        let wanted = || self.wants(&format!("a number or LOW:HIGH, up to {highest}"));
        let parse = |text: &str| number::<u32>(text).filter(|&number| number <= highest);
        let span = match self.value().split_once(':') {
            None => Span::one(parse(self.value()).ok_or_else(wanted)?),
            Some((low, high)) => Span {
                min: if low.is_empty() { 0 } else { parse(low).ok_or_else(wanted)? },
                max: if high.is_empty() { highest } else { parse(high).ok_or_else(wanted)? },
            },
        };
        if span.max < span.min { Err(self.wants("a range that ends behind its beginning")) } else { Ok(span) }
    }

    /// Ports, by name or number, or a range of them.
    pub fn ports(&self, text: &str) -> Result<Span<u16>, Problem> {
        let wanted = || self.refuses(text, "a port, by number or well-known name, or LOW:HIGH");
        let parse = |text: &str| names::port(text).or_else(|| number(text));
        let span = match text.split_once(':') {
            None => Span::one(parse(text).ok_or_else(wanted)?),
            Some((low, high)) => Span {
                min: if low.is_empty() { 0 } else { parse(low).ok_or_else(wanted)? },
                max: if high.is_empty() { u16::MAX } else { parse(high).ok_or_else(wanted)? },
            },
        };
        if span.max < span.min { Err(self.refuses(text, "a range that ends behind its beginning")) } else { Ok(span) }
    }

    /// An address with a prefix length, a mask, or neither.
    pub fn network<A: Address>(&self, text: &str) -> Result<Masked<A>, Problem> {
        network(text).ok_or_else(|| {
            let family = if A::IS_V4 { "an IPv4" } else { "an IPv6" };
            self.refuses(
                text,
                &format!("{family} address, ADDRESS/LENGTH or ADDRESS/MASK; names of hosts are not looked up"),
            )
        })
    }

    /// A mark with a mask, or the whole mark.
    pub fn mark(&self) -> Result<MarkTest, Problem> {
        let wanted = || self.wants("a number of 32 bits, such as 0x10, or MARK/MASK");
        let (mark, mask) = match self.value().split_once('/') {
            Some((mark, mask)) => (mark, number(mask).ok_or_else(wanted)?),
            None => (self.value(), u32::MAX),
        };
        Ok(MarkTest { mark: number(mark).ok_or_else(wanted)?, mask })
    }
}

/// A number as the C library reads it.
pub(super) fn number<N: TryFrom<u64>>(text: &str) -> Option<N> {
    let digits = |text: &str, radix| match text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        true => u64::from_str_radix(text, radix).ok(),
        false => None,
    };
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hexadecimal) => digits(hexadecimal, 16),
        None => match text.strip_prefix('0') {
            Some(octal) if !octal.is_empty() => digits(octal, 8),
            Some(_) | None => digits(text, 10),
        },
    };
    number.and_then(|number| N::try_from(number).ok())
}

/// An address of this family.
pub(super) fn address<A: Address>(text: &str) -> Option<A> {
    text.parse::<IpAddr>().ok().and_then(A::of)
}

/// An address with a prefix length, a mask, or neither.
pub(super) fn network<A: Address>(text: &str) -> Option<Masked<A>> {
    let Some((host, behind)) = text.split_once('/') else { return address(text).map(Masked::one) };
    let host = address(host)?;
    match address(behind) {
        Some(mask) => Some(Masked::new(host, mask)),
        None => number(behind).filter(|&length: &u32| length <= A::BITS).map(|length| Masked::prefix(host, length)),
    }
}
