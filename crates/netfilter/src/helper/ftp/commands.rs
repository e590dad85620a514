//! The four texts that announce an address or port, as the kernel reads them: more lenient than the RFCs in what is between
//! the numbers, strict in that a text that only begins as one of them is recognised too.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::Range;

use crate::helper::text::{number, starts_with};
use crate::status::Direction;
use crate::tuple::Address;

/// How an address and port are announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `PORT h,h,h,h,p,p` (RFC 959).
    Port,
    /// `227 ... h,h,h,h,p,p` (RFC 959; where it begins, RFC 1123 §4.1.2.6).
    Pasv,
    /// `EPRT |f|address|port|` (RFC 2428).
    Eprt,
    /// `229 ... (|||port|)` (RFC 2428).
    Epsv,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Port => "PORT",
            Self::Pasv => "227",
            Self::Eprt => "EPRT",
            Self::Epsv => "229",
        })
    }
}

/// An announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command<A> {
    /// How it is written.
    pub form: Form,
    /// Where it is in the payload: the numbers and their delimiters.
    pub range: Range<usize>,
    /// The address; the sender's own where none is written.
    pub address: A,
    /// The port, not zero.
    pub port: u16,
}

/// What a text that begins a line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<A> {
    /// None of the four.
    Nothing,
    /// One of them as far as it goes, but not whole, or with numbers that cannot be.
    Part(Form),
    /// One of them.
    Whole(Command<A>),
}

/// Looks for what `direction` may announce at the start of `text`, which comes from `sender`.
pub fn find<A: Address>(text: &[u8], direction: Direction, sender: A) -> Found<A> {
    let forms = match direction {
        Direction::Original => [Form::Port, Form::Eprt],
        Direction::Reply => [Form::Pasv, Form::Epsv],
    };
    for form in forms {
        let pattern: &[u8; 4] = match form {
            Form::Port => b"PORT",
            Form::Eprt => b"EPRT",
            Form::Pasv => b"227 ",
            Form::Epsv => b"229 ",
        };
        if text.len() <= pattern.len() {
            if !text.is_empty() && starts_with(pattern, text) {
                return Found::Part(form);
            }
        } else if starts_with(text, pattern) {
            return match form.read(text, pattern.len(), sender) {
                Some((range, address, port)) => Found::Whole(Command { form, range, address, port }),
                None => Found::Part(form),
            };
        }
    }
    Found::Nothing
}

impl Form {
    /// The numbers behind the pattern.
    fn read<A: Address>(self, text: &[u8], after: usize, sender: A) -> Option<(Range<usize>, A, u16)> {
        let position = |found: &dyn Fn(u8) -> bool| Some(after + text[after..].iter().position(|&byte| found(byte))?);
        let (start, (len, address, port)) = match self {
            Self::Port => {
                let start = position(&|byte| byte == b' ')? + 1;
                (start, six_numbers(&text[start..], Some(b'\r'), sender)?)
            }
            Self::Pasv => {
                let start = position(&|byte| byte.is_ascii_digit())?;
                (start, six_numbers(&text[start..], None, sender)?)
            }
            Self::Eprt => {
                let start = position(&|byte| byte == b' ')? + 1;
                (start, extended_port(&text[start..])?)
            }
            Self::Epsv => {
                let start = position(&|byte| byte == b'(')? + 1;
                let (len, port) = extended_passive(&text[start..])?;
                (start, (len, sender, port))
            }
        };
        Some((start..start + len, address, port))
    }
}

/// `h,h,h,h,p,p` up to `end`, or up to anything: how long it is, address and port.
fn six_numbers<A: Address>(text: &[u8], end: Option<u8>, sender: A) -> Option<(usize, A, u16)> {
    let ([a, b, c, d, high, low], len) = octets(text, b',', end)?;
    let port = u16::from_be_bytes([high, low]);
    let host_bits = A::BITS - 32;
    // The four octets of an IPv6 address' start, if this is IPv6: never the sender's, so never believed.
    let number =
        u128::from(u32::from_be_bytes([a, b, c, d])) << host_bits | sender.to_number() & ((1 << host_bits) - 1);
    (port != 0).then(|| (len, A::of_number(number), port))
}

/// `|1|address|port|` with any delimiter: how long it is, address and port.
fn extended_port<A: Address>(text: &[u8]) -> Option<(usize, A, u16)> {
    let &[delimiter, family, second, ..] = text else { return None };
    if !is_delimiter(delimiter) || second != delimiter || family != if A::IS_V4 { b'1' } else { b'2' } {
        return None;
    }
    let rest = &text[3..];
    let (address, address_len): (IpAddr, usize) = if A::IS_V4 {
        let ([a, b, c, d], len) = octets(rest, b'.', Some(delimiter))?;
        (Ipv4Addr::new(a, b, c, d).into(), len)
    } else {
        let len = rest.iter().take(46).position(|&byte| byte == delimiter)?;
        (core::str::from_utf8(&rest[..len]).ok()?.parse::<Ipv6Addr>().ok()?.into(), len)
    };
    let port_at = 3 + address_len + 1;
    let (len, port) = port(text.get(port_at..)?, delimiter)?;
    Some((port_at + len, A::of(address)?, port))
}

/// `|||port|` with any delimiter: how long it is, and the port.
fn extended_passive(text: &[u8]) -> Option<(usize, u16)> {
    let &[delimiter, second, third, ..] = text else { return None };
    if !is_delimiter(delimiter) || second != delimiter || third != delimiter {
        return None;
    }
    let (len, port) = port(&text[3..], delimiter)?;
    Some((3 + len, port))
}

/// RFC 2428 §2: any printable character but a digit.
fn is_delimiter(byte: u8) -> bool {
    (33..=126).contains(&byte) && !byte.is_ascii_digit()
}

/// A port with the delimiter behind it: how long both are, and the port.
fn port(text: &[u8], delimiter: u8) -> Option<(usize, u16)> {
    let (port, len) = number(text, u32::from(u16::MAX))?;
    (port != 0 && text.get(len) == Some(&delimiter)).then_some((len + 1, port as u16))
}

/// `N` numbers up to 255 with a separator between, up to `end`, or up to any other byte; and how long they are. Where a
/// number is missing it is zero.
fn octets<const N: usize>(text: &[u8], separator: u8, end: Option<u8>) -> Option<([u8; N], usize)> {
    let mut numbers = [0_u8; N];
    let mut n = 0;
    for (len, &byte) in text.iter().enumerate() {
        if byte.is_ascii_digit() {
            numbers[n] = numbers[n].checked_mul(10)?.checked_add(byte - b'0')?;
        } else if byte == separator {
            n += 1;
            if n == N {
                return None;
            }
        } else {
            let is_end = end.is_none_or(|end| end == byte);
            return (is_end && n == N - 1).then_some((numbers, len));
        }
    }
    None
}
