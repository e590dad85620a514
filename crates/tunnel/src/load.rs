//! When a responder is under load, and how much each address may then ask of it (the protocol paper §5.3; Linux
//! ratelimiter.c). A handshake costs a few hundred microseconds; everything else is cheap enough to need no limit.

use core::net::{IpAddr, SocketAddr};
use std::collections::HashMap;

use pinhole_sansio::{Duration, Instant};

/// Handshake messages per second from which on senders must prove their address: some 5 % of one core.
const MESSAGES_PER_SECOND: u32 = 200;
/// How long it stays so after the last second in which there were that many (`handshake_queue` in Linux receive.c).
const CALM: Duration = Duration::from_secs(1);
/// Handshake messages per second from one proven address (Linux ratelimiter.c).
const PER_ADDRESS: u64 = 20;
/// How many of them at once (Linux ratelimiter.c).
const BURST: u64 = 5;
/// Addresses that are remembered; beyond that none is let through until old ones expire.
const MAX_ADDRESSES: usize = 4096;

/// How busy the responder is.
#[derive(Debug, Default)]
pub(crate) struct Load {
    second_began: Instant,
    messages: u32,
    loaded_until: Option<Instant>,
    /// For each address, when its bucket was last full enough for one message, in nanoseconds of credit.
    credit: HashMap<IpAddr, (Instant, u64)>,
}

const COST: u64 = 1_000_000_000 / PER_ADDRESS;
const FULL: u64 = COST * BURST;

impl Load {
    /// Counts one handshake message with a valid first MAC, and says whether its sender must prove its address.
    pub(crate) fn count(&mut self, now: Instant) -> bool {
        if now.since(self.second_began) >= Duration::from_secs(1) {
            (self.second_began, self.messages) = (now, 0);
        }
        self.messages += 1;
        if self.messages > MESSAGES_PER_SECOND {
            self.loaded_until = Some(now + CALM);
        }
        self.loaded_until.is_some_and(|until| now < until)
    }

    /// Whether one more message from this proven address may be looked at.
    pub(crate) fn admits(&mut self, now: Instant, from: SocketAddr) -> bool {
        // A customer has a whole /64 of IPv6.
        let key = match from.ip().to_canonical() {
            IpAddr::V4(v4) => IpAddr::V4(v4),
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        };
        if !self.credit.contains_key(&key) && self.credit.len() >= MAX_ADDRESSES {
            self.credit.retain(|_, (since, credit)| earned(now, *since, *credit) < FULL);
            if self.credit.len() >= MAX_ADDRESSES {
                return false;
            }
        }
        let (since, credit) = self.credit.entry(key).or_insert((now, FULL));
        let have = earned(now, *since, *credit);
        let admitted = have >= COST;
        (*since, *credit) = (now, if admitted { have - COST } else { have });
        admitted
    }
}

/// The credit at `now` of a bucket that had `credit` at `since`.
fn earned(now: Instant, since: Instant, credit: u64) -> u64 {
    let passed = u64::try_from(now.since(since).as_nanos()).unwrap_or(u64::MAX);
    credit.saturating_add(passed).min(FULL)
}
