use super::*;
use crate::Key;

/// Half a minute after the handshake, counted in wall time.
const WALL: Duration = Duration::from_secs(1_800_000_030);
const HANDSHAKE: Duration = Duration::from_secs(1_800_000_000);

fn peer(rx_bytes: u64, tx_bytes: u64) -> Peer {
    Peer { rx_bytes, tx_bytes, last_handshake: Some(HANDSHAKE), ..Peer::new(Key::from_bytes([1; 32])) }
}

/// Feeds samples of `(millisecond, rx, tx)` and returns the arbiter with the milliseconds at which it asked for a probe.
fn check(samples: &[(u64, u64, u64)]) -> (Arbiter, Vec<u64>) {
    let mut arbiter = Arbiter::new();
    let mut probes = Vec::new();
    for &(ms, rx, tx) in samples {
        let now = Instant::from_millis(ms);
        if arbiter.sample(now, WALL + Duration::from_millis(ms), &peer(rx, tx)) == Advice::Probe {
            probes.push(ms);
        }
    }
    (arbiter, probes)
}

#[test]
fn a_session_with_answers_works_and_is_not_probed() {
    let (arbiter, probes) = check(&[(0, 100, 100), (250, 200, 200), (500, 300, 300), (2_000, 400, 400)]);
    assert_eq!((arbiter.path(), probes), (Path::Working, vec![]));
}

#[test]
fn an_idle_session_works_and_is_not_probed() {
    let (arbiter, probes) = check(&[(0, 100, 100), (10_000, 100, 100), (60_000, 100, 100)]);
    assert_eq!((arbiter.path(), probes), (Path::Working, vec![]));
}

#[test]
fn a_one_way_stream_is_probed_and_an_answer_clears_it() {
    let (arbiter, probes) = check(&[
        (0, 100, 100),
        (250, 100, 200),
        (500, 100, 300),
        (750, 100, 400),
        (1_000, 164, 500),
        (1_250, 164, 600),
    ]);
    assert_eq!((arbiter.path(), probes), (Path::Working, vec![750]));
}

#[test]
fn three_probes_without_an_answer_condemn_a_path_within_two_seconds() {
    let silent = |samples| (0..samples).map(|n| (n * 250, 100, 100 + n * 10)).collect::<Vec<_>>();
    let (arbiter, probes) = check(&silent(6));
    assert_eq!((arbiter.path(), probes), (Path::Working, vec![750, 1_000, 1_250]));
    assert_eq!(check(&silent(7)).0.path(), Path::Dead);
}

#[test]
fn a_stream_that_stops_coming_in_is_probed_once_and_an_answer_settles_it() {
    let stream =
        [(0, 100, 100), (250, 200, 100), (500, 300, 100), (750, 400, 100), (1_000, 400, 100), (1_250, 400, 100)];
    assert_eq!(check(&stream).1, [1_250]);
    let settled: Vec<_> = (6..100).map(|n| (n * 250, 464, 164)).collect();
    let (arbiter, probes) = check(&[stream.as_slice(), &settled].concat());
    assert_eq!((arbiter.path(), probes), (Path::Working, vec![1_250]));
}

#[test]
fn a_keepalive_now_and_then_is_not_probed() {
    let samples: Vec<_> = (0..400).map(|n| (n * 250, 100 + n / 100 * 32, 100)).collect();
    assert_eq!(check(&samples).1, Vec::<u64>::new());
}

#[test]
fn a_dead_path_lives_again_with_the_first_byte() {
    let mut samples: Vec<_> = (0..12).map(|n| (n * 250, 100, 100 + n * 10)).collect();
    samples.push((3_000, 101, 300));
    assert_eq!(check(&samples).0.path(), Path::Working);
}

#[test]
fn a_session_past_reject_after_time_is_absent() {
    let mut arbiter = Arbiter::new();
    arbiter.sample(Instant::EPOCH, HANDSHAKE + REJECT_AFTER, &peer(9, 9));
    assert_eq!(arbiter.path(), Path::Absent);
    arbiter.sample(Instant::EPOCH, HANDSHAKE + REJECT_AFTER - Duration::from_millis(1), &peer(9, 9));
    assert_eq!(arbiter.path(), Path::Working);
}

#[test]
fn a_handshake_from_the_future_is_fresh() {
    let mut arbiter = Arbiter::new();
    arbiter.sample(Instant::EPOCH, HANDSHAKE - Duration::from_secs(3_600), &peer(9, 9));
    assert_eq!(arbiter.path(), Path::Working);
}

#[test]
fn a_changed_network_is_probed_at_once() {
    let (mut arbiter, _) = check(&[(0, 100, 100)]);
    arbiter.doubt(Instant::from_millis(900));
    let advice = arbiter.sample(Instant::from_millis(900), WALL, &peer(100, 100));
    assert_eq!(advice, Advice::Probe);
}
