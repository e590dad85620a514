//! Two addresses, two ports: the four sockets of a server for behaviour discovery (RFC 5780 §6).

use core::net::{IpAddr, SocketAddr};

use crate::behaviour::Change;
use crate::binding::PlainAnswers;

/// One of the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Local {
    /// At the second address.
    pub second_ip: bool,
    /// At the second port.
    pub second_port: bool,
}

impl Local {
    /// The first port of the first address, where most ask.
    pub const FIRST: Self = Self { second_ip: false, second_port: false };
    /// All of them, in the order of [`index`](Self::index).
    pub const ALL: [Self; 4] = [
        Self::FIRST,
        Self { second_ip: false, second_port: true },
        Self { second_ip: true, second_port: false },
        Self { second_ip: true, second_port: true },
    ];

    /// 0 to 3.
    pub const fn index(self) -> usize {
        (self.second_ip as usize) << 1 | self.second_port as usize
    }

    /// The one that a CHANGE-REQUEST at this one means.
    pub const fn changed(self, change: Change) -> Self {
        Self { second_ip: self.second_ip != change.ip, second_port: self.second_port != change.port }
    }

    /// True if it is at the other address than `local`.
    pub(super) fn is_elsewhere(self, local: Self) -> bool {
        self.second_ip != local.second_ip
    }
}

/// Who has the second address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Second {
    /// Nobody.
    Missing,
    /// This host.
    Here(IpAddr),
    /// Another one, with the same ports. Each of the two calls its own address the first.
    Partner(IpAddr),
}

/// The addresses that clients see, which are not those of the sockets where a router translates them one to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The first address.
    pub ip: IpAddr,
    /// The first port.
    pub port: u16,
    /// The second port, the same at both addresses.
    pub second_port: Option<u16>,
    /// The second address.
    pub second: Second,
}

impl Layout {
    /// One address, one port: no behaviour discovery.
    pub const fn single(address: SocketAddr) -> Self {
        Self { ip: address.ip(), port: address.port(), second_port: None, second: Second::Missing }
    }

    /// The address of a socket; of one that does not exist, that of the first in its place.
    pub fn address(&self, local: Local) -> SocketAddr {
        let ip = if local.second_ip { self.second_ip().unwrap_or(self.ip) } else { self.ip };
        let port = if local.second_port { self.second_port.unwrap_or(self.port) } else { self.port };
        SocketAddr::new(ip, port)
    }

    /// OTHER-ADDRESS of answers from `local`: both changed. `None` unless there are two of both.
    pub fn other(&self, local: Local) -> Option<SocketAddr> {
        self.second_ip()?;
        self.second_port?;
        Some(self.address(local.changed(Change::BOTH)))
    }

    /// What a plain request at `local` is answered with.
    pub fn plain_answers(&self, local: Local) -> PlainAnswers {
        match self.other(local) {
            Some(other) => PlainAnswers::with_behaviour(self.address(local), other),
            None => PlainAnswers::new(),
        }
    }

    /// The socket that a CHANGE-REQUEST at `local` means, if there is one.
    pub fn change(&self, local: Local, change: Change) -> Option<Local> {
        let possible = (!change.ip || self.second_ip().is_some()) && (!change.port || self.second_port.is_some());
        possible.then(|| local.changed(change))
    }

    /// The second address, whoever has it.
    pub fn second_ip(&self) -> Option<IpAddr> {
        match self.second {
            Second::Missing => None,
            Second::Here(ip) | Second::Partner(ip) => Some(ip),
        }
    }
}
