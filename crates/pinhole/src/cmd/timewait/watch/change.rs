//! What has happened between two looks.

use std::collections::HashMap;

use super::super::sample::{Dead, Sample};

/// A death within this of the prediction was predicted.
const ON_TIME_NS: u64 = 50_000_000;

/// The last look, by the kernel's names of the sockets.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) sample: Sample,
    by_cookie: HashMap<u64, usize>,
}

/// From one look to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    pub(super) born: usize,
    pub(super) died: usize,
    /// Of those that died, how many were to.
    pub(super) predicted: usize,
    /// Of those that died, how many were not to yet: killed, or taken by a new connection.
    pub(super) early: usize,
    /// How many were to die and did not.
    pub(super) late: usize,
    /// Those whose time began anew.
    pub(super) restarted: usize,
    /// About when one that was overdue died, for those that do not know where granules end.
    pub(super) seen_to_die_ns: Option<u64>,
    /// Of those that were to die, how long they lasted, seconds.
    pub(super) lives_s: Vec<f64>,
}

impl Watched {
    pub(super) fn new(sample: Sample) -> Self {
        let by_cookie = sample.dead.iter().enumerate().map(|(at, dead)| (dead.socket.cookie, at)).collect();
        Self { sample, by_cookie }
    }

    /// Goes on to the next look.
    pub(super) fn next(&mut self, sample: Sample) -> Change {
        let mut next = Self::new(sample);
        let (before_ns, now_ns) = (self.sample.at_ns, next.sample.at_ns);
        let mut change = Change::default();
        for dead in &self.sample.dead {
            let Some(&at) = next.by_cookie.get(&dead.socket.cookie) else {
                change.went(dead, before_ns, now_ns);
                continue;
            };
            let (still, is_anew) = dead.later(next.sample.dead[at]);
            next.sample.dead[at] = still;
            change.restarted += usize::from(is_anew);
            change.late += usize::from(still.death_ns + ON_TIME_NS < now_ns);
        }
        change.born = next.sample.dead.iter().filter(|dead| !self.by_cookie.contains_key(&dead.socket.cookie)).count();
        *self = next;
        change
    }
}

impl Change {
    fn went(&mut self, dead: &Dead, before_ns: u64, now_ns: u64) {
        self.died += 1;
        if dead.death_ns <= now_ns + ON_TIME_NS {
            self.predicted += 1;
            self.lives_s.push(dead.death_ns.saturating_sub(dead.since_ns) as f64 / 1e9);
        } else {
            self.early += 1;
        }
        if dead.is_overdue() {
            self.seen_to_die_ns = Some(before_ns.midpoint(now_ns));
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use pinhole_host::netlink::sock_diag::{TcpSocket, TcpState, Timer};

    use super::super::super::sample::Kind;
    use super::*;

    pub(in super::super) fn dead(cookie: u64, since_s: u64, death_s: u64, at_s: u64) -> Dead {
        let expires_ms = ((since_s + 60).saturating_sub(at_s) * 1000) as u32;
        let socket = TcpSocket {
            local: "10.0.0.1:40000".parse().expect("an end"),
            remote: "10.0.0.2:443".parse().expect("an end"),
            state: TcpState::TimeWait,
            timer: Timer::TimeWait,
            expires_ms,
            read_ns: at_s * 1_000_000_000,
            interface: 0,
            cookie,
            uid: 0,
            inode: 0,
            mark: None,
        };
        Dead { socket, kind: Kind::TimeWait, death_ns: death_s * 1_000_000_000, since_ns: since_s * 1_000_000_000 }
    }

    pub(in super::super) fn sample(at_s: u64, dead: Vec<Dead>) -> Sample {
        Sample { at_ns: at_s * 1_000_000_000, dead, living: Vec::new() }
    }

    #[test]
    fn a_socket_that_is_overdue_does_not_begin_anew_and_lasts_as_long_as_it_lasts() {
        let mut watched = Watched::new(sample(50, vec![dead(1, 0, 62, 50)]));
        // Its timer says nothing any more: the beginning seems to move with the clock.
        for at_s in [61, 62] {
            let change = watched.next(sample(at_s, vec![dead(1, at_s - 60, at_s + 1, 62)]));
            assert_eq!((change.restarted, change.late), (0, 0), "{at_s}");
        }
        let change = watched.next(sample(63, Vec::new()));
        assert_eq!((change.predicted, change.lives_s), (1, vec![62.0]));
        // One that should have gone is late, however the wheel is rounded.
        let mut watched = Watched::new(sample(50, vec![dead(1, 0, 62, 50)]));
        assert_eq!(watched.next(sample(64, vec![dead(1, 4, 66, 64)])).late, 1);
    }

    #[test]
    fn what_went_was_to_go_or_was_not() {
        let before = vec![dead(1, 0, 61, 60), dead(2, 10, 71, 60), dead(3, 20, 81, 60), dead(4, 0, 61, 60)];
        let mut watched = Watched::new(sample(60, before));
        // 1 dies, 2 is killed, 3 begins anew, 4 does not die though it should have, 5 is born.
        let after = vec![dead(3, 61, 122, 62), dead(4, 0, 61, 62), dead(5, 61, 122, 62)];
        let change = watched.next(sample(62, after));
        assert_eq!((change.died, change.predicted, change.early), (2, 1, 1));
        assert_eq!((change.restarted, change.late, change.born), (1, 1, 1));
        assert_eq!((change.seen_to_die_ns, change.lives_s), (Some(61_000_000_000), vec![61.0]));
    }
}
