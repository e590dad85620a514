//! TIME_WAIT as Linux keeps it: how long a socket stays, what keeps or ends it, when its port is free, when ports run out.
//!
//! The model: a kernel is a [`Version`], which says the [`Generation`] of its timer, and an [`Hz`], its jiffies per second. Three
//! generations have kept TIME_WAIT sockets: the [`DeathRow`] of eight slots (to 4.0), one timer a socket on the cascading wheel
//! (4.1 to 4.7), and one on the [`timer_wheel`] that rounds up and never cascades (since 4.8). [`lifetime`](mod@lifetime) is
//! what each means for one socket; [`segment`] what a packet does to it; [`claim`] whether its 4-tuple can be had now;
//! [`capacity`] and [`snat`] when ports run out; [`simulate`] whole days of it in virtual time.
//!
//! Times are in jiffies where a kernel's arithmetic is mirrored (`u64`, names end in `_j`), in milliseconds or seconds where
//! people or sockets are meant. What a kernel was asked (sysctls, samples) comes in as an argument; nothing here asks.
//!
//! Not here: the sockets of a running machine (the `host` crate reads them), and the other side of a connection.

pub mod capacity;
pub mod claim;
pub mod death_row;
pub mod fin_wait2;
mod hz;
pub mod lifetime;
pub mod recycle;
pub mod segment;
pub mod simulate;
pub mod snat;
pub mod timer_wheel;
mod version;

pub use death_row::DeathRow;
pub use hz::Hz;
pub use version::{Generation, NotAVersion, Version};

/// `TCP_TIMEWAIT_LEN` (include/net/tcp.h), seconds: what a socket is given, which is less than how long it lasts.
pub const TIMEWAIT_S: u64 = 60;
