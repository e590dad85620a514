//! `tcp_tw_recycle`, which 4.12 took away: TIME_WAIT of a few hundred milliseconds, at the price of every client behind a NAT.
//!
//! Both ends of it: a socket that is recycled waits 3.5 retransmission timeouts rather than a minute; and for a minute the
//! host refuses SYNs whose timestamp is older than the last one it saw *from that address*. Behind a NAT many hosts with as
//! many clocks share an address, so all but one of them are refused, silently (net/ipv4/tcp_minisocks.c, tcp_ipv4.c).

use crate::{Hz, TIMEWAIT_S};

/// `TCP_PAWS_MSL`, seconds: how long an address's last timestamp counts.
pub const REMEMBERED_S: u64 = 60;
/// `TCP_PAWS_WINDOW`: a timestamp may be this much older.
const WINDOW: i32 = 1;

/// What a TIME_WAIT socket asks for, jiffies, if its connection had timestamps and the peer's last one is remembered; a
/// minute otherwise.
pub fn timeout_j(hz: Hz, is_remembered: bool, rto_ms: u64) -> u64 {
    if is_remembered { hz.from_ms(rto_ms.saturating_mul(7) / 2) } else { hz.from_s(TIMEWAIT_S) }
}

/// Whether a SYN with timestamp `value` is let in from an address whose `last` timestamp came `age_s` seconds ago.
pub fn lets_in(last: u32, age_s: u64, value: u32) -> bool {
    age_s >= REMEMBERED_S || last.wrapping_sub(value).cast_signed() <= WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::death_row::is_short;

    #[test]
    fn a_recycled_socket_waits_in_the_short_slots() {
        let short = timeout_j(Hz::HZ_1000, true, 200);
        assert!(short == 700 && is_short(Hz::HZ_1000, short));
        assert_eq!(timeout_j(Hz::HZ_1000, false, 200), 60_000);
    }

    #[test]
    fn the_second_host_behind_a_nat_is_refused_for_a_minute() {
        assert!(lets_in(1000, 0, 1000) && lets_in(1000, 0, 999) && lets_in(1000, 5, 2000));
        assert!(!lets_in(1000, 0, 998) && !lets_in(1000, 59, 10));
        assert!(lets_in(1000, 60, 10));
        assert!(lets_in(u32::MAX, 0, 5), "timestamps wrap");
    }
}
