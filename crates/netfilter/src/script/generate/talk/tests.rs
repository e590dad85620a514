use super::*;
use crate::rules::Ruleset;
use crate::script::{Engine, Executor, Family};
use crate::settings::Personality;
use core::time::Duration;

/// What comes in during a talk through our own router.
fn said(talk: &Talk) -> Vec<(Side, Vec<u8>)> {
    let (mut engine, mut hosts) = (Engine::new(Personality::V6_18, 1), talk.hosts());
    engine.load(&talk.setup).unwrap_or_else(|error| panic!("{error}"));
    let mut all = Vec::new();
    for &step in talk.steps() {
        for (side, packet) in hosts.speak(step) {
            let observed = engine.step(Duration::ZERO, side, &packet).unwrap_or_else(|error| panic!("{error}"));
            hosts.hear(&observed.outputs);
            all.push((side, packet));
        }
    }
    all
}

#[test]
fn the_same_seed_gives_the_same_talk() {
    for seed in (0..2_000).step_by(7) {
        assert_eq!(said(&Talk::of_seed(seed)), said(&Talk::of_seed(seed)), "{seed}");
    }
}

#[test]
fn every_router_of_a_talk_has_rules_that_are_understood() {
    for seed in 0..500 {
        let setup = Router::of_seed(seed).setup();
        for (family, text) in &setup.rules {
            let error = match family {
                Family::Ipv4 => Ruleset::<Ipv4Addr>::parse(text).err(),
                Family::Ipv6 => Ruleset::<Ipv6Addr>::parse(text).err(),
            };
            assert!(error.is_none(), "{error:?} in\n{text}");
        }
    }
}
