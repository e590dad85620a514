//! The risk of a gateway that translates sources: conntrack's TIME_WAIT lasts 120 s, the hosts' behind it 60 to 62.
//!
//! The model: each inside flow to one destination takes one of the gateway's ports to that destination until its entry goes. A
//! new flow keeps its port if it is free, and otherwise looks at ports from a random one on, in rounds of 128, 64, 32, 16 and 8;
//! if all are taken, its SYN is dropped without a word (`insert_failed` and `drop` count it), and the client sees a timeout.
//! Since 6.5 some of the looks may evict an entry that is closing, if the new SYN's sequence number is ahead of the old one's
//! (net/netfilter/nf_nat_core.c, nf_conntrack_core.c).

use crate::Version;

/// Ports that a flow may be given beside its own (1024 and up).
pub const PORTS: u32 = 64_512;
/// `nf_conntrack_tcp_timeout_time_wait`, seconds.
pub const TIME_WAIT_S: f64 = 120.0;
/// How many ports are looked at where there are many: 128 + 64 + 32 + 16 + 8.
pub const PROBES: i32 = 248;
/// Of these, how many may evict since 6.5: the last 32 of each round.
pub const EVICTING: i32 = 120;
/// Ranges up to this are looked through entirely.
const WHOLE: u32 = 128;

/// How full a gateway's ports to one destination are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fill {
    /// Ports there are, all source addresses of the gateway together.
    pub ports: u32,
    /// Taken by flows that are not closing.
    pub live: f64,
    /// Taken by flows in TIME_WAIT or beyond.
    pub closing: f64,
}

impl Fill {
    /// What `rate_per_s` connections a second come to that last `duration_s` seconds.
    pub fn steady(ports: u32, rate_per_s: f64, duration_s: f64) -> Self {
        let live = (rate_per_s * duration_s).min(f64::from(ports));
        let closing = (rate_per_s * TIME_WAIT_S).min(f64::from(ports) - live);
        Self { ports, live, closing }
    }

    /// The share of new connections whose SYN finds no port, on a gateway whose kernel is `version`.
    ///
    /// A closing entry counts as evictable, which is an upper bound of the kernel's mercy: it looks at the sequence number.
    pub fn failure(&self, version: Version) -> f64 {
        let all = f64::from(self.ports.max(1));
        let taken = ((self.live + self.closing) / all).min(1.0);
        let live = (self.live / all).min(1.0);
        let evicts = version.evicts_when_translating();
        if self.ports <= WHOLE {
            // Every port is looked at.
            let is_full = if evicts && self.ports < 32 { live >= 1.0 } else { taken >= 1.0 };
            return if is_full { 1.0 } else { 0.0 };
        }
        if evicts { taken.powi(PROBES - EVICTING) * live.powi(EVICTING) } else { taken.powi(PROBES) }
    }
}

/// The connections a second that a gateway carries to one destination for ever.
pub fn sustainable_per_s(version: Version, ports: u32, duration_s: f64) -> f64 {
    let held_s = if version.evicts_when_translating() { duration_s } else { duration_s + TIME_WAIT_S };
    f64::from(ports) / held_s
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Version = Version::new(6, 4);
    const NEW: Version = Version::new(6, 5);

    #[test]
    fn an_old_gateway_carries_537_a_second_to_one_destination() {
        assert!((sustainable_per_s(OLD, PORTS, 0.0) - 537.6).abs() < 0.1);
        assert!((sustainable_per_s(NEW, PORTS, 10.0) - 6451.2).abs() < 0.1);
        assert!(sustainable_per_s(NEW, PORTS, 0.0).is_infinite(), "who closes at once makes way at once");
    }

    #[test]
    fn failures_come_late_and_then_at_once() {
        let full = |share: f64| Fill { ports: 10_000, live: share * 10_000.0, closing: 0.0 };
        for (share, expected) in [(0.9, 0.0), (0.98, 0.007), (0.99, 0.08), (0.995, 0.29), (1.0, 1.0)] {
            for version in [OLD, NEW] {
                let found = full(share).failure(version);
                assert!((found - expected).abs() < 0.005, "{share}: {found}");
            }
        }
    }

    #[test]
    fn closing_flows_stand_in_the_way_before_6_5_only() {
        let fill = Fill::steady(PORTS, 600.0, 1.0);
        assert_eq!((fill.live, fill.closing), (600.0, 63_912.0));
        assert!(fill.failure(OLD) > 0.99 && fill.failure(NEW) < 1e-100);
        // Four ports, seven closed connections: all went through on 6.18; four held ones: the fifth was dropped.
        let four = Fill { ports: 4, live: 0.0, closing: 4.0 };
        assert_eq!((four.failure(NEW), four.failure(OLD)), (0.0, 1.0));
        assert_eq!(Fill { live: 4.0, closing: 0.0, ..four }.failure(NEW), 1.0);
        assert_eq!(Fill { live: 3.0, closing: 0.0, ..four }.failure(OLD), 0.0);
    }
}
