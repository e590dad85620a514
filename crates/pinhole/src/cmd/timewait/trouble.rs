//! What to do when the kernel refuses, in one line.

use anyhow::{Error, anyhow};
use pinhole_host::clock::Source;
use pinhole_host::netlink;
use pinhole_host::sysctl::Settings;

/// The error, with what is missing and how to get it.
pub(super) fn explain(error: netlink::Error) -> Error {
    if error.is_not_found() || error.is_unsupported() {
        return anyhow!(
            "this kernel does not list its sockets: load inet_diag (sudo modprobe tcp_diag; CONFIG_INET_TCP_DIAG) ({error})"
        );
    }
    Error::new(error).context("cannot list the TCP sockets")
}

/// What one should know about times whose jiffies come from `source`.
pub(super) const fn of_clock(source: Source) -> Option<&'static str> {
    match source {
        Source::TimerList | Source::SchedStat | Source::Observed => None,
        Source::Guess => Some(
            "times of death may be half a second off, and a few a granule: the kernel's jiffies cannot be read \
             (/proc/timer_list, for root only)",
        ),
    }
}

/// What is taken for settings that cannot be read.
pub(super) fn of_settings(settings: &Settings) -> Option<&'static str> {
    let is_unread = settings.fin_timeout_s.is_none() && settings.port_range.is_none();
    is_unread.then_some("settings are taken as kernels have them by default: /proc/sys/net/ipv4 cannot be read")
}

/// How the view of connection tracking comes to be there.
pub(super) const NO_CONNTRACK: &str = "connection tracking's view is missing: it is shown to CAP_NET_ADMIN only (sudo)";
