//! What would make a claim work sooner.

use super::{Held, Rule};

/// One thing that helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Remedy {
    /// Wait.
    Wait {
        /// So many milliseconds.
        ms: u64,
    },
    /// Set SO_REUSEADDR on the new socket before bind(), as the dead one had it.
    SetReuseAddr,
    /// Set SO_REUSEPORT on the new socket before bind(), as the dead one had it.
    SetReusePort,
    /// Next time set SO_REUSEADDR before the first bind() or connect(), and on every socket of that port.
    SetBothNextTime,
    /// Turn `net.ipv4.tcp_timestamps` on, on both hosts; it counts for connections from then on.
    TurnTimestampsOn,
    /// listen() on the port and let the other side connect: it works at once.
    Listen,
    /// Take another port.
    OtherPort,
    /// Close with SO_LINGER 0 next time: a RST instead of TIME_WAIT.
    LingerZeroNextTime,
    /// Let connect() choose the port: without bind(), or with IP_BIND_ADDRESS_NO_PORT.
    ChooseAtConnect,
    /// bind() to the port explicitly: connect() then asks for timestamps only.
    BindExplicitly,
    /// Set `net.ipv4.tcp_tw_reuse=1`.
    SetTwReuse,
    /// Destroy the dead socket (`ss -K`, SOCK_DESTROY), which needs CAP_NET_ADMIN.
    Destroy,
}

/// When bind() says that the port is in use.
pub(super) fn of_bind(rule: Rule, held: &Held) -> Vec<Remedy> {
    let wait = Remedy::Wait { ms: held.left_ms };
    match rule {
        Rule::NewHasNone | Rule::DifferentOptions if held.options.reuse_addr => vec![Remedy::SetReuseAddr, wait],
        Rule::NewHasNone | Rule::DifferentOptions => vec![Remedy::SetReusePort, wait],
        _ => vec![Remedy::OtherPort, Remedy::Destroy, wait, Remedy::SetBothNextTime],
    }
}

/// When connect() misses timestamps.
pub(super) fn without_timestamps() -> Vec<Remedy> {
    vec![Remedy::Listen, Remedy::OtherPort, Remedy::Destroy, Remedy::TurnTimestampsOn, Remedy::LingerZeroNextTime]
}
