//! How long silent mappings live, to a second or a tenth, within a few times that.

use pinhole_netfilter::behaviour::{Behaviour, Timers};
use pinhole_sansio::Duration;
use pinhole_traversal::discovery::{Confidence, Lifetime, Note, Report, Verdict};

use crate::world::{Between, Knows, World};

const LONGEST: Duration = Duration::from_secs(300);

fn find(behaviour: Behaviour, once: u64, stream: u64, knows: Knows, loss: f64, seed: u64) -> Report {
    let (udp, udp_stream) = (Duration::from_secs(once), Duration::from_secs(stream));
    let timers = Timers { udp, udp_stream, ..behaviour.timers };
    World::new(&Between::Nats(vec![(Behaviour { timers, ..behaviour }, 1)]), knows, loss, seed).discover(Some(LONGEST))
}

/// Whether a verdict says `real` and no more than a twentieth or a second beside it.
fn is(verdict: &Verdict<Lifetime>, real: u64) -> bool {
    let slack = Duration::from_secs(1).max(Duration::from_secs(real) / 20);
    let real = Duration::from_secs(real);
    verdict.value().is_some_and(|Lifetime { survived, died }| {
        *survived <= real + slack && *survived + slack * 2 >= real && died.is_some_and(|died| died + slack >= real)
    })
}

#[test]
fn lifetimes_are_found_within_a_few_times_themselves() {
    // The servers answer, so that both sides have sent, and these NATs call that a stream at once.
    for stream in [20, 30, 120, 180] {
        for behaviour in [Behaviour::openwrt(), Behaviour::home_router(), Behaviour::mobile_carrier()] {
            let report = find(behaviour, 15, stream, Knows::Behaviour, 0.02, stream);
            assert!(is(&report.lifetime, stream), "{stream}: {:?}", report.lifetime);
            assert!(is(&report.stream_lifetime, stream), "{stream}: {:?}", report.stream_lifetime);
            let bound = Duration::from_secs(stream) * 5 / 2 + Duration::from_secs(30);
            assert!(report.took < bound, "{stream}: {:?}", report.took);
        }
    }
}

#[test]
fn what_lives_longer_than_the_longest_wait_is_not_measured_but_bounded() {
    let report = find(Behaviour::rfc4787(), 7_000, 7_000, Knows::Behaviour, 0.02, 1);
    assert_eq!(report.lifetime.value(), Some(&Lifetime { survived: LONGEST, died: None }));
    assert!(report.lifetime.notes.contains(&Note::AtLeast));
}

#[test]
fn without_response_port_only_nats_that_give_new_ports_can_be_measured() {
    for knows in [Knows::Binding(2), Knows::Pretends] {
        let report = find(Behaviour::cgn_rfc6888(), 40, 40, knows, 0.0, 1);
        assert!(is(&report.lifetime, 40), "{knows:?}: {:?}", report.lifetime);
        assert_eq!(report.lifetime.confidence, Confidence::Likely, "{knows:?}");
    }
    let report = find(Behaviour::openwrt(), 40, 40, Knows::Binding(2), 0.0, 1);
    assert_eq!(report.lifetime.value(), None, "a new mapping with the old port looks like the old one");
    assert!(report.lifetime.notes.contains(&Note::NeedsResponsePort));
}
