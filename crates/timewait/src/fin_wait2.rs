//! How long a closed socket waits in FIN_WAIT_2 for the other side's FIN (net/ipv4/tcp.c, tcp_timer.c).
//!
//! Such a socket, an *orphan*, is kept in the same buckets as TIME_WAIT, for `tcp_fin_timeout` seconds. A timeout of more than
//! sixty is kept in two parts, and neither is what was asked for: the whole socket waits `timeout - 60`, and then the bucket
//! waits `timeout - 60` again. So a longer `tcp_fin_timeout` than a minute first *shortens* the wait, to 2·(T − 60).

use crate::lifetime::bounds_j;
use crate::{Generation, Hz, TIMEWAIT_S};

/// How long an orphan waits in FIN_WAIT_2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// As a whole socket (inet_diag's timer 2), jiffies: zero unless the timeout is above sixty seconds.
    pub whole_j: u64,
    /// In a bucket (inet_diag's timer 3), jiffies.
    pub bucket_j: u64,
}

/// What `tcp_fin_timeout`, or `TCP_LINGER2` where the socket set it, of `timeout_s` seconds means on a connection whose
/// retransmission timeout is `rto_ms`. `None` if `timeout_s` is negative: then there is no wait, and the peer gets a RST.
pub fn wait(hz: Hz, timeout_s: i64, rto_ms: u64) -> Option<Wait> {
    let timeout_s = u64::try_from(timeout_s).ok()?;
    // tcp_fin_time and tcp_time_wait: never less than three and a half timeouts of retransmission.
    let floor_j = hz.from_ms(rto_ms.saturating_mul(7) / 2);
    let timeout_j = hz.from_s(timeout_s).max(floor_j);
    let minute_j = hz.from_s(TIMEWAIT_S);
    Some(if timeout_j > minute_j {
        let rest_j = timeout_j - minute_j;
        Wait { whole_j: rest_j, bucket_j: rest_j.max(floor_j) }
    } else {
        Wait { whole_j: 0, bucket_j: timeout_j }
    })
}

impl Wait {
    /// The bounds of the whole wait on a kernel of `generation`, jiffies: longer than the first, at most the second.
    pub fn bounds_j(self, generation: Generation, hz: Hz) -> (u64, u64) {
        let (above_j, most_j) = bounds_j(generation, hz, self.bucket_j);
        if self.whole_j == 0 {
            return (above_j, most_j);
        }
        // An ordinary timer, which before 4.8 was exact.
        let (whole_above_j, whole_most_j) = match generation {
            Generation::DeathRow | Generation::TimerPerSocket => (self.whole_j, self.whole_j),
            Generation::Quantised => bounds_j_quantised(hz, self.whole_j),
        };
        (whole_above_j + above_j, whole_most_j + most_j)
    }
}

fn bounds_j_quantised(hz: Hz, timeout_j: u64) -> (u64, u64) {
    bounds_j(Generation::Quantised, hz, timeout_j)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_that_were_measured_are_within_the_bounds() {
        // Seconds asked for, seconds measured by polling from close() on: Linux 6.18, HZ=250, loopback (RTO 200 ms). The wait
        // begins with the ACK of the FIN, which may be delayed.
        const LATE_S: f64 = 0.1;
        let measured = [
            (5, 5.17),
            (7, 7.13),
            (10, 10.18),
            (30, 31.95),
            (60, 60.07),
            (61, 2.14),
            (65, 10.36),
            (75, 30.2),
            (90, 61.85),
            (120, 122.88),
        ];
        let hz = Hz::HZ_250;
        for (timeout_s, measured_s) in measured {
            let wait = wait(hz, timeout_s, 200).expect("it waits");
            let (above_j, most_j) = wait.bounds_j(Generation::Quantised, hz);
            let within = hz.to_s(above_j)..=hz.to_s(most_j) + LATE_S;
            assert!(within.contains(&measured_s), "{timeout_s} s: {measured_s} is not in {within:?}");
        }
    }

    #[test]
    fn more_than_a_minute_is_twice_the_rest() {
        let hz = Hz::HZ_1000;
        assert_eq!(wait(hz, 60, 200), Some(Wait { whole_j: 0, bucket_j: 60_000 }));
        assert_eq!(wait(hz, 65, 200), Some(Wait { whole_j: 5000, bucket_j: 5000 }));
        assert_eq!(wait(hz, 61, 1000), Some(Wait { whole_j: 1000, bucket_j: 3500 }), "not less than 3.5 RTO");
        assert_eq!(wait(hz, 0, 200), Some(Wait { whole_j: 0, bucket_j: 700 }));
        assert_eq!(wait(hz, -1, 200), None);
    }

    #[test]
    fn a_death_row_ends_it_with_its_cell() {
        let hz = Hz::HZ_1000;
        let bounds = |timeout_s| wait(hz, timeout_s, 200).expect("it waits").bounds_j(Generation::DeathRow, hz);
        assert_eq!((bounds(10), bounds(30), bounds(59)), ((15_000, 22_500), (30_000, 37_500), (52_500, 60_000)));
    }
}
