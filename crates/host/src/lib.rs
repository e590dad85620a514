//! Sockets, TUN, netlink and namespaces: every system call pinhole makes.

mod batch;
mod bound;
pub mod bpf;
pub mod clock;
pub mod dns;
pub mod embedded;
pub mod gateway;
pub mod local_time;
pub mod namespace;
pub mod netlink;
pub mod nft;
pub mod probe;
pub mod raw;
pub mod stun;
pub mod survey;
pub mod sysctl;
pub mod tun;
pub mod udp;
pub mod wireguard;
