//! What is asked for, and what came of it, in words.

use std::fmt;
use std::io;
use std::str::FromStr;

use crate::bpf::{AttachMode, LoadError};

/// An interface whose requests are to be answered before they reach a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Which.
    pub interface: Which,
    /// In this mode only; `None`: in the driver where that works, else behind it.
    pub mode: Option<AttachMode>,
}

/// Which interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those that are up, carry Ethernet, have an address that is served, and belong to no bridge, bond or VRF.
    All,
    /// The one of this name.
    Named(String),
}

impl FromStr for Wish {
    type Err = String;

    /// `auto` or a name, then perhaps `:native` or `:generic`. No interface has a colon in its name.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, mode) = match text.split_once(':') {
            None => (text, None),
            Some((name, "native")) => (name, Some(AttachMode::Native)),
            Some((name, "generic")) => (name, Some(AttachMode::Generic)),
            Some((_, mode)) => return Err(format!("`{mode}` is no mode of XDP: expected native or generic")),
        };
        let interface = match name {
            "" => return Err("expected the name of an interface, or auto".to_owned()),
            "auto" => Which::All,
            name => Which::Named(name.to_owned()),
        };
        Ok(Self { interface, mode })
    }
}

/// What became of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its name; `auto` if there is none.
    pub interface: String,
    /// Who answers there.
    pub state: State,
}

impl Report {
    /// There is no program for `wish`.
    pub(super) fn without(wish: &Wish, refusal: Refusal) -> Self {
        let interface = match &wish.interface {
            Which::All => "auto".to_owned(),
            Which::Named(name) => name.clone(),
        };
        Self { interface, state: State::Sockets(refusal) }
    }
}

/// Who answers plain requests that come in by an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// A program in the driver.
    Native,
    /// A program behind the driver.
    Generic(Behind),
    /// The server's sockets, as without XDP.
    Sockets(Refusal),
}

/// Why a program is behind the driver and not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behind {
    /// It was asked for.
    Asked,
    /// The other end of a veth pair takes what is sent in the driver only if it has an XDP program too (veth_xdp_flush of
    /// drivers/net/veth.c), which is not to be seen from here.
    Veth,
    /// The driver does not do it, or not now: what it said.
    Driver(String),
}

/// Why there is no program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such interface.
    Missing,
    /// There is none at all that would do.
    NoneFits,
    /// It carries no Ethernet frames.
    NotEthernet,
    /// None of this host's addresses is served, or they are too many.
    NoAddress,
    /// This process may not.
    Permission,
    /// Another program is there.
    Taken,
    /// The kernel refuses: what it said.
    Kernel(String),
}

impl Refusal {
    pub(super) fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Permission,
            Some(libc::EBUSY | libc::EEXIST) => Self::Taken,
            _ => Self::Kernel(error.to_string()),
        }
    }
}

impl From<LoadError> for Refusal {
    fn from(error: LoadError) -> Self {
        // EACCES is also what the verifier says of a program that reads where it must not; only then is there a log.
        if error.log.is_empty() { Self::of(&error.source) } else { Self::Kernel(error.to_string()) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interface, state } = self;
        match state {
            State::Native => write!(f, "plain requests on {interface} are answered in its driver (XDP)"),
            State::Generic(behind) => {
                write!(f, "plain requests on {interface} are answered right behind its driver (generic XDP: {behind})")
            }
            State::Sockets(refusal) => write!(f, "no XDP on {interface}, sockets answer everything: {refusal}"),
        }
    }
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("as asked"),
            Self::Veth => {
                f.write_str("a veth, which sends from its driver only to an end with an XDP program; `:native` insists")
            }
            Self::Driver(said) => write!(f, "its driver says: {said}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "there is no such interface; `ip link` lists those there are",
            Self::NoneFits => "no Ethernet interface that is up has an address that is served",
            Self::NotEthernet => "it carries no Ethernet frames",
            Self::NoAddress => "no address of this host is served there, or more than 64 are",
            Self::Permission => "it needs CAP_BPF and CAP_NET_ADMIN; run as root",
            Self::Taken => "another XDP program is there; `ip link show` names it",
            Self::Kernel(said) => said,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_and_a_mode_are_read() {
        let wish = |interface, mode| Ok(Wish { interface, mode });
        let named = || Which::Named("eth0".to_owned());
        assert_eq!("auto".parse(), wish(Which::All, None));
        assert_eq!("auto:generic".parse(), wish(Which::All, Some(AttachMode::Generic)));
        assert_eq!("eth0".parse(), wish(named(), None));
        assert_eq!("eth0:native".parse(), wish(named(), Some(AttachMode::Native)));
        for wrong in ["", ":native", "eth0:fast", "eth0:"] {
            assert!(wrong.parse::<Wish>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_became_of_an_interface_is_a_line() {
        let line = |state| Report { interface: "eth0".to_owned(), state }.to_string();
        assert_eq!(line(State::Native), "plain requests on eth0 are answered in its driver (XDP)");
        assert_eq!(
            line(State::Generic(Behind::Asked)),
            "plain requests on eth0 are answered right behind its driver (generic XDP: as asked)"
        );
        assert_eq!(
            line(State::Sockets(Refusal::Permission)),
            "no XDP on eth0, sockets answer everything: it needs CAP_BPF and CAP_NET_ADMIN; run as root"
        );
    }
}
