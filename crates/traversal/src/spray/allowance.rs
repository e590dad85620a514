//! How often this host sprays, whoever asks for it.
//!
//! An attempt is asked for by the registry in a peer's name. Neither may make this host a flooder: of each peer, of each
//! address and in all only so many probes are let through in an hour, one attempt runs at a time, and a peer with whom
//! attempts fail waits longer and longer. The tables are bounded; when one is full of what still counts, nobody new is
//! let in.

use std::collections::HashMap;

use core::net::{IpAddr, Ipv6Addr};

use pinhole_sansio::{Duration, Instant};

/// In which probes are counted.
const WINDOW: Duration = Duration::from_secs(3_600);
/// Probes to one address in it, whoever is said to be there: four whole attempts, 0.4 MB.
const TO_ONE: u32 = 4_000;
/// Probes in all in it.
const TO_ALL: u32 = 20_000;
/// The wait after the first failure with a peer; each further one makes it four times as long.
const FIRST_WAIT: Duration = Duration::from_secs(15);
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
/// A peer that has not failed for so long starts anew.
const FORGOTTEN: Duration = Duration::from_secs(2 * 3_600);
/// An attempt that nobody has ended is over by then: twice the longest deadline that makes sense.
const LOST: Duration = Duration::from_secs(30);
/// Peers, and addresses, that are remembered.
const MOST: usize = 1_024;

/// Why there is no attempt now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Another runs.
    Busy,
    /// The last with this peer has failed; not before this moment.
    Failed(Instant),
    /// This hour's probes to this address, or in all, are used up.
    Spent,
    /// There is no room to remember another peer or address.
    Full,
}

/// What a peer calls itself: its WireGuard public key.
type Peer = [u8; 32];

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Allowance {
    all: Window,
    targets: HashMap<IpAddr, Window>,
    peers: HashMap<Peer, Failures>,
    running: Option<Running>,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    peer: Peer,
    target: IpAddr,
    granted: u32,
    since: Instant,
}

/// Probes since a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    since: Instant,
    probes: u32,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Allowance {
    /// Nothing has been sprayed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many of `wanted` probes may be sent to `target` now for `peer`. If any, the attempt runs until it is
    /// [`ended`](Self::ended).
    ///
    /// # Errors
    /// If there may be no attempt now.
    pub fn ask(&mut self, now: Instant, peer: Peer, target: IpAddr, wanted: u32) -> Result<u32, Denied> {
        self.forget(now);
        if self.running.is_some() {
            return Err(Denied::Busy);
        }
        let target = network(target);
        if let Some(until) = self.peers.get(&peer).map(Failures::until).filter(|until| *until > now) {
            return Err(Denied::Failed(until));
        }
        let is_new = (!self.peers.contains_key(&peer), !self.targets.contains_key(&target));
        if is_new.0 && self.peers.len() >= MOST || is_new.1 && self.targets.len() >= MOST {
            return Err(Denied::Full);
        }
        let window = self.targets.entry(target).or_insert(Window { since: now, probes: 0 });
        let granted = wanted.min(TO_ONE.saturating_sub(window.probes)).min(TO_ALL.saturating_sub(self.all.probes));
        if granted == 0 && wanted > 0 {
            return Err(Denied::Spent);
        }
        window.probes += granted;
        self.all.probes += granted;
        self.running = Some(Running { peer, target, granted, since: now });
        Ok(granted)
    }

    /// The attempt is over, has sent so many probes, and led to a direct way or did not.
    pub fn ended(&mut self, now: Instant, sent: u32, direct: bool) {
        let Some(Running { peer, target, granted, .. }) = self.running.take() else { return };
        let unused = granted.saturating_sub(sent);
        self.all.probes = self.all.probes.saturating_sub(unused);
        if let Some(window) = self.targets.get_mut(&target) {
            window.probes = window.probes.saturating_sub(unused);
        }
        if direct {
            self.peers.remove(&peer);
            return;
        }
        let failures = self.peers.entry(peer).or_insert(Failures { count: 0, last: now });
        *failures = Failures { count: failures.count.saturating_add(1), last: now };
    }

    /// Lets go of what does not count any more.
    fn forget(&mut self, now: Instant) {
        if self.running.is_some_and(|running| now.since(running.since) >= LOST) {
            self.ended(now, u32::MAX, false);
        }
        if now.since(self.all.since) >= WINDOW {
            self.all = Window { since: now, probes: 0 };
        }
        self.targets.retain(|_, window| now.since(window.since) < WINDOW);
        self.peers.retain(|_, failures| now.since(failures.last) < FORGOTTEN);
    }
}

impl Failures {
    /// Until when the peer waits.
    fn until(&self) -> Instant {
        let times = 4u32.saturating_pow(self.count.saturating_sub(1).min(8));
        self.last + FIRST_WAIT.saturating_mul(times).min(LONGEST_WAIT)
    }
}

/// What counts as one address: of IPv6 a host has a whole /64.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Peer = [1; 32];

    fn ip(last: u32) -> IpAddr {
        IpAddr::V4((0xc633_6400 + last).into())
    }

    fn after(seconds: u64) -> Instant {
        Instant::from_millis(1_000 * seconds)
    }

    #[test]
    fn a_peer_that_fails_waits_longer_and_longer_and_one_that_gets_through_does_not() {
        let mut allowance = Allowance::new();
        let mut now = after(1);
        let mut waits = Vec::new();
        for _ in 0..7 {
            assert_eq!(allowance.ask(now, PEER, ip(1), 10), Ok(10));
            allowance.ended(now, 10, false);
            let Err(Denied::Failed(until)) = allowance.ask(now, PEER, ip(1), 10) else { panic!("it must wait") };
            assert_eq!(allowance.ask(until - Duration::from_nanos(1), PEER, ip(1), 10), Err(Denied::Failed(until)));
            waits.push(until.since(now).as_secs());
            now = until;
        }
        assert_eq!(waits, [15, 60, 240, 960, 3_600, 3_600, 3_600]);
        assert_eq!(allowance.ask(now, PEER, ip(1), 10), Ok(10));
        allowance.ended(now, 10, true);
        assert_eq!(allowance.ask(now, PEER, ip(1), 10), Ok(10), "and at once");
    }

    #[test]
    fn an_address_gets_four_thousand_probes_an_hour_whoever_is_said_to_be_there() {
        let mut allowance = Allowance::new();
        let mut sprayed = 0;
        for peer in 0..100 {
            let now = after(peer.into());
            let granted = allowance.ask(now, [peer; 32], ip(1), 1_500).unwrap_or(0);
            sprayed += granted;
            allowance.ended(now, granted, false);
        }
        assert_eq!(sprayed, 4_000);
        assert_eq!(allowance.ask(after(101), [200; 32], ip(1), 1), Err(Denied::Spent));
        assert_eq!(allowance.ask(after(3_600), [200; 32], ip(1), 1_500), Ok(1_500), "an hour after the first");
    }

    #[test]
    fn all_addresses_together_get_twenty_thousand_and_addresses_of_one_ipv6_network_are_one() {
        let mut allowance = Allowance::new();
        let mut spray = |peer: u8, target: IpAddr| {
            let granted = allowance.ask(after(peer.into()), [peer; 32], target, 1_000);
            allowance.ended(after(peer.into()), 1_000, false);
            granted
        };
        let v6 = |last: u128| IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) + last));
        let granted: Vec<_> = (0..5).map(|n| spray(n, v6(n.into()))).collect();
        assert_eq!(granted, [Ok(1_000), Ok(1_000), Ok(1_000), Ok(1_000), Err(Denied::Spent)]);
        let more: u32 = (5..60).filter_map(|n| spray(n, ip(n.into())).ok()).sum();
        assert_eq!(more, 16_000);
    }

    #[test]
    fn one_attempt_runs_at_a_time_and_what_it_did_not_use_is_given_back() {
        let mut allowance = Allowance::new();
        assert_eq!(allowance.ask(after(1), PEER, ip(1), 4_000), Ok(4_000));
        assert_eq!(allowance.ask(after(2), [2; 32], ip(2), 1_000), Err(Denied::Busy));
        allowance.ended(after(3), 200, true);
        assert_eq!(allowance.ask(after(3), [2; 32], ip(1), 4_000), Ok(3_800));
        assert_eq!(allowance.ask(after(32), [3; 32], ip(3), 1_000), Err(Denied::Busy));
        assert_eq!(allowance.ask(after(33), [3; 32], ip(3), 1_000), Ok(1_000), "its caller has forgotten it");
    }

    #[test]
    fn a_full_table_lets_nobody_in_until_somebody_is_forgotten() {
        let mut allowance = Allowance::new();
        let peer = |n: u32| {
            let mut peer = [0; 32];
            peer[..4].copy_from_slice(&n.to_be_bytes());
            peer
        };
        for n in 0..MOST as u32 {
            assert_eq!(allowance.ask(after(1), peer(n), ip(n), 1), Ok(1));
            allowance.ended(after(1), 1, false);
        }
        assert_eq!(allowance.ask(after(2), peer(9_999), ip(9_999), 1), Err(Denied::Full));
        assert_eq!(allowance.ask(after(2), peer(9_999), ip(1), 1), Err(Denied::Full));
        assert_eq!(allowance.ask(after(20), peer(1), ip(1), 1), Ok(1), "who is known may go on");
        allowance.ended(after(20), 1, false);
        assert_eq!(allowance.ask(after(7_201), peer(9_999), ip(9_999), 1), Ok(1));
    }
}
