//! Resolving an instance from servers of every temper.

use super::{Instance, Resolution, Unresolved, entries, instances, value};
use crate::message::{Header, Message};
use crate::record::Srv;
use crate::{Name, RData, Record, Type};

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn record(owner: &str, data: RData) -> Record {
    Record { owner: name(owner), ttl: 0, data }
}

fn srv(target: &str, priority: u16) -> RData {
    RData::Srv(Srv { priority, weight: 0, port: 7777, target: name(target) })
}

fn answer(answers: Vec<Record>, additional: Vec<Record>) -> Message {
    Message { answers, additional, ..Message::default() }
}

fn a(last: u8) -> RData {
    RData::A([203, 0, 113, last].into())
}

const K: &str = "k._wireguard._udp.z";

/// Feeds answers by question until the resolution stops asking; a question without one is answered "nothing".
fn resolve(answers: &[(&str, Type, Message)]) -> (Result<Instance, Unresolved>, usize) {
    let mut resolution = Resolution::new(name(K), true);
    for questions in 0..10 {
        let (owner, qtype) = match resolution.instance() {
            Err(Unresolved::Ask(owner, qtype)) => (owner, qtype),
            done => return (done, questions),
        };
        let known = answers.iter().find(|(known, rtype, _)| name(known) == owner && *rtype == qtype);
        let empty = Message::default();
        resolution.absorb(&owner, qtype, known.map_or(&empty, |(_, _, message)| message));
    }
    panic!("it goes on asking");
}

#[test]
fn every_kind_of_server_leads_to_the_same_endpoint() {
    let text = || record(K, RData::txt(["txtvers=1", "pub=x"]));
    let nxdomain = Message { header: Header { flags: 3, ..Header::default() }, ..Message::default() };
    for (what, answers, questions) in [
        ("wgsd", vec![(K, Type::SRV, answer(vec![record(K, srv(K, 0))], vec![record(K, a(1)), text()]))], 1),
        (
            "wgsd behind a resolver that strips Additional",
            vec![
                (K, Type::SRV, answer(vec![record(K, srv(K, 0))], vec![])),
                (K, Type::A, answer(vec![record(K, a(1))], vec![])),
                (K, Type::TXT, answer(vec![text()], vec![])),
            ],
            3,
        ),
        (
            "the old format, which says NXDOMAIN to TXT",
            vec![
                (K, Type::SRV, answer(vec![record(K, srv("k.z", 0))], vec![record("K.z", a(1))])),
                (K, Type::TXT, nxdomain),
            ],
            2,
        ),
        (
            "an address of the wrong family, and only for AAAA",
            vec![
                (K, Type::SRV, answer(vec![record(K, srv(K, 0))], vec![text()])),
                (K, Type::AAAA, answer(vec![record(K, a(1))], vec![])),
            ],
            3,
        ),
        (
            "a host that is an alias",
            vec![
                (K, Type::SRV, answer(vec![record(K, srv("h.z", 9)), record(K, srv("g.z", 1))], vec![text()])),
                ("g.z", Type::A, answer(vec![record("g.z", RData::Cname(name("x.y"))), record("x.y", a(1))], vec![])),
            ],
            2,
        ),
    ] {
        let (instance, asked) = resolve(&answers);
        let instance = instance.unwrap_or_else(|e| panic!("{what}: {e:?}"));
        assert_eq!((instance.addresses, instance.srv.port), (vec!["203.0.113.1".parse().unwrap()], 7777), "{what}");
        assert_eq!(asked, questions, "{what}");
    }
}

#[test]
fn what_cannot_be_resolved_says_why() {
    assert_eq!(resolve(&[]).0, Err(Unresolved::NoInstance));
    let no_address = [(K, Type::SRV, answer(vec![record(K, srv("h.z", 0))], vec![]))];
    assert_eq!(resolve(&no_address), (Err(Unresolved::NoAddress(name("h.z"))), 3));
    let not_here = [(K, Type::SRV, answer(vec![record(K, srv(".", 0))], vec![]))];
    assert_eq!(resolve(&not_here).0, Err(Unresolved::NoInstance));
    let circle = vec![record("h.z", RData::Cname(name("i.z"))), record("i.z", RData::Cname(name("h.z")))];
    let circle = [(K, Type::SRV, answer(vec![record(K, srv("h.z", 0))], circle))];
    assert_eq!(resolve(&circle).0, Err(Unresolved::NoAddress(name("h.z"))));
}

#[test]
fn browsing_lists_each_instance_once() {
    let ptr = |target: &str| record("_wireguard._udp.z", RData::Ptr(name(target)));
    let message = answer(vec![ptr("a.z"), ptr("b.z"), ptr("A.z"), record("x.z", RData::Ptr(name("c.z")))], vec![]);
    assert_eq!(instances(&message, &name("_wireguard._udp.Z")), [name("a.z"), name("b.z")]);
}

#[test]
fn long_text_is_joined_again() {
    for length in [0, 1, 254, 255, 256, 509, 510, 511, 1_000] {
        let long = format!("allowed={}", "x".repeat(length));
        let RData::Txt(strings) = RData::txt(["txtvers=1", &long, "last=1"]) else { panic!("TXT") };
        let joined = entries(&strings);
        assert_eq!(joined.len(), 3, "{length}");
        assert_eq!(value(&joined, "ALLOWED").unwrap().len(), length);
        assert_eq!(value(&joined, "last"), Some(&b"1"[..]));
        assert_eq!(value(&joined, "none"), None);
    }
}
