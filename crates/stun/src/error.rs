//! ERROR-CODE and UNKNOWN-ATTRIBUTES (RFC 8489 §14.8, §14.13).

use core::fmt;

use crate::AttributeType;

/// An error and the text that came with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode<'a> {
    /// 300 to 699.
    pub code: u16,
    /// For people; what is not UTF-8 in it is left out from there on.
    pub reason: &'a str,
}

impl<'a> ErrorCode<'a> {
    /// Ask ALTERNATE-SERVER (RFC 8489 §10).
    pub const TRY_ALTERNATE: u16 = 300;
    /// The request makes no sense.
    pub const BAD_REQUEST: u16 = 400;
    /// Credentials are missing or wrong.
    pub const UNAUTHENTICATED: u16 = 401;
    /// Attributes that must be understood are not.
    pub const UNKNOWN_ATTRIBUTE: u16 = 420;
    /// Of RFC 3489: the shared secret has expired.
    pub const STALE_CREDENTIALS: u16 = 430;
    /// Of RFC 3489: the HMAC is wrong.
    pub const INTEGRITY_CHECK_FAILURE: u16 = 431;
    /// Of RFC 3489: there is a HMAC and no name.
    pub const MISSING_USERNAME: u16 = 432;
    /// Of RFC 3489: shared secrets are for TLS.
    pub const USE_TLS: u16 = 433;
    /// The nonce has expired.
    pub const STALE_NONCE: u16 = 438;
    /// The server is ill; later it may not be.
    pub const SERVER_ERROR: u16 = 500;
    /// Of RFC 3489: will not, ever.
    pub const GLOBAL_FAILURE: u16 = 600;

    /// Reads the value of ERROR-CODE. `None` if it is too short or its code out of range.
    pub fn read(value: &'a [u8]) -> Option<Self> {
        let (&[_, _, class, number], reason) = value.split_first_chunk::<4>()?;
        let (class, number) = (u16::from(class & 0x07), u16::from(number));
        if !(3..=6).contains(&class) || number > 99 {
            return None;
        }
        let reason = match core::str::from_utf8(reason) {
            Ok(reason) => reason,
            Err(error) => core::str::from_utf8(&reason[..error.valid_up_to()]).unwrap_or_default(),
        };
        Some(Self { code: class * 100 + number, reason })
    }

    /// An error with the RFC's own words for it.
    pub const fn standard(code: u16) -> ErrorCode<'static> {
        let reason = match code {
            Self::TRY_ALTERNATE => "Try Alternate",
            Self::BAD_REQUEST => "Bad Request",
            Self::UNAUTHENTICATED => "Unauthenticated",
            Self::UNKNOWN_ATTRIBUTE => "Unknown Attribute",
            Self::STALE_CREDENTIALS => "Stale Credentials",
            Self::INTEGRITY_CHECK_FAILURE => "Integrity Check Failure",
            Self::MISSING_USERNAME => "Missing Username",
            Self::USE_TLS => "Use TLS",
            Self::STALE_NONCE => "Stale Nonce",
            Self::SERVER_ERROR => "Server Error",
            Self::GLOBAL_FAILURE => "Global Failure",
            _ => "",
        };
        ErrorCode { code, reason }
    }

    /// The four bytes before the text.
    pub(crate) fn head(&self) -> [u8; 4] {
        [0, 0, (self.code / 100) as u8 & 0x07, (self.code % 100) as u8]
    }
}

impl fmt::Display for ErrorCode<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            "" => write!(f, "{}", self.code),
            reason => write!(f, "{} {reason}", self.code),
        }
    }
}

/// Reads the value of UNKNOWN-ATTRIBUTES. RFC 3489 repeats a type to fill the last word: it comes twice here too.
pub fn read_unknown(value: &[u8]) -> impl Iterator<Item = AttributeType> + '_ {
    value.chunks_exact(2).map(|pair| AttributeType(u16::from_be_bytes([pair[0], pair[1]])))
}
