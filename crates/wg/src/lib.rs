//! WireGuard as pinhole sees it from outside: keys, a device with its peers, changes to them, the texts that describe them
//! (wg-quick files and the UAPI), and the arbitration that decides whether a path works.
//!
//! Pure: nothing here opens a socket or reads a clock. The data plane is the crate `tunnel`; the ways to a live device are in
//! `host`.

pub mod arbiter;
mod device;
mod key;
mod prefix;
pub mod quick;
pub mod uapi;

pub use device::{Device, DeviceUpdate, Peer, PeerUpdate};
pub use key::{Key, KeyError, PresharedKey, PrivateKey};
pub use prefix::prefix;
