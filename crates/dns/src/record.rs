//! Resource records: types, classes, response codes, and the record data that pinhole knows.
//!
//! Everything else is carried as opaque bytes (RFC 3597).

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use crate::Name;

/// A record or question type.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Type(pub u16);

impl Type {
    /// An IPv4 address (RFC 1035 §3.4.1).
    pub const A: Self = Self(1);
    /// A name server (RFC 1035 §3.3.11).
    pub const NS: Self = Self(2);
    /// An alias (RFC 1035 §3.3.1).
    pub const CNAME: Self = Self(5);
    /// The start of authority (RFC 1035 §3.3.13).
    pub const SOA: Self = Self(6);
    /// A pointer to a name (RFC 1035 §3.3.12).
    pub const PTR: Self = Self(12);
    /// Host information; here only the answer to ANY (RFC 8482 §4.2).
    pub const HINFO: Self = Self(13);
    /// Text strings (RFC 1035 §3.3.14).
    pub const TXT: Self = Self(16);
    /// An IPv6 address (RFC 3596).
    pub const AAAA: Self = Self(28);
    /// A service's host and port (RFC 2782).
    pub const SRV: Self = Self(33);
    /// The EDNS pseudo record (RFC 6891).
    pub const OPT: Self = Self(41);
    /// The first type that is a question only, never data (RFC 6895 §3.1).
    pub const FIRST_META: Self = Self(128);
    /// The last type that is a question only.
    pub const LAST_META: Self = Self(255);
    /// Incremental zone transfer (RFC 1995).
    pub const IXFR: Self = Self(251);
    /// Zone transfer (RFC 5936).
    pub const AXFR: Self = Self(252);
    /// Any type (RFC 1035 §3.2.3, RFC 8482).
    pub const ANY: Self = Self(255);
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::A => f.write_str("A"),
            Self::NS => f.write_str("NS"),
            Self::CNAME => f.write_str("CNAME"),
            Self::SOA => f.write_str("SOA"),
            Self::PTR => f.write_str("PTR"),
            Self::HINFO => f.write_str("HINFO"),
            Self::TXT => f.write_str("TXT"),
            Self::AAAA => f.write_str("AAAA"),
            Self::SRV => f.write_str("SRV"),
            Self::OPT => f.write_str("OPT"),
            Self::ANY => f.write_str("ANY"),
            Self(other) => write!(f, "TYPE{other}"),
        }
    }
}

impl fmt::Debug for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The Internet class (RFC 1035 §3.2.4).
pub const CLASS_IN: u16 = 1;
/// The question class that means every class (RFC 1035 §3.2.5).
pub const CLASS_ANY: u16 = 255;

/// A response code; codes above 15 need EDNS (RFC 6891 §6.1.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rcode(pub u16);

impl Rcode {
    /// No error.
    pub const NOERROR: Self = Self(0);
    /// The server could not read the query.
    pub const FORMERR: Self = Self(1);
    /// The server failed.
    pub const SERVFAIL: Self = Self(2);
    /// The name does not exist.
    pub const NXDOMAIN: Self = Self(3);
    /// The server does not do this kind of query.
    pub const NOTIMP: Self = Self(4);
    /// The server refuses.
    pub const REFUSED: Self = Self(5);
    /// An EDNS version that the server does not speak (RFC 6891 §9).
    pub const BADVERS: Self = Self(16);
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NOERROR => f.write_str("NOERROR"),
            Self::FORMERR => f.write_str("FORMERR"),
            Self::SERVFAIL => f.write_str("SERVFAIL"),
            Self::NXDOMAIN => f.write_str("NXDOMAIN"),
            Self::NOTIMP => f.write_str("NOTIMP"),
            Self::REFUSED => f.write_str("REFUSED"),
            Self::BADVERS => f.write_str("BADVERS"),
            Self(other) => write!(f, "RCODE{other}"),
        }
    }
}

impl fmt::Debug for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// One resource record of class IN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The name that owns it.
    pub owner: Name,
    /// Seconds it may be cached for.
    pub ttl: u32,
    /// Its data, which says its type.
    pub data: RData,
}

/// The data of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RData {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// A pointer to a name.
    Ptr(Name),
    /// An alias.
    Cname(Name),
    /// A name server.
    Ns(Name),
    /// A service's host and port.
    Srv(Srv),
    /// Strings of at most 255 bytes; longer ones are split when written ([`RData::txt`]).
    Txt(Vec<Vec<u8>>),
    /// The start of authority.
    Soa(Soa),
    /// Any other type, uninterpreted (RFC 3597).
    Unknown(Type, Vec<u8>),
}

/// The data of an SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Lower is tried first.
    pub priority: u16,
    /// Share among equal priorities.
    pub weight: u16,
    /// The service's port.
    pub port: u16,
    /// The host that offers it.
    pub target: Name,
}

/// The data of a start of authority (RFC 1035 §3.3.13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Soa {
    /// The primary name server.
    pub mname: Name,
    /// The mailbox of who is responsible, its `@` written as a dot.
    pub rname: Name,
    /// The version of the zone (RFC 1982 arithmetic).
    pub serial: u32,
    /// Seconds between a secondary's checks.
    pub refresh: u32,
    /// Seconds between its retries.
    pub retry: u32,
    /// Seconds after which it gives the zone up.
    pub expire: u32,
    /// Seconds for which "there is no such name or record" may be cached (RFC 2308 §4).
    pub minimum: u32,
}

impl RData {
    /// TXT data of `strings`; one of more than 255 bytes becomes several strings in a row, which is how a reader that joins
    /// them gets it back ([`sd::entries`](crate::sd::entries)): after 255 bytes the next string goes on, if only to say that
    /// there is no more. No strings at all become one empty string: TXT data may not be empty (RFC 6763 §6.1).
    pub fn txt<S: AsRef<[u8]>>(strings: impl IntoIterator<Item = S>) -> Self {
        let mut split = Vec::new();
        for string in strings {
            let string = string.as_ref();
            split.extend(string.chunks(255).map(<[u8]>::to_vec));
            if string.len() % 255 == 0 {
                split.push(Vec::new());
            }
        }
        if split.is_empty() {
            split.push(Vec::new());
        }
        Self::Txt(split)
    }

    /// The type of the record that holds this.
    pub fn rtype(&self) -> Type {
        match self {
            Self::A(_) => Type::A,
            Self::Aaaa(_) => Type::AAAA,
            Self::Ptr(_) => Type::PTR,
            Self::Cname(_) => Type::CNAME,
            Self::Ns(_) => Type::NS,
            Self::Srv(_) => Type::SRV,
            Self::Txt(_) => Type::TXT,
            Self::Soa(_) => Type::SOA,
            Self::Unknown(rtype, _) => *rtype,
        }
    }
}
