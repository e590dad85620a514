use pinhole_dns::Rcode;
use pinhole_dns::message::Question;
use pinhole_sansio::conformance::{drain, spurious_timeout_does_nothing};

use super::zone::tests::readme;
use super::*;

const WALL: Duration = Duration::from_secs(1_800_000_000);

/// A registry whose device answers at once.
struct Bench {
    registry: Registry,
    lanes: Vec<Lane>,
    device: Device,
    now: Instant,
    next_id: u64,
}

impl Bench {
    fn new() -> Self {
        let (config, device) = readme();
        let config = Config { zones: vec![config], listen: vec![local()], relay: Some(40_000..=40_001) };
        let mut bench = Self {
            registry: Registry::new(Instant::EPOCH, config),
            lanes: Vec::new(),
            device,
            now: Instant::EPOCH,
            next_id: 1,
        };
        bench.pass(0);
        bench
    }

    /// Lets time pass and returns the answers that are sent, as (question, message).
    fn pass(&mut self, ms: u64) -> Vec<(u64, Message)> {
        self.now += Duration::from_millis(ms);
        self.registry.handle_input(self.now, Input::Timeout);
        let answers = self.settle();
        spurious_timeout_does_nothing(&mut self.registry, self.now);
        answers
    }

    fn settle(&mut self) -> Vec<(u64, Message)> {
        let mut answers = Vec::new();
        loop {
            let outputs = drain(&mut self.registry);
            if outputs.is_empty() {
                return answers;
            }
            for output in outputs {
                match output {
                    Output::ReadDevice(name) => {
                        let (device, wall) = (Ok(self.device.clone()), WALL + self.now.since(Instant::EPOCH));
                        self.registry.handle_input(self.now, Input::Device { name, device, wall });
                    }
                    Output::Reply { id, bytes } => answers.push((id, Message::decode(&bytes).expect("a message"))),
                    Output::OpenLane(lane) => self.lanes.push(lane),
                    Output::Publish { .. } | Output::Forget(_) | Output::Event(_) => {}
                }
            }
        }
    }

    /// Somebody asks for an address that there is not; what the registry wants for it.
    fn miss(&mut self) -> Vec<Output> {
        self.next_id += 1;
        let question = Question { name: "x.example.com.".parse().expect("a name"), qtype: Type::A, qclass: 1 };
        let bytes = Message { questions: vec![question], ..Message::default() }.encode();
        let (source, local) = (SocketAddr::new(local(), 40_000), local());
        let query =
            Query { id: self.next_id, source, local, transport: Transport::Udp, verified: false, bytes, cookie: None };
        self.registry.handle_input(self.now, Input::Query(query));
        drain(&mut self.registry)
    }

    /// A read has ended; what the registry wants then.
    fn has_read(&mut self, device: Result<Device, String>) -> Vec<Output> {
        self.registry.handle_input(self.now, Input::Device { name: "wg0".into(), device, wall: WALL });
        drain(&mut self.registry)
    }

    /// Peer `from` of the device asks; the number of the question and what is answered at once.
    fn ask(&mut self, from: usize, name: &str, qtype: Type, ask: Ask, dns_id: u16) -> (u64, Vec<(u64, Message)>) {
        let id = self.next_id;
        self.next_id += 1;
        let question = Question { name: name.parse().expect("a name"), qtype, qclass: 1 };
        let edns = Edns { udp_size: 1_232, ttl: 0, options: vec![(OPTION_CODE, ask.encode())] };
        let header = Header { id: dns_id, ..Header::default() };
        let message = Message { header, questions: vec![question], edns: Some(edns), ..Message::default() };
        let source = SocketAddr::new(self.device.peers[from].allowed_ips[0].addr(), 40_000);
        let query = Query {
            id,
            source,
            local: local(),
            transport: Transport::Udp,
            verified: true,
            bytes: message.encode(),
            cookie: None,
        };
        self.registry.handle_input(self.now, Input::Query(query));
        (id, self.settle())
    }

    fn seek(&mut self, from: usize, to: usize, dns_id: u16) -> (u64, Vec<(u64, Message)>) {
        let name = format!("{}._wireguard._udp.example.com.", naming::label(&self.device.peers[to].public_key));
        self.ask(from, &name, Type::SRV, plain(Kind::Seek, 2_000), dns_id)
    }

    fn watch(&mut self, from: usize, dns_id: u16) -> (u64, Vec<(u64, Message)>) {
        let label = naming::watch_label(&self.device.peers[from].public_key);
        let name = format!("{label}._sub._wireguard._udp.example.com.");
        self.ask(from, &name, Type::PTR, plain(Kind::Watch, 20_000), dns_id)
    }
}

fn local() -> IpAddr {
    IpAddr::from([10, 0, 0, 254])
}

fn plain(kind: Kind, wait_ms: u16) -> Ask {
    Ask { kind, wait_ms, nat: None }
}

fn told(message: &Message) -> Told {
    Told::decode(message.option(OPTION_CODE).expect("our option")).expect("a valid option")
}

#[test]
fn two_that_seek_each_other_learn_their_endpoints_in_the_same_moment() {
    let mut bench = Bench::new();
    let (first, now) = bench.seek(0, 1, 7);
    assert_eq!(now.len(), 0, "held until the other side can be told");
    bench.pass(30);
    let (second, answers) = bench.seek(1, 0, 8);
    let mut ids: Vec<u64> = answers.iter().map(|(id, _)| *id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [first, second]);
    let initiators = answers.iter().filter(|(_, message)| told(message).initiate).count();
    assert!(answers.iter().all(|(_, message)| told(message).simultaneous) && initiators == 1);
    let (_, to_first) = answers.iter().find(|(id, _)| *id == first).expect("answered");
    assert_eq!(to_first.additional[0].data, RData::A("198.51.100.1".parse().expect("an address")));
    assert_eq!(told(to_first).observed, Some("203.0.113.1:7777".parse().expect("an endpoint")));
}

/// Peer 0 seeks peer 1 and says how its NAT maps; who watches, and what each of the two is told of the other.
fn meet(bench: &mut Bench, nat: &Guess, dns_id: u16) -> [Told; 2] {
    let (watch, _) = bench.watch(1, dns_id);
    bench.pass(300);
    let name = format!("{}._wireguard._udp.example.com.", naming::label(&bench.device.peers[1].public_key));
    let ask = Ask { nat: Some(nat.clone()), ..plain(Kind::Seek, 2_000) };
    let (seek, answers) = bench.ask(0, &name, Type::SRV, ask, dns_id + 1);
    [seek, watch].map(|id| told(&answers.iter().find(|(answered, _)| *answered == id).expect("answered").1))
}

#[test]
fn two_that_meet_are_told_of_each_others_nats_and_one_session_that_is_never_used_again() {
    let mut bench = Bench::new();
    let nat = Guess::Random { seen: 1_024..=60_000, samples: 9 };
    let [seeker, watcher] = meet(&mut bench, &nat, 7);
    assert_eq!((&watcher.parties[0].ours, &watcher.parties[0].theirs), (&None, &Some(nat.clone())));
    assert_eq!((&seeker.parties[0].ours, &seeker.parties[0].theirs), (&Some(nat.clone()), &None));
    assert_eq!(seeker.parties.len(), 1);
    assert_eq!(seeker.parties[0].session, watcher.parties[0].session);
    bench.pass(5_000);
    let [again, _] = meet(&mut bench, &nat, 17);
    assert_ne!(seeker.parties[0].session, again.parties[0].session);
}

#[test]
fn two_that_have_met_in_vain_are_offered_one_lane_and_it_is_theirs_until_it_ends() {
    let mut bench = Bench::new();
    let fixed = Guess::Fixed;
    let relays = |told: [Told; 2]| told.map(|told| told.parties[0].relay.map_or(0, core::num::NonZero::get));
    assert_eq!(relays(meet(&mut bench, &fixed, 7)), [0, 0]);
    bench.pass(5_000);
    assert_eq!(
        relays(meet(&mut bench, &fixed, 17)),
        [40_001, 40_000],
        "the smaller key, the watcher's, has the first port"
    );
    let ips = ["198.51.100.1", "203.0.113.1"].map(|ip| ip.parse().unwrap());
    assert_eq!(bench.lanes, [Lane { ports: [40_000, 40_001], ips }]);
    bench.registry.handle_input(bench.now, Input::LaneClosed { ports: [40_000, 40_001] });
    bench.pass(70_000);
    assert_eq!(relays(meet(&mut bench, &fixed, 27)), [0, 0], "that was long ago");
}

#[test]
fn a_watcher_hears_of_a_seeker_and_is_told_again_until_it_asks_again() {
    let mut bench = Bench::new();
    let (watch, now) = bench.watch(1, 7);
    assert_eq!(now.len(), 0);
    let (_, answers) = bench.seek(0, 1, 8);
    let (_, heard) = answers.iter().find(|(id, _)| *id == watch).expect("the watcher is told");
    assert!(told(heard).simultaneous);
    assert_eq!(heard.additional.len(), 2, "SRV and address of the seeker");
    assert_eq!(bench.pass(100).iter().filter(|(id, _)| *id == watch).count(), 1, "told again");
    bench.watch(1, 9);
    assert_eq!(bench.pass(300).iter().filter(|(id, _)| *id == watch).count(), 0, "it has asked again");
}

#[test]
fn a_repeated_question_is_answered_as_before_even_if_the_answer_was_lost() {
    let mut bench = Bench::new();
    bench.seek(0, 1, 7);
    bench.seek(1, 0, 8);
    let (again, answers) = bench.seek(0, 1, 7);
    assert!(matches!(&answers[..], [(id, message)] if *id == again && told(message).simultaneous));
}

#[test]
fn a_repeated_question_that_is_still_held_is_answered_once() {
    let mut bench = Bench::new();
    bench.seek(0, 1, 7);
    let (again, _) = bench.seek(0, 1, 7);
    let (_, answers) = bench.seek(1, 0, 8);
    let ids: Vec<u64> = answers.iter().map(|(id, _)| *id).collect();
    assert!(ids.contains(&again) && ids.len() == 2, "{ids:?}");
}

#[test]
fn a_peer_that_runs_no_agent_is_given_away_after_a_moment() {
    let mut bench = Bench::new();
    let (seek, now) = bench.seek(0, 1, 7);
    assert_eq!(now.len(), 0);
    let answers = bench.pass(260);
    assert!(matches!(&answers[..], [(id, message)] if *id == seek && !told(message).simultaneous));
}

#[test]
fn a_peer_without_an_endpoint_is_waited_for_and_then_not_found() {
    let mut bench = Bench::new();
    bench.device.peers[1].endpoint = None;
    bench.pass(1_000);
    let (seek, _) = bench.seek(0, 1, 7);
    assert_eq!(bench.pass(1_900).len(), 0);
    let answers = bench.pass(200);
    assert!(matches!(&answers[..], [(id, message)] if *id == seek && message.rcode() == Rcode::NXDOMAIN));
}

#[test]
fn a_stranger_and_a_peer_that_asks_in_another_name_are_not_held() {
    let mut bench = Bench::new();
    let label = naming::watch_label(&bench.device.peers[1].public_key);
    let name = format!("{label}._sub._wireguard._udp.example.com.");
    let (_, answers) = bench.ask(0, &name, Type::PTR, plain(Kind::Watch, 20_000), 7);
    assert_eq!(answers.len(), 1, "no one watches for another");
    bench.device.peers[0].allowed_ips = vec!["10.9.9.9/32".parse().expect("a prefix")];
    let (_, answers) = bench.seek(0, 1, 8);
    assert_eq!(answers.len(), 1, "the device does not know this source yet, and will within a refresh");
}

fn reads(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::ReadDevice(_))).count()
}

fn replies(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::Reply { .. })).count()
}

#[test]
fn a_miss_waits_for_a_read_that_began_after_it_and_one_read_settles_many() {
    let mut bench = Bench::new();
    bench.now += Duration::from_secs(1);
    let first = bench.miss();
    assert_eq!((reads(&first), replies(&first)), (1, 0));
    bench.now += FRESH * 2;
    for _ in 0..2 {
        let later = bench.miss();
        assert_eq!((reads(&later), replies(&later)), (0, 0), "one read at a time");
    }
    let device = bench.device.clone();
    let ended = bench.has_read(Ok(device.clone()));
    assert_eq!((reads(&ended), replies(&ended)), (1, 1), "what it says is older than the other two");
    let ended = bench.has_read(Ok(device));
    assert_eq!((reads(&ended), replies(&ended)), (0, 2));
}

#[test]
fn a_miss_does_not_wait_for_a_device_that_has_failed() {
    let mut bench = Bench::new();
    bench.now += Duration::from_secs(1);
    assert_eq!(reads(&bench.miss()), 1);
    bench.now += Duration::from_secs(3);
    assert_eq!(replies(&bench.miss()), 0, "it may still answer");
    assert_eq!(replies(&bench.has_read(Err("silent".into()))), 2);
    bench.now += Duration::from_secs(3);
    let outputs = bench.miss();
    assert_eq!((reads(&outputs), replies(&outputs)), (0, 1));
}

#[test]
fn questions_that_wait_for_a_device_are_bounded() {
    let mut bench = Bench::new();
    bench.now += Duration::from_secs(1);
    let answered: usize = (0..MAX_WAITING + 3).map(|_| replies(&bench.miss())).sum();
    assert_eq!(answered, 3);
}

#[test]
fn the_serial_moves_with_the_data_and_only_then() {
    let mut bench = Bench::new();
    let serial = |bench: &mut Bench| {
        let (_, answers) = bench.ask(0, "example.com.", Type::SOA, plain(Kind::Seek, 0), 1);
        match &answers[0].1.answers[0].data {
            RData::Soa(soa) => soa.serial,
            other => panic!("not an SOA: {other:?}"),
        }
    };
    let before = serial(&mut bench);
    bench.pass(5_000);
    assert_eq!(serial(&mut bench), before);
    bench.device.peers[0].rx_bytes += 1;
    bench.pass(5_000);
    assert_eq!(serial(&mut bench), before, "counters are no data");
    bench.device.peers[0].endpoint = Some("203.0.113.1:9999".parse().expect("an endpoint"));
    bench.pass(5_000);
    assert!(serial(&mut bench) > before);
}
