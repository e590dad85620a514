//! Why bytes are not the packet they were taken for. One enum for all protocols, so that it can be counted in one table.

use core::fmt;

/// Why bytes are not the packet they were taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Malformed {
    /// The buffer ends before the fixed header does.
    Truncated,
    /// The version or type field names another protocol.
    Version,
    /// The header says that it is shorter than the smallest one, or longer than the packet.
    HeaderLength,
    /// The packet says that it is shorter than its header, or longer than the buffer.
    Length,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the packet ends inside its header",
            Self::Version => "the version field names another protocol",
            Self::HeaderLength => "the header length field is impossible",
            Self::Length => "the length field does not fit the bytes there are",
        })
    }
}

impl core::error::Error for Malformed {}
