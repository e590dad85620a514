use super::super::facts::{Allocation, Dependence};
use super::super::layers::Owner;
use super::super::pair::{Callee, Fix, Obstacle, Way, Who};
use super::super::problem::{Problem, Severity};
use super::super::tests::every_problem;
use super::super::{Peer, Protocol, PublicPort};
use super::*;

/// The names in braces of a text, sorted.
fn names(text: &str) -> Vec<&str> {
    let mut names: Vec<&str> = text.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
    names.sort_unstable();
    names
}

fn is_chinese(text: &str) -> bool {
    text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c))
}

#[test]
fn every_problem_has_a_title_and_a_remedy_in_every_language_with_the_same_values() {
    for problem in every_problem() {
        for row in [problems::title_row(&problem), problems::remedy_row(&problem)] {
            let [en, zh] = row;
            let (mut english, mut chinese) = (names(en), names(zh));
            english.dedup();
            chinese.dedup();
            assert_eq!(english, chinese, "{problem:?}");
            let code_only = en == zh;
            assert!(code_only || is_chinese(zh) && !is_chinese(en), "{problem:?}: {zh}");
        }
        for lang in Lang::ALL {
            for text in [title(&problem, lang), remedy(&problem, lang)] {
                assert!(!text.contains(['{', '}']), "{problem:?}: a value is missing in {text}");
            }
            let used = [problems::title_row(&problem), problems::remedy_row(&problem)].concat().concat();
            for (name, value) in problems::values(&problem, lang) {
                assert!(used.contains(&format!("{{{name}}}")), "{problem:?} has no use for {name} = {value}");
            }
        }
    }
}

#[test]
fn everything_else_has_a_text_in_every_language() {
    let who = [Who::Us, Who::Them];
    let callees = [Callee::Us, Callee::Them];
    let mut ways = vec![Way::Ipv6, Way::SameNetwork, Way::Hairpin, Way::Punch, Way::Guess, Way::Spray];
    ways.extend(
        callees.iter().flat_map(|&callee| [Way::Call(callee), Way::MappedPort(callee), Way::OpenAddress(callee)]),
    );
    let mut fixes = vec![Fix::Ipv6OnBoth, Fix::LocalAddresses, Fix::Relay];
    fixes.extend(who.iter().flat_map(|&who| {
        [Fix::AllowUdp(who), Fix::MapPort(who), Fix::EasyMapping(who), Fix::Ipv6(who), Fix::PublicAddress(who)]
    }));
    let mut obstacles = vec![Obstacle::UdpBlockedOnBoth, Obstacle::BothRandom, Obstacle::NoHairpin];
    obstacles.extend(who.map(Obstacle::UdpBlocked));
    let ports = [
        PublicPort::Already,
        PublicPort::OpenFilter,
        PublicPort::Mapping(Protocol::Pcp),
        PublicPort::Punch,
        PublicPort::MappingAndPunch(Protocol::Pcp),
        PublicPort::MappingThenPunch(Protocol::Upnp),
        PublicPort::ByHand,
        PublicPort::Relay,
        PublicPort::Unknown,
    ];
    let mut rows: Vec<[&str; 2]> = Vec::new();
    let mut add = |of: &dyn Fn(Lang) -> &'static str| rows.push(Lang::ALL.map(of));
    ways.iter().for_each(|&each| add(&|lang| way(each, lang)));
    fixes.iter().for_each(|&each| add(&|lang| fix(each, lang)));
    obstacles.iter().for_each(|&each| add(&|lang| obstacle(each, lang)));
    ports.iter().for_each(|&each| add(&|lang| port(each, lang)));
    Word::ALL.iter().for_each(|&each| add(&|lang| each.text(lang)));
    Peer::ALL.iter().for_each(|&each| add(&|lang| peer(each, lang)));
    Dependence::ALL.iter().for_each(|&each| add(&|lang| dependence(each, lang)));
    Allocation::ALL.iter().for_each(|&each| add(&|lang| allocation(each, lang)));
    let owners = [Owner::FirstHop, Owner::SecondRouter, Owner::Carrier];
    owners.iter().for_each(|&each| add(&|lang| owner(each, lang)));
    let severities = [Severity::Blocking, Severity::Serious, Severity::Warning, Severity::Notice];
    severities.iter().for_each(|&each| add(&|lang| severity(each, lang)));
    for [en, zh] in rows {
        assert!(!en.is_empty() && !is_chinese(en) && is_chinese(zh), "{en}: {zh}");
    }
}

#[test]
fn locales_ask_for_a_language() {
    for (locale, lang) in [
        ("zh_CN.UTF-8", Lang::Zh),
        ("zh-TW", Lang::Zh),
        ("ZH", Lang::Zh),
        ("en_GB.UTF-8", Lang::En),
        ("de_DE", Lang::En),
        ("C", Lang::En),
        ("", Lang::En),
    ] {
        assert_eq!(Lang::of_locale(locale), lang, "{locale}");
    }
}

#[test]
fn values_stand_in_their_places() {
    let problem = Problem::ConntrackFull { count: 95, max: 100 };
    assert!(title(&problem, Lang::En).contains("95 % full (95 of 100)"));
    assert!(remedy(&problem, Lang::Zh).contains("nf_conntrack_max=400"));
    let carrier = Problem::CarrierNat { wan: None, public: None };
    assert!(title(&carrier, Lang::Zh).contains("未知") && title(&carrier, Lang::En).contains("unknown"));
}
