//! Packets as bytes: views that read and edit them in place, checksums, builders, flows, a text notation, and pcap files.
//!
//! The model: every protocol is a module with one type, `Packet<T: AsRef<[u8]>>`. [`new_checked`](ipv4::Packet::new_checked)
//! proves once that every fixed field and every length the header names lies inside the buffer; after that getters are
//! plain reads, and with `T: AsMut<[u8]>` there are setters. Learn one, know all. Views borrow, never allocate and never
//! copy a payload.
//!
//! | module | layer |
//! |---|---|
//! | [`ipv4`], [`ipv6`], [`ip`] | the network layer; `ip` is whichever of the two the first nibble says |
//! | [`udp`], [`tcp`], [`icmp`] | the transport layer; `icmp` is both ICMP and ICMPv6, which share a header |
//! | [`wireguard`] | the four message types, so far as they are readable without a key |
//! | [`checksum`], [`edit`], [`build`], [`answer`] | what is done to packets |
//! | [`offload`] | what the kernel leaves to, and takes from, the other end of a TUN device |
//! | [`flow`], [`text`], [`pcap`] | how packets are named, written down and stored |
//!
//! Deliberately not here: Ethernet (pinhole meets packets at a TUN device or a raw socket; only captures have frames),
//! reassembly, TCP options beyond
//! their bytes, and any state. What a packet means for a connection is for others to say.

pub mod answer;
pub mod build;
mod bytes;
pub mod checksum;
pub mod edit;
pub mod flow;
pub mod icmp;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
mod malformed;
pub mod offload;
pub mod pcap;
mod protocol;
pub mod tcp;
pub mod text;
pub mod udp;
pub mod wireguard;

pub use flow::Flow;
pub use malformed::Malformed;
pub use protocol::Protocol;
