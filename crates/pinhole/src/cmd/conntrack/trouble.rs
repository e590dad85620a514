//! What to do when the kernel refuses, in one line.

use anyhow::{Error, anyhow};
use pinhole_host::netlink;

/// The error, with what is missing and how to get it.
pub(super) fn explain(error: netlink::Error) -> Error {
    if error.is_permission() {
        return anyhow!(
            "the kernel shows its connection tracking table only to CAP_NET_ADMIN: run this with sudo, or as root in the \
             network namespace's own user namespace ({error})"
        );
    }
    if error.is_unsupported() {
        return anyhow!(
            "this kernel answers no questions about connection tracking: load ctnetlink (sudo modprobe \
             nf_conntrack_netlink; CONFIG_NF_CT_NETLINK) ({error})"
        );
    }
    Error::new(error).context("cannot read the connection tracking table")
}

/// How byte and packet counts come to be there.
pub(super) const NO_COUNTERS: &str =
    "no counts: the kernel counts new flows once `sysctl -w net.netfilter.nf_conntrack_acct=1` is set";
/// How ages come to be there.
pub(super) const NO_TIMES: &str =
    "no ages: the kernel keeps times of new flows once `sysctl -w net.netfilter.nf_conntrack_timestamp=1` is set";
