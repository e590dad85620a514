use pinhole_sansio::{Rng, conformance};

use super::word::{About, Language, Word};
use super::*;

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(core::net::Ipv4Addr::new(198, 51, 100, 7)), 40_000);
/// By a hole of the opener's WireGuard.
const ABOUT: About = About { socket: 0, port: 33_333 };
const START: Instant = Instant::from_millis(1_000);

fn settings(role: Role) -> Settings {
    let hard = Guess::Random { seen: 1_100..=65_000, samples: 24 };
    let (local, remote) = match role {
        Role::Prober => (Guess::Fixed, hard),
        Role::Opener => (hard, Guess::Fixed),
    };
    Settings {
        role,
        secret: Secret([7; 32]),
        session: Session([1; 8]),
        local,
        remote: Remote { endpoint: PEER, ports: remote },
        limits: Limits::default(),
        seed: 1,
    }
}

/// Words that the peer of such a machine would say.
fn peer(settings: &Settings) -> Language {
    Language::new(&settings.secret, settings.session, settings.role.other())
}

/// A machine that has done what is due at its start.
fn begun(settings: Settings) -> Spray {
    let mut machine = Spray::new(START, settings);
    machine.handle_input(START, Input::Timeout);
    conformance::drain(&mut machine);
    machine
}

fn hear(machine: &mut Spray, now: Instant, via: Via, from: SocketAddr, bytes: Vec<u8>) -> Vec<Output> {
    machine.handle_input(now, Input::Received { via, from, bytes });
    conformance::drain(machine)
}

fn port(port: u16) -> SocketAddr {
    SocketAddr::new(PEER.ip(), port)
}

/// When, by which socket, where to and with which TTL something was sent.
type Sent = (Instant, Via, SocketAddr, Option<u8>);

/// Runs a machine that hears nothing: what it sends, and how it ends.
fn alone(settings: Settings) -> (Vec<Sent>, Option<Reason>) {
    let mut machine = Spray::new(START, settings);
    let (mut sent, mut end) = (Vec::new(), None);
    let mut take = |now: Instant, output: Output| match output {
        Output::Transmit { via, to, ttl, .. } => sent.push((now, via, to, ttl)),
        Output::GaveUp(reason) => end = Some(reason),
        Output::Open { .. } => {}
        Output::HandOver { .. } | Output::Direct { .. } => panic!("it has heard nothing: {output:?}"),
    };
    for output in conformance::drain(&mut machine) {
        if let Output::Open { sockets } = output {
            machine.handle_input(START, Input::Opened { sockets });
        }
        take(START, output);
    }
    conformance::drain(&mut machine).into_iter().for_each(|output| take(START, output));
    conformance::run_until(&mut machine, START + Duration::from_secs(60), take);
    assert!(machine.poll_timeout().is_none(), "it is over");
    (sent, end)
}

#[test]
fn a_prober_that_hears_nothing_sends_its_budget_at_its_rate_to_one_address_and_gives_up() {
    let (sent, end) = alone(settings(Role::Prober));
    assert_eq!((sent.len(), end), (1_000, Some(Reason::NotFound { probes: 1_000 })));
    assert!(sent.iter().all(|(_, via, to, _)| *via == Via::Own && to.ip() == PEER.ip() && to.port() >= 1_024));
    for (at, sent_at) in sent.iter().map(|(at, ..)| *at).enumerate() {
        let within = sent[at..].iter().take_while(|(later, ..)| later.since(sent_at) < Duration::from_secs(1)).count();
        assert!(within <= 500, "{within} in a second");
    }
}

#[test]
fn an_opener_that_hears_nothing_opens_every_socket_twice_and_lets_four_packets_go_all_the_way() {
    let (sent, end) = alone(settings(Role::Opener));
    assert_eq!(end, Some(Reason::NotHeard));
    assert!(sent.iter().all(|(_, _, to, _)| *to == PEER));
    let far: Vec<_> = sent.iter().filter(|(.., ttl)| ttl.is_none()).collect();
    assert!(far.len() == 4 && far.iter().all(|(_, via, ..)| *via == Via::Own), "{far:?}");
    assert_eq!(sent[0], (START, Via::Own, PEER, Some(4)), "the own NAT opens before anything goes farther");
    let of = |number| sent.iter().filter(|(_, via, ..)| *via == Via::Extra(number)).count();
    assert_eq!((of(0), of(255), of(256), sent.len()), (2, 2, 0, 2 * 256 + 5));
}

#[test]
fn a_prober_that_is_woken_late_does_not_catch_up_in_a_burst() {
    let mut machine = Spray::new(START, settings(Role::Prober));
    let mut now = START;
    let mut most = 0;
    for _ in 0..100 {
        now += Duration::from_millis(300);
        machine.handle_input(now, Input::Timeout);
        most = most.max(conformance::drain(&mut machine).len());
    }
    assert_eq!(most, 8);
}

#[test]
fn who_is_no_single_host_is_not_sprayed_at_and_two_that_draw_do_not_try() {
    for ip in ["127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "ff02::1", "::", "::ffff:127.0.0.1"] {
        let mut none = settings(Role::Prober);
        none.remote.endpoint = SocketAddr::new(ip.parse().expect("an address"), 40_000);
        assert_eq!(alone(none), (Vec::new(), Some(Reason::NoTarget)), "{ip}");
    }
    let counts = Guess::Sequential(crate::ports::Sequence { next: 2_000, step: 1, others: 0, age_ms: 0 });
    for local in [Guess::Unknown, counts] {
        let hopeless = Settings { local, ..settings(Role::Prober) };
        assert_eq!(alone(hopeless), (Vec::new(), Some(Reason::Unpredictable)));
    }
}

#[test]
fn the_whole_course_as_each_side_sees_it() {
    let mut rng = Rng::from_seed(1);
    let hole = port(ABOUT.port);

    let prober = settings(Role::Prober);
    let says = peer(&prober);
    let mut machine = Spray::new(START, prober);
    let elsewhere = hear(&mut machine, START, Via::Own, port(33_334), says.write(Word::Answer, ABOUT, &mut rng));
    assert_eq!((elsewhere, machine.counters().misplaced), (vec![], 1), "somebody has sent it on from another port");
    let nominated = hear(&mut machine, START, Via::Own, hole, says.write(Word::Answer, ABOUT, &mut rng));
    assert!(matches!(&nominated[..], [Output::Transmit { via: Via::Own, to, ttl: None, .. }] if *to == hole));
    assert_eq!(hear(&mut machine, START, Via::Own, hole, says.write(Word::Accept, ABOUT, &mut rng)), []);
    let through = hear(&mut machine, START, Via::Own, hole, says.write(Word::Ready, ABOUT, &mut rng));
    assert!(
        matches!(&through[..], [Output::Transmit { .. }, Output::Direct { via: Via::Own, remote }] if *remote == hole)
    );
    let again = hear(&mut machine, START, Via::Own, hole, says.write(Word::Ready, ABOUT, &mut rng));
    assert!(matches!(&again[..], [Output::Transmit { .. }]), "the last word was lost, and is said again");

    let opener = settings(Role::Opener);
    let says = peer(&opener);
    let mut machine = Spray::new(START, opener);
    machine.handle_input(START, Input::Opened { sockets: 256 });
    conformance::drain(&mut machine);
    let via = Via::Extra(77);
    let transmits = |outputs: &[Output], by: Via| matches!(outputs, [Output::Transmit { via, .. }] if *via == by);
    assert!(transmits(&hear(&mut machine, START, via, PEER, says.write(Word::Probe, ABOUT, &mut rng)), via));
    let elsewhere = hear(
        &mut machine,
        START,
        Via::Extra(5),
        PEER,
        says.write(Word::Nominate, About { socket: 78, port: 0 }, &mut rng),
    );
    assert_eq!((elsewhere, machine.counters().misplaced), (vec![], 1), "somebody has carried it to another hole");
    let handing =
        hear(&mut machine, START, via, PEER, says.write(Word::Nominate, About { socket: 78, port: 0 }, &mut rng));
    assert!(
        matches!(&handing[..], [Output::Transmit { .. }, Output::HandOver { via: by, remote: PEER }] if *by == via)
    );
    machine.handle_input(START, Input::HandedOver);
    assert!(transmits(&conformance::drain(&mut machine), Via::Own), "WireGuard's port speaks");
    let direct = hear(&mut machine, START, Via::Own, PEER, says.write(Word::Done, ABOUT, &mut rng));
    assert_eq!(direct, [Output::Direct { via, remote: PEER }]);
}

#[test]
fn wireguards_own_port_is_not_handed_over() {
    let mut rng = Rng::from_seed(1);
    let opener = settings(Role::Opener);
    let says = peer(&opener);
    let mut machine = begun(opener);
    let ready = hear(&mut machine, START, Via::Own, PEER, says.write(Word::Nominate, ABOUT, &mut rng));
    assert!(matches!(&ready[..], [Output::Transmit { via: Via::Own, .. }]), "{ready:?}");
}

#[test]
fn a_hand_over_that_does_not_come_and_a_peer_that_falls_silent_end_the_attempt() {
    let mut rng = Rng::from_seed(1);
    let mut end = |role: Role, words: &[Word]| {
        let settings = settings(role);
        let says = peer(&settings);
        let mut machine = Spray::new(START, settings);
        machine.handle_input(START, Input::Opened { sockets: 256 });
        conformance::drain(&mut machine);
        for word in words {
            hear(
                &mut machine,
                START,
                if role == Role::Prober { Via::Own } else { Via::Extra(0) },
                PEER,
                says.write(*word, About { socket: u16::from(role == Role::Opener), port: PEER.port() }, &mut rng),
            );
        }
        let mut reason = None;
        conformance::run_until(&mut machine, START + Duration::from_secs(60), |now, output| {
            if let Output::GaveUp(why) = output {
                reason = Some((now.since(START).as_secs(), why));
            }
        });
        reason.expect("it gives up")
    };
    assert_eq!(end(Role::Opener, &[Word::Nominate]), (5, Reason::NotHandedOver));
    assert_eq!(end(Role::Prober, &[Word::Answer, Word::Accept]), (5, Reason::NotHandedOver));
    assert_eq!(end(Role::Opener, &[Word::Probe]), (5, Reason::NotHeard));
    // It tries other ports, since that one leads one way only.
    assert!(matches!(end(Role::Prober, &[Word::Answer]), (3 | 4, Reason::NotFound { probes: 1_000 })));
}

#[test]
fn a_recorded_word_that_comes_again_and_again_gets_one_answer() {
    let mut rng = Rng::from_seed(1);
    for (role, word) in [(Role::Opener, Word::Probe), (Role::Opener, Word::Nominate), (Role::Prober, Word::Ready)] {
        let settings = settings(role);
        let recorded = peer(&settings).write(word, About { socket: 4, port: 0 }, &mut rng);
        let mut machine = begun(settings);
        let mut sent = 0;
        for _ in 0..10_000 {
            let outputs = hear(&mut machine, START, Via::Extra(3), PEER, recorded.clone());
            sent += outputs.iter().filter(|output| matches!(output, Output::Transmit { .. })).count();
        }
        assert_eq!((sent, machine.counters().repeated), (1, 9_999), "{role:?} {word:?}");
    }
}

#[test]
fn nothing_that_is_forged_reflected_replayed_or_from_elsewhere_is_answered() {
    let mut rng = Rng::from_seed(1);
    for role in [Role::Prober, Role::Opener] {
        let settings = settings(role);
        let right = peer(&settings);
        let forged = Language::new(&Secret([8; 32]), settings.session, role.other());
        let replayed = Language::new(&settings.secret, Session([2; 8]), role.other());
        let own = Language::new(&settings.secret, settings.session, role);
        let mut machine = begun(settings);
        let stranger = SocketAddr::new("192.0.2.66".parse().expect("an address"), PEER.port());
        for word in [Word::Probe, Word::Answer, Word::Nominate, Word::Accept, Word::Ready, Word::Done] {
            for language in [&forged, &replayed, &own] {
                assert_eq!(
                    hear(&mut machine, START, Via::Own, PEER, language.write(word, ABOUT, &mut rng)),
                    [],
                    "{role:?} {word:?}"
                );
            }
            let elsewhere = right.write(word, ABOUT, &mut rng);
            assert_eq!(hear(&mut machine, START, Via::Own, stranger, elsewhere), [], "{role:?} {word:?}");
        }
        assert_eq!(hear(&mut machine, START, Via::Own, PEER, b"\x01\0\0\0 not ours".to_vec()), []);
        let counted = machine.counters();
        assert_eq!((counted.forged, counted.other_session, counted.mirrored), (6, 6, 6));
        assert_eq!((counted.strangers, counted.foreign), (6, 1));
    }
}

#[test]
fn whatever_happens_in_whatever_order_packets_go_to_one_address_and_are_bounded_in_number() {
    for seed in 0..300 {
        let mut rng = Rng::from_seed(seed);
        let role = if rng.chance(0.5) { Role::Prober } else { Role::Opener };
        let settings = settings(role);
        let says = peer(&settings);
        let mut machine = Spray::new(START, settings);
        let (mut now, mut sent, mut ended) = (START, 0, 0);
        for _ in 0..400 {
            now += Duration::from_micros(rng.below(30_000));
            let via = if rng.chance(0.3) { Via::Own } else { Via::Extra(rng.below(300) as u16) };
            let words = [Word::Probe, Word::Answer, Word::Nominate, Word::Accept, Word::Ready, Word::Done];
            let input = match rng.below(6) {
                0 => Input::Timeout,
                1 => Input::Opened { sockets: rng.below(70_000) as u16 },
                2 => Input::HandedOver,
                _ => {
                    let socket = rng.below(3) as u16 * rng.below(150) as u16;
                    let mut bytes = says.write(words[rng.below(6) as usize], About { socket, port: 0 }, &mut rng);
                    if rng.chance(0.2) {
                        let at = rng.below(bytes.len() as u64) as usize;
                        bytes[at] ^= 1 << rng.below(8);
                    }
                    Input::Received { via, from: port(rng.next_u64() as u16), bytes }
                }
            };
            machine.handle_input(now, input);
            for output in conformance::drain(&mut machine) {
                match output {
                    Output::Transmit { to, .. } => {
                        assert_eq!(to.ip(), PEER.ip(), "seed {seed}");
                        sent += 1;
                    }
                    Output::Direct { remote, .. } | Output::HandOver { remote, .. } => {
                        assert_eq!(remote.ip(), PEER.ip())
                    }
                    Output::GaveUp(_) => ended += 1,
                    Output::Open { sockets } => assert!(sockets <= 256),
                }
            }
            conformance::spurious_timeout_does_nothing(&mut machine, now);
        }
        assert!(sent <= 1_000 + 400 + 100, "seed {seed}: {sent}");
        assert!(ended <= 1, "seed {seed}: it gives up once");
    }
}

#[test]
fn the_secret_does_not_show() {
    assert!(!format!("{:?}", settings(Role::Prober)).contains("7, 7"));
    assert!(!format!("{:?}", Spray::new(START, settings(Role::Prober))).contains("7, 7"));
}
