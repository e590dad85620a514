//! What others make of it: a registry that lies, a peer that is none, somebody on the way, tables that are full.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use pinhole_netfilter::behaviour::{Behaviour, Limits as NatLimits};
use pinhole_sansio::Duration;
use pinhole_stun::{Class, Message};
use pinhole_traversal::spray::{Allowance, Denied, Reason, Secret};

use super::plans::{Plans, random, restricted};
use super::world::{Kind, Plan, World};

#[test]
fn a_registry_that_names_a_third_party_gets_a_thousand_packets_sent_there_and_no_more() {
    let victim = SocketAddr::from(([192, 0, 2, 7], 53));
    let mut world = World::new(&Plan::new(restricted(), random()), 1);
    world.settings_mut(0).remote.endpoint = victim;
    world.settings_mut(1).remote.endpoint = victim;
    let end = world.run();
    assert_eq!(end.reasons, [Some(Reason::NotFound { probes: 1_000 }), Some(Reason::NotHeard)]);
    assert!(world.sent.iter().all(|sent| sent.to.ip() == victim.ip()), "and nowhere else");
    let probes: Vec<_> = world.sent.iter().filter(|sent| sent.host == 0).collect();
    assert_eq!(probes.len(), 1_000);
    assert!(probes.iter().all(|sent| sent.to.port() >= 1_024), "no server's port");
    assert!(probes[999].at.since(probes[0].at) >= Duration::from_millis(1_990), "500 a second");
    let class = |bytes: &[u8]| Message::read(bytes).map(|message| message.class());
    assert!(world.sent.iter().all(|sent| class(&sent.bytes) == Ok(Class::Indication)), "which no STUN server answers");

    // And it may not ask again at once, nor in other peers' names for ever.
    let mut allowance = Allowance::new();
    let mut granted = 0;
    for peer in 0..50 {
        match allowance.ask(world.now, [peer; 32], victim.ip(), 1_000) {
            Ok(probes) => granted += probes,
            Err(denied) => assert_eq!(denied, Denied::Spent),
        }
        allowance.ended(world.now, 1_000, false);
        assert!(allowance.ask(world.now, [peer; 32], victim.ip(), 1_000).is_err());
    }
    assert_eq!(granted, 4_000);
}

#[test]
fn who_does_not_have_the_secret_is_not_answered() {
    let mut world = World::new(&Plan::new(restricted(), Kind::LinuxFullyRandom), 3);
    world.settings_mut(1).secret = Secret([9; 32]);
    let end = world.run();
    assert_eq!((end.direct, end.counters[0].words, end.counters[1].words), (None, 0, 0));
    assert!(end.counters[1].forged > 0, "it was hit, and said nothing");
}

#[test]
fn somebody_on_the_way_who_repeats_and_forges_everything_stops_nothing_and_gets_no_more_than_he_sends() {
    for seed in 0..10 {
        let mut world = World::new(&Plan::new(restricted(), Kind::LinuxFullyRandom), seed);
        let (begin, mut seen) = (world.now, 0);
        let prober = SocketAddrV4::new(world.public(0), 51_820);
        let mut forged = 0;
        for tick in 1..400 {
            world.run_until(begin + Duration::from_millis(5 * tick));
            let new: Vec<_> = world.sent[seen..].to_vec();
            seen = world.sent.len();
            let holes = world.ports(1);
            for sent in new {
                let mut changed = sent.bytes.clone();
                changed[25] ^= 1;
                for bytes in [&sent.bytes, &changed] {
                    // Back where it came from, and to a hole, and to the prober from a hole.
                    let hole = holes.last().copied().unwrap_or(2_000);
                    world.forge(prober, 1, hole, bytes);
                    world.forge(SocketAddrV4::new(world.public(1), hole), 0, 51_820, bytes);
                    forged += 2;
                }
            }
            assert!(forged < 100_000);
        }
        let end = world.run();
        let counted = end.counters;
        assert!(counted[0].mirrored + counted[1].mirrored > 0 && counted[1].forged > 0, "seed {seed}: {counted:?}");
        assert!(counted.iter().all(|counters| counters.words <= 1_000 + 64), "seed {seed}: {counted:?}");
        assert!(end.carries, "seed {seed}: {end:?}");
    }
}

#[test]
fn a_quota_of_ports_that_is_used_up_costs_chances_and_nothing_else() {
    let limits = NatLimits { ports: 120, ..NatLimits::NONE };
    let narrow = Kind::Behaviour(Behaviour { limits, ..Behaviour::cloud_nat() });
    let plans = Plans::run(&Plan::new(restricted(), narrow), 60);
    // Some ninety holes: 1 - (1 - 1,000 / 64,512)^90 = 75 %.
    assert!((550..=900).contains(&plans.share()), "{} of 1,000", plans.share());
    let given_up = plans.ends().iter().filter(|end| end.direct.is_none());
    assert!(given_up.clone().count() > 0);
    for end in given_up {
        assert_eq!(end.reasons, [Some(Reason::NotFound { probes: 1_000 }), Some(Reason::NotHeard)]);
    }
}

#[test]
fn a_stranger_at_a_hole_is_a_stranger() {
    let mut world = World::new(&Plan::new(restricted(), random()), 1);
    world.run_until(world.now + Duration::from_millis(200));
    let hole = world.ports(1)[10];
    let before = world.counters()[1];
    world.forge(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 51_820), 1, hole, b"let me in");
    assert_eq!(world.counters()[1].words, before.words);
}
