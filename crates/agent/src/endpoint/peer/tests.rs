use super::*;

const ENDPOINT: &str = "203.0.113.7:51820";
const ELSEWHERE: &str = "203.0.113.7:40000";
/// The wall clock at the start of every test; handshakes happen at it.
const WALL: Duration = Duration::from_secs(1_800_000_000);

/// A link and a device's view of its peer, moved along in virtual time.
struct Bench {
    link: Link,
    peer: Peer,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let peer = Peer::new(Key::from_bytes([7; 32]));
        Self { link: Link::new(), peer, now: Instant::from_millis(1_000) }
    }

    /// With a session whose counters stand at 1,000.
    fn connected() -> Self {
        let mut bench = Self::new();
        bench.handshake();
        (bench.peer.rx_bytes, bench.peer.tx_bytes) = (1_000, 1_000);
        bench.peer.endpoint = Some(endpoint(ENDPOINT));
        bench.sample();
        assert_eq!(bench.tasks(), [Task::Up { after: None, relayed: false }]);
        bench
    }

    fn handshake(&mut self) {
        self.peer.last_handshake = Some(WALL + self.now.since(Instant::EPOCH));
    }

    fn sample(&mut self) {
        self.link.sample(self.now, WALL + self.now.since(Instant::EPOCH), &self.peer);
    }

    fn tasks(&mut self) -> Vec<Task> {
        core::iter::from_fn(|| self.link.poll_task()).collect()
    }

    /// Lets time pass in steps of 50 ms with a sample at each, and returns what was done when, without openers.
    fn pass(&mut self, ms: u64, mut each: impl FnMut(&mut Peer)) -> Vec<(u64, Task)> {
        let start = self.now;
        let mut done = Vec::new();
        for _ in 0..ms / 50 {
            self.now += Duration::from_millis(50);
            each(&mut self.peer);
            self.link.run(self.now);
            self.sample();
            let at = self.now.since(start).as_millis() as u64;
            let tasks = self.tasks().into_iter().filter(|task| !matches!(task, Task::Open { .. }));
            done.extend(tasks.map(|task| (at, task)));
        }
        done
    }
}

fn endpoint(text: &str) -> SocketAddr {
    text.parse().expect("an endpoint")
}

#[test]
fn a_peer_without_a_session_is_sought_at_once_and_knocked_at_when_found() {
    let mut bench = Bench::new();
    bench.sample();
    assert_eq!(bench.tasks(), [Task::Seek]);
    bench.link.found(bench.now, endpoint(ENDPOINT), Role::Initiator, true);
    let (open, knock) =
        (Task::Open { to: endpoint(ENDPOINT), ttl: 4 }, Task::Handshake { endpoint: endpoint(ENDPOINT) });
    assert_eq!(bench.tasks(), [open, knock]);
    bench.now += Duration::from_millis(90);
    bench.handshake();
    bench.peer.rx_bytes = 92;
    bench.sample();
    let after = Some(Duration::from_millis(90));
    assert_eq!(
        bench.tasks(),
        [Task::Up { after, relayed: false }, Task::Probe { endpoint: None }],
        "the peer is to learn it too"
    );
    bench.peer.rx_bytes += 100;
    bench.sample();
    assert_eq!(bench.link.poll_timeout(), None, "a path that is up leaves nothing to do");
}

#[test]
fn the_opener_leaves_the_device_alone() {
    let mut bench = Bench::new();
    bench.sample();
    bench.tasks();
    bench.link.found(bench.now, endpoint(ENDPOINT), Role::Opener, true);
    assert_eq!(bench.pass(2_000, |_| ()), []);
}

#[test]
fn a_working_path_is_never_touched() {
    let mut bench = Bench::connected();
    let done = bench.pass(60_000, |peer| {
        peer.rx_bytes += 100;
        peer.tx_bytes += 100;
    });
    assert_eq!(done, []);
}

#[test]
fn an_idle_path_is_never_touched() {
    let mut bench = Bench::connected();
    assert_eq!(bench.pass(60_000, |_| ()), []);
}

#[test]
fn a_path_that_goes_silent_under_load_is_probed_then_sought_within_two_seconds() {
    let mut bench = Bench::connected();
    let done = bench.pass(2_000, |peer| peer.tx_bytes += 100);
    let probes = done.iter().filter(|(_, task)| *task == Task::Probe { endpoint: None }).count();
    assert!(probes >= 3, "{done:?}");
    let seek = done.iter().find(|(_, task)| *task == Task::Seek);
    assert!(seek.is_some_and(|(at, _)| *at <= 1_800), "{done:?}");
}

#[test]
fn after_a_rebind_the_session_is_tried_at_the_new_endpoint_before_any_handshake() {
    let mut bench = Bench::connected();
    bench.pass(2_000, |peer| peer.tx_bytes += 100);
    bench.link.found(bench.now, endpoint(ELSEWHERE), Role::Initiator, true);
    let tasks = bench.tasks();
    assert_eq!(tasks[1], Task::Probe { endpoint: Some(endpoint(ELSEWHERE)) });
    bench.peer.rx_bytes += 1;
    bench.sample();
    assert!(matches!(bench.tasks()[..], [Task::Up { .. }, Task::Probe { .. }]));
}

#[test]
fn a_peer_that_lost_its_session_gets_a_handshake_when_the_old_one_gives_no_sign_of_life() {
    let mut bench = Bench::connected();
    bench.link.found(bench.now, endpoint(ENDPOINT), Role::Initiator, true);
    assert_eq!(bench.tasks()[1], Task::Probe { endpoint: None });
    let done = bench.pass(400, |peer| peer.tx_bytes += 100);
    assert!(done.contains(&(200, Task::Handshake { endpoint: endpoint(ENDPOINT) })), "{done:?}");
}

#[test]
fn a_seeker_that_is_wrong_about_a_working_path_does_not_break_it() {
    let mut bench = Bench::connected();
    bench.link.found(bench.now, endpoint(ELSEWHERE), Role::Initiator, true);
    bench.tasks();
    let done = bench.pass(3_000, |peer| {
        peer.rx_bytes += 100;
        peer.tx_bytes += 100;
    });
    assert_eq!(done, [], "an answer to the probe ends the doubt");
}

#[test]
fn failed_attempts_pause_longer_and_longer() {
    let mut bench = Bench::new();
    bench.sample();
    let mut pauses = Vec::new();
    for _ in 0..9 {
        assert!(bench.tasks().contains(&Task::Seek));
        bench.link.found(bench.now, endpoint(ENDPOINT), Role::Opener, false);
        bench.now += Duration::from_secs(4);
        bench.link.run(bench.now);
        let Some(Task::Failed { pause }) = bench.tasks().pop() else { panic!("an attempt failed") };
        pauses.push(pause.as_millis());
        bench.now += pause;
        bench.link.run(bench.now);
    }
    assert_eq!(pauses, [100, 400, 2_000, 5_000, 35_000, 35_000, 60_000, 60_000, 60_000]);
}

#[test]
fn a_peer_that_is_away_is_asked_for_less_and_less() {
    let mut bench = Bench::new();
    bench.sample();
    let mut asked_at = Vec::new();
    for _ in 0..120 {
        assert!(bench.tasks().contains(&Task::Seek));
        asked_at.push(bench.now.since(Instant::EPOCH).as_secs());
        bench.link.not_found(bench.now);
        let Some(Task::Failed { pause }) = bench.tasks().pop() else { panic!("nobody was there") };
        bench.now += pause;
        bench.link.run(bench.now);
    }
    let gaps: Vec<u64> = asked_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!((gaps[10], gaps[50], gaps[110]), (2, 10, 30));
}

#[test]
fn a_relayed_path_is_left_for_one_that_is_proven_and_until_then_not_touched() {
    let relay = endpoint("192.0.2.1:51900");
    let mut bench = Bench::new();
    bench.sample();
    bench.tasks();
    assert!(bench.link.offer_relay(relay) && bench.link.found(bench.now, relay, Role::Initiator, false));
    bench.tasks();
    bench.handshake();
    (bench.peer.rx_bytes, bench.peer.endpoint) = (92, Some(relay));
    bench.sample();
    assert!(matches!(bench.tasks()[..], [Task::Up { relayed: true, .. }]) && bench.link.is_relayed());
    assert!(!bench.link.offer_relay(relay), "there is a path");

    let sought = bench.pass(1_500, |_| ());
    assert_eq!(sought, [(1_000, Task::Seek)]);
    bench.link.hunt(bench.now);
    bench.link.hunted_in_vain(bench.now);
    bench.tasks();
    let sought = bench.pass(11_000, |peer| (peer.rx_bytes, peer.tx_bytes) = (peer.rx_bytes + 9, peer.tx_bytes + 9));
    assert_eq!(sought, [(10_000, Task::Seek)], "less and less often, and the path is not touched");

    bench.link.hunt(bench.now);
    bench.link.hunted(bench.now, endpoint(ENDPOINT), Role::Initiator);
    assert_eq!(
        bench.tasks(),
        [Task::Probe { endpoint: Some(endpoint(ENDPOINT)) }],
        "no handshake: the session goes on"
    );
    bench.peer.endpoint = Some(endpoint(ENDPOINT));
    bench.peer.rx_bytes += 100;
    bench.sample();
    assert!(matches!(bench.tasks()[0], Task::Up { relayed: false, .. }) && !bench.link.is_relayed());
}

#[test]
fn who_learns_late_that_it_has_to_be_looked_for_asks_again() {
    let mut bench = Bench::new();
    bench.sample();
    bench.tasks();
    assert!(bench.link.start_anew(), "the question did not say so");
    bench.tasks();
    bench.link.found(bench.now, endpoint(ENDPOINT), Role::Initiator, true);
    bench.tasks();
    assert!(bench.link.start_anew());
    assert_eq!(bench.tasks(), [Task::Seek]);
    assert!(!Bench::connected().link.start_anew(), "a path that works is never touched");
}
