//! Sockets, TUN, netlink and namespaces: every system call pinhole makes.

mod batch;
mod bound;
pub mod bpf;
pub mod clock;
pub mod dns;
pub mod embedded;
pub mod extra;
pub mod gateway;
pub mod handover;
pub mod local_time;
pub mod namespace;
pub mod netlink;
pub mod nft;
pub mod own_port;
pub mod probe;
pub mod raw;
pub mod relay;
pub mod stun;
pub mod survey;
pub mod sysctl;
mod ttl;
pub mod tun;
pub mod udp;
pub mod wireguard;
