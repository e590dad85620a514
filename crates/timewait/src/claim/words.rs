//! The rules and remedies in plain words.

use std::fmt;

use super::{Remedy, Rule, Says};

impl fmt::Display for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::InUse => "EADDRINUSE",
            Self::NotAvailable => "EADDRNOTAVAIL",
            Self::NotReached => "not reached",
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OptionOnBoth => "both sockets have the same reuse option",
            Self::DeadHadNone => "the dead socket had neither SO_REUSEADDR nor SO_REUSEPORT when it got the port",
            Self::NewHasNone => "the new socket has no reuse option, the dead one had one",
            Self::DifferentOptions => "the dead socket and the new one have different reuse options",
            Self::OtherPeer => "no dead connection has this 4-tuple",
            Self::TimestampsSuffice => "the port is bound explicitly and the dead connection had timestamps",
            Self::NoTimestamps => "the dead connection had no timestamps",
            Self::TwReuse => "net.ipv4.tcp_tw_reuse gives it to connect()",
            Self::TwReuseOff => "net.ipv4.tcp_tw_reuse is 0",
            Self::TwReuseLoopbackOnly => "net.ipv4.tcp_tw_reuse is 2: loopback only",
            Self::TooYoung => "net.ipv4.tcp_tw_reuse gives it away a moment later",
            Self::StillFinWait2 => "net.ipv4.tcp_tw_reuse never gives FIN_WAIT_2 away",
            Self::AnyPortUnknownPeer => "bind() to port 0 does not know the peer and takes no port that is held",
        })
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait { ms } => write!(f, "wait {:.3} s", *ms as f64 / 1000.0),
            Self::SetReuseAddr => f.write_str("set SO_REUSEADDR on the new socket before bind()"),
            Self::SetReusePort => f.write_str("set SO_REUSEPORT on the new socket before bind()"),
            Self::SetBothNextTime => f.write_str(
                "next time set SO_REUSEADDR before the first bind() or connect(), on every socket of the port",
            ),
            Self::TurnTimestampsOn => {
                f.write_str("turn net.ipv4.tcp_timestamps on, on both hosts (for later connections)")
            }
            Self::Listen => f.write_str("listen() on the port and let the other side connect"),
            Self::OtherPort => f.write_str("take another port"),
            Self::LingerZeroNextTime => f.write_str("next time close with SO_LINGER 0: a RST and no TIME_WAIT"),
            Self::ChooseAtConnect => {
                f.write_str("let connect() choose the port (no bind(), or IP_BIND_ADDRESS_NO_PORT)")
            }
            Self::BindExplicitly => f.write_str("bind() to the port explicitly, with SO_REUSEADDR on both sockets"),
            Self::SetTwReuse => f.write_str("set net.ipv4.tcp_tw_reuse=1"),
            Self::Destroy => f.write_str("destroy the dead socket (ss -K; needs CAP_NET_ADMIN)"),
        }
    }
}
