//! Which setting helps how much.

use super::{Forecast, Load};
use crate::TIMEWAIT_S;

/// Something that can be changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// `net.ipv4.tcp_tw_reuse=1`, with timestamps on both hosts.
    TwReuse {
        /// How old a connection must be, ms.
        delay_ms: u64,
    },
    /// `net.ipv4.ip_local_port_range="1024 65535"`.
    WiderRange {
        /// How many ports that gives.
        ports: u32,
    },
    /// Another source address, or another destination address or port.
    SecondAddress,
    /// So many requests over each connection.
    Reuse {
        /// How many.
        requests: u32,
    },
    /// The other side closes first, so that TIME_WAIT is there.
    PeerCloses,
    /// Close with SO_LINGER 0: a RST, no TIME_WAIT, and what is not sent yet is lost.
    LingerZero,
    /// `net.ipv4.tcp_fin_timeout`: of FIN_WAIT_2, not of TIME_WAIT.
    FinTimeout,
}

/// What a change comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effect {
    /// The change.
    pub change: Change,
    /// Connections (with [`Change::Reuse`], requests) a second that are sustainable with it; infinite if nothing stands in the way.
    pub sustainable_per_s: f64,
}

/// All of them for a forecast, the largest effect first.
///
/// `delay_ms` is that of `tcp_tw_reuse`; `wide` the ports of the range from 1024 on, less what is reserved and blocked.
pub fn changes(forecast: &Forecast, load: Load, delay_ms: u64, wide: u32) -> Vec<Effect> {
    /// A modest pool of connections.
    const REQUESTS: u32 = 100;
    let ports = f64::from(forecast.ports);
    let now_per_s = forecast.sustainable_per_s;
    let without_wait = if load.duration_s > 0.0 { ports / load.duration_s } else { f64::INFINITY };
    let held_s = load.duration_s + (delay_ms as f64 / 1000.0).min(TIMEWAIT_S as f64);
    let mut effects: Vec<_> = [
        (Change::TwReuse { delay_ms }, ports / held_s),
        (Change::WiderRange { ports: wide }, now_per_s * f64::from(wide) / ports.max(1.0)),
        (Change::SecondAddress, now_per_s * 2.0),
        (Change::Reuse { requests: REQUESTS }, now_per_s * f64::from(REQUESTS)),
        (Change::PeerCloses, without_wait),
        (Change::LingerZero, without_wait),
        (Change::FinTimeout, now_per_s),
    ]
    .into_iter()
    // What is on already is in the forecast.
    .filter(|(change, _)| load.reused_after_s.is_none() || !matches!(change, Change::TwReuse { .. }))
    .map(|(change, sustainable_per_s)| Effect { change, sustainable_per_s })
    .collect();
    effects.sort_by(|a, b| b.sustainable_per_s.total_cmp(&a.sustainable_per_s));
    effects
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TwReuse { delay_ms } => write!(
                f,
                "net.ipv4.tcp_tw_reuse=1 (timestamps on both hosts; a port comes back {:.1} s after its last segment)",
                *delay_ms as f64 / 1000.0
            ),
            Self::WiderRange { ports } => write!(f, "net.ipv4.ip_local_port_range=\"1024 65535\" ({ports} ports)"),
            Self::SecondAddress => {
                f.write_str("a second source address, or a second address or port of the destination")
            }
            Self::Reuse { requests } => write!(f, "connections that are kept: {requests} requests over each"),
            Self::PeerCloses => f.write_str("the other side closes first, and keeps the TIME_WAIT"),
            Self::LingerZero => f.write_str("close with SO_LINGER 0 (a RST; data that is not sent yet is lost)"),
            Self::FinTimeout => f.write_str("net.ipv4.tcp_fin_timeout: nothing, it is not TIME_WAIT's"),
        }
    }
}
