//! Why a netlink request failed.

use std::fmt;
use std::io;

/// What went wrong between a request and its answer.
#[derive(Debug)]
pub enum Error {
    /// The socket itself failed.
    Socket(io::Error),
    /// The kernel refused the request.
    Kernel {
        /// The reason, as a positive errno.
        errno: i32,
        /// The kernel's explanation, when it gave one (`NLMSGERR_ATTR_MSG`).
        text: Option<String>,
    },
    /// The kernel's answer does not parse; the text names the part.
    Malformed(&'static str),
    /// The table kept changing while it was being listed, or events were lost because nobody read them in time.
    Overrun,
}

impl Error {
    /// The errno behind the failure, if there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Kernel { errno, .. } => Some(*errno),
            Self::Socket(error) => error.raw_os_error(),
            Self::Malformed(_) | Self::Overrun => None,
        }
    }

    /// Whether the object that the request was about does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self.errno(), Some(libc::ENOENT | libc::ENODEV | libc::ESRCH | libc::EADDRNOTAVAIL))
    }

    /// Whether the object to be made is there already.
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }

    /// Whether the kernel lacks the subsystem or refuses it here.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.errno(), Some(libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT | libc::EINVAL))
    }

    /// Whether the caller lacks the privilege.
    pub fn is_permission(&self) -> bool {
        matches!(self.errno(), Some(libc::EPERM | libc::EACCES))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(error) => write!(f, "netlink: {error}"),
            Self::Kernel { errno, text } => {
                write!(f, "{}", io::Error::from_raw_os_error(*errno))?;
                text.iter().try_for_each(|text| write!(f, ": {text}"))
            }
            Self::Malformed(part) => write!(f, "netlink: the kernel's {part} does not parse"),
            Self::Overrun => f.write_str("netlink: the table changed faster than it could be read"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Socket(error) => Some(error),
            Self::Kernel { .. } | Self::Malformed(_) | Self::Overrun => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Socket(errno.into())
    }
}
