//! The zone of wgsd's README, byte for byte, and what wgsd gets wrong.

use super::{AMPLIFICATION, Answers, Asker, CookieJar, Outcome, Query, Reason, Unanswerable};
use crate::edns::{self, cookie::Cookies};
use crate::message::{Header, Message, Question};
use crate::record::{Soa, Srv};
use crate::zone::Zone;
use crate::{Name, RData, Rcode, Record, Type};

const K1: &str = "yutrled535igkl7bdlerl6m4vjxsxm3uqqpl4nmsn27mt56ad4ha====";
const K2: &str = "wmrid55v4enhxqx2jstyoyvkicj5pihkb2tr7r42smiu3t5l4i5q====";
const K3: &str = "extglt26a3znqnigvb5gvg26cqwblbgynf5re5pukdhx53cqwvda====";
const LEGACY: Asker<'_> = Asker::udp(true);

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn instance(key: &str) -> Name {
    name(&format!("{key}._wireguard._udp.example.com"))
}

fn add_peer(zone: &mut Zone, key: &str, public: &str, endpoint: &str, allowed: &str) {
    let endpoint: core::net::SocketAddr = endpoint.parse().unwrap();
    let owner = name(&format!("{key}._wireguard._udp")).below(zone.origin()).unwrap();
    let service = owner.parent().unwrap();
    let address = match endpoint.ip() {
        core::net::IpAddr::V4(address) => RData::A(address),
        core::net::IpAddr::V6(address) => RData::Aaaa(address),
    };
    let srv = Srv { priority: 0, weight: 0, port: endpoint.port(), target: owner.clone() };
    let text = ["txtvers=1".to_owned(), format!("pub={public}"), format!("allowed={allowed}")];
    zone.add(service, 0, RData::Ptr(owner.clone())).unwrap();
    zone.add(owner.clone(), 0, RData::Srv(srv)).unwrap();
    zone.add(owner.clone(), 0, address).unwrap();
    zone.add(owner.clone(), 0, RData::txt(text)).unwrap();
    let unpadded = owner.parent().unwrap().child(key.trim_end_matches('=')).unwrap();
    zone.alias(unpadded, owner).unwrap();
}

fn readme_zone() -> Zone {
    let origin = name("example.com");
    let soa = Soa { minimum: 60, ..Zone::soa_for(&origin, 1) };
    let mut zone = Zone::new(origin.clone(), soa, 60);
    for (key, public, endpoint, allowed) in [
        (K1, "xScVkH3fUGUv4RrJFfmcqm8rs3SEHr41km6+yffAHw4=", "203.0.113.1:7777", "10.0.0.1/32"),
        (K2, "syKB97XhGnvC+kynh2KqQJPXoOoOpx/HmpMRTc+r4js=", "198.51.100.1:8888", "10.0.0.2/32"),
        (K3, "JeZlz14G8tg1Bqh6apteFCwVhNhpexJ19FDPfuxQtUY=", "192.0.2.1:51820", "10.0.0.254/32"),
    ] {
        add_peer(&mut zone, key, public, endpoint, allowed);
    }
    zone.add(origin.clone(), 3600, RData::Ns(origin.child("ns1").unwrap())).unwrap();
    zone.add(origin.child("ns1").unwrap(), 3600, RData::A([192, 0, 2, 1].into())).unwrap();
    let browse = name("_services._dns-sd._udp").below(&origin).unwrap();
    zone.add(browse, 0, RData::Ptr(name("_wireguard._udp").below(&origin).unwrap())).unwrap();
    zone
}

/// UDP size and options.
type WithEdns<'a> = (u16, &'a [(u16, &'a [u8])]);

/// A query with RD and id 0x1234; `edns` is the UDP size and the options.
fn query(owner: &Name, qtype: Type, edns: Option<WithEdns<'_>>) -> Vec<u8> {
    let edns = edns.map(|(udp_size, options)| crate::message::Edns {
        udp_size,
        ttl: 0,
        options: options.iter().map(|(code, data)| (*code, data.to_vec())).collect(),
    });
    Message {
        header: Header { id: 0x1234, flags: Header::RD, counts: [0; 4] },
        questions: vec![Question { name: owner.clone(), qtype, qclass: 1 }],
        edns,
        ..Message::default()
    }
    .encode()
}

fn ask(answers: &Answers, query: &[u8], asker: &Asker<'_>) -> (Outcome, Vec<u8>) {
    let mut out = vec![0xee; 65_535];
    let outcome = answers.answer(query, asker, &mut out);
    match outcome {
        Outcome::Reply(len) | Outcome::Miss(len) | Outcome::Escalate(len) => out.truncate(len),
        Outcome::Drop(_) => out.clear(),
    }
    (outcome, out)
}

fn reply(owner: &Name, qtype: Type, edns: Option<u16>) -> Message {
    let answers = Answers::compile(&[readme_zone()]);
    let (_, bytes) = ask(&answers, &query(owner, qtype, edns.map(|size| (size, &[][..]))), &LEGACY);
    Message::decode(&bytes).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn srv_and_unknown_name_are_answered_as_wgsd_does_to_the_byte() {
    let srv = hex("12348500000100010000000238797574726c656435333569676b6c3762646c65726c366d34766a7873786d33757171706c
        346e6d736e32376d74353661643468613d3d3d3d0a5f776972656775617264045f756470076578616d706c6503636f6d00
        00210001c00c0021000100000000005c000000001e6138797574726c656435333569676b6c3762646c65726c366d34766a
        7873786d33757171706c346e6d736e32376d74353661643468613d3d3d3d0a5f776972656775617264045f756470076578
        616d706c6503636f6d00c00c00010001000000000004cb007101c00c0010000100000000004f09747874766572733d3130
        7075623d785363566b483366554755763452724a46666d63716d387273335345487234316b6d362b796666414877343d13
        616c6c6f7765643d31302e302e302e312f3332");
    let unknown =
        hex("1234850300010000000100000178076578616d706c6503636f6d0000010001076578616d706c6503636f6d000006000100
        00003c003d036e7331076578616d706c6503636f6d000a706f73746d6173746572076578616d706c6503636f6d00000000
        010001518000001c200036ee800000003c");
    let answers = Answers::compile(&[readme_zone()]);
    for verified in [true, false] {
        let asker = Asker::udp(verified);
        let (outcome, bytes) = ask(&answers, &query(&instance(K1), Type::SRV, None), &asker);
        assert_eq!((outcome, bytes), (Outcome::Reply(313), srv.clone()));
        let (outcome, bytes) = ask(&answers, &query(&name("x.example.com"), Type::A, None), &asker);
        assert_eq!((outcome, bytes), (Outcome::Miss(115), unknown.clone()));
    }
}

#[test]
fn sizes_are_those_of_wgsd_or_smaller() {
    let answers = Answers::compile(&[readme_zone()]);
    let upper = name(&instance(K1).to_string().to_uppercase());
    let service = name("_wireguard._udp.example.com");
    for (owner, qtype, edns, size) in [
        (&instance(K1), Type::SRV, None, 313),
        (&instance(K1), Type::SRV, Some(1232), 576),
        (&instance(K1), Type::SRV, Some(4096), 576),
        (&instance(K1), Type::SRV, Some(0), 324),
        (&upper, Type::SRV, None, 313),
        (&upper, Type::SRV, Some(1232), 576),
        (&instance(K1), Type::A, None, 202),
        (&instance(K1), Type::TXT, None, 277),
        (&service, Type::PTR, None, 420),
    ] {
        let query = query(owner, qtype, edns.map(|size| (size, &[][..])));
        let (_, bytes) = ask(&answers, &query, &LEGACY);
        assert_eq!(bytes.len(), size, "{owner} {qtype} {edns:?}");
        Message::decode(&bytes).unwrap();
    }
}

#[test]
fn srv_brings_the_address_first_then_the_text_and_opt_last() {
    for edns in [None, Some(512), Some(1232)] {
        let message = reply(&instance(K2), Type::SRV, edns);
        let types: Vec<Type> = message.additional.iter().map(|record| record.data.rtype()).collect();
        assert_eq!(types, [Type::A, Type::TXT]);
        assert_eq!(message.edns.is_some(), edns.is_some());
        assert!(message.header.has(Header::QR | Header::AA | Header::RD) && !message.header.has(Header::TC));
    }
}

#[test]
fn the_question_keeps_its_case_and_so_do_owners_equal_to_it() {
    for edns in [None, Some(1232)] {
        let mixed = name(&instance(K1).to_string().replace("yut", "yUt").replace("wire", "WiRe"));
        let message = reply(&mixed, Type::SRV, edns);
        let owners = message.answers.iter().chain(&message.additional).map(|record| record.owner.wire());
        assert_eq!(owners.collect::<Vec<_>>(), [mixed.wire(); 3]);
        let RData::Srv(srv) = &message.answers[0].data else { panic!("no SRV") };
        assert_eq!(srv.target.wire(), instance(K1).wire(), "data keeps its own case");
    }
}

#[test]
fn the_unpadded_label_answers_like_the_padded_one() {
    let unpadded = instance(K1.trim_end_matches('='));
    let message = reply(&unpadded, Type::SRV, None);
    let RData::Srv(srv) = &message.answers[0].data else { panic!("no SRV") };
    assert_eq!((srv.port, &srv.target), (7777, &unpadded));
    assert_eq!(message.additional.len(), 2);
    assert_eq!(
        reply(&unpadded, Type::TXT, None).answers[0].data,
        reply(&instance(K1), Type::TXT, None).answers[0].data
    );
}

#[test]
fn names_and_types_are_answered_as_the_rfcs_say() {
    for (owner, qtype, rcode, answers, authority) in [
        ("example.com", Type::SOA, Rcode::NOERROR, 1, 0),
        ("example.com", Type::NS, Rcode::NOERROR, 1, 0),
        ("example.com", Type::A, Rcode::NOERROR, 0, 1),
        ("ns1.example.com", Type::A, Rcode::NOERROR, 1, 0),
        ("_udp.example.com", Type::A, Rcode::NOERROR, 0, 1),
        ("_udp.example.com", Type::ANY, Rcode::NOERROR, 0, 1),
        ("_dns-sd._udp.example.com", Type::NS, Rcode::NOERROR, 0, 1),
        ("_wireguard._udp.example.com", Type::SRV, Rcode::NOERROR, 0, 1),
        ("_services._dns-sd._udp.example.com", Type::PTR, Rcode::NOERROR, 1, 0),
        ("x.example.com", Type::A, Rcode::NXDOMAIN, 0, 1),
        ("x._wireguard._udp.example.com", Type::SRV, Rcode::NXDOMAIN, 0, 1),
        ("badexample.com", Type::A, Rcode::REFUSED, 0, 0),
        ("com", Type::NS, Rcode::REFUSED, 0, 0),
        (".", Type::NS, Rcode::REFUSED, 0, 0),
        ("example.com", Type::ANY, Rcode::NOERROR, 1, 0),
        ("example.com", Type::AXFR, Rcode::REFUSED, 0, 0),
        ("example.com", Type::OPT, Rcode::FORMERR, 0, 0),
        ("example.com", Type(253), Rcode::NOTIMP, 0, 0),
        ("example.com", Type(65_280), Rcode::NOERROR, 0, 1),
    ] {
        for edns in [None, Some(1232)] {
            let message = reply(&name(owner), qtype, edns);
            let got = (message.rcode(), message.answers.len(), message.authority.len());
            assert_eq!(got, (rcode, answers, authority), "{owner} {qtype}");
            let in_zone = rcode == Rcode::NOERROR || rcode == Rcode::NXDOMAIN;
            assert_eq!(message.header.has(Header::AA), in_zone, "{owner} {qtype}");
        }
    }
    for key in [K1, K2, K3] {
        let other_family = reply(&instance(key), Type::AAAA, None);
        assert_eq!(
            (other_family.rcode(), other_family.answers.len(), other_family.authority.len()),
            (Rcode::NOERROR, 0, 1)
        );
    }
}

#[test]
fn a_v6_peer_has_aaaa_and_no_a() {
    let mut zone = readme_zone();
    add_peer(&mut zone, "v6", "pub", "[2001:db8::7]:1", "");
    let answers = Answers::compile(&[zone]);
    for (qtype, count) in [(Type::AAAA, 1), (Type::A, 0)] {
        let (_, bytes) = ask(&answers, &query(&instance("v6"), qtype, None), &LEGACY);
        assert_eq!(Message::decode(&bytes).unwrap().answers.len(), count);
    }
    let (_, bytes) = ask(&answers, &query(&instance("v6"), Type::SRV, None), &LEGACY);
    assert_eq!(Message::decode(&bytes).unwrap().additional[0].data.rtype(), Type::AAAA);
}

#[test]
fn negative_answers_carry_the_smaller_of_soa_ttl_and_minimum() {
    let origin = name("z");
    let zone = Zone::new(origin.clone(), Zone::soa_for(&origin, 7), 3600);
    let answers = Answers::compile(&[zone]);
    for (owner, ttl) in [("a.z", 5), ("z", 5)] {
        let (_, bytes) = ask(&answers, &query(&name(owner), Type::A, None), &LEGACY);
        assert_eq!(Message::decode(&bytes).unwrap().authority[0].ttl, ttl);
    }
    let (_, bytes) = ask(&answers, &query(&origin, Type::SOA, None), &LEGACY);
    assert_eq!(Message::decode(&bytes).unwrap().answers[0].ttl, 3600);
}

#[test]
fn a_compressed_negative_answer_reads_like_the_long_one() {
    let answers = Answers::compile(&[readme_zone()]);
    for depth in [1, 5, 60, 120] {
        let deep = name(&format!("{}example.com", "x.".repeat(depth)));
        let query = query(&deep, Type::A, None);
        let (_, long) = ask(&answers, &query, &LEGACY);
        let mut out = vec![0; long.len() - 1];
        let Outcome::Miss(len) = answers.answer(&query, &LEGACY, &mut out) else { panic!("no miss") };
        let (long, short) = (Message::decode(&long).unwrap(), Message::decode(&out[..len]).unwrap());
        assert_eq!((&long.authority, long.rcode()), (&short.authority, short.rcode()), "{depth} labels");
    }
}

/// (limit, peers without EDNS): wgsd gives 6 in 512 bytes and 16 in 1232.
#[test]
fn what_does_not_fit_is_left_out_from_the_end() {
    let mut zone = readme_zone();
    for index in 0..1_000 {
        add_peer(&mut zone, &format!("{index:0>52}===="), "p", "192.0.2.9:9", "");
    }
    let answers = Answers::compile(&[zone]);
    let service = name("_wireguard._udp.example.com");
    for (edns, transport, count, truncated) in [
        (None, Asker::udp(true), 6, true),
        (Some(1232), Asker::udp(true), 16, true),
        (Some(65_535), Asker::udp(true), 16, true),
        (Some(1232), Asker::udp(false), 2, true),
        (None, Asker::tcp(), 922, true),
    ] {
        let (outcome, bytes) = ask(&answers, &query(&service, Type::PTR, edns.map(|size| (size, &[][..]))), &transport);
        let message = Message::decode(&bytes).unwrap();
        assert_eq!((message.answers.len(), message.header.has(Header::TC)), (count, truncated), "{edns:?}");
        assert!(matches!(outcome, Outcome::Reply(_)));
    }
}

#[test]
fn a_long_text_leaves_the_additional_section_first_and_without_tc() {
    let mut zone = readme_zone();
    add_peer(&mut zone, K1.replace('y', "z").as_str(), "p", "192.0.2.9:9", &"10.0.0.1/32,".repeat(60));
    let owner = instance(&K1.replace('y', "z"));
    let answers = Answers::compile(&[zone]);
    let (_, bytes) = ask(&answers, &query(&owner, Type::SRV, None), &LEGACY);
    let message = Message::decode(&bytes).unwrap();
    assert_eq!((message.answers.len(), message.additional.len(), message.header.has(Header::TC)), (1, 1, false));
    let (_, bytes) = ask(&answers, &query(&owner, Type::TXT, None), &LEGACY);
    assert!(Message::decode(&bytes).unwrap().header.has(Header::TC));
    let (_, bytes) = ask(&answers, &query(&owner, Type::TXT, None), &Asker::tcp());
    let RData::Txt(strings) = &Message::decode(&bytes).unwrap().answers[0].data else { panic!("no TXT") };
    assert_eq!(strings.iter().map(Vec::len).collect::<Vec<_>>(), [9, 5, 255, 255, 218]);
}

#[test]
fn every_smaller_limit_gives_a_whole_message_that_says_tc_when_an_answer_is_missing() {
    let answers = Answers::compile(&[readme_zone()]);
    for (owner, qtype, edns) in [
        (instance(K1), Type::SRV, None),
        (instance(K1), Type::SRV, Some((1232, &[][..]))),
        (name("_wireguard._udp.example.com"), Type::PTR, None),
        (name("x.example.com"), Type::A, None),
        (name("example.com"), Type::ANY, None),
    ] {
        let query = query(&owner, qtype, edns);
        let (_, whole) = ask(&answers, &query, &LEGACY);
        let whole = Message::decode(&whole).unwrap();
        for limit in 0..700 {
            let mut out = vec![0; limit];
            match answers.answer(&query, &LEGACY, &mut out) {
                Outcome::Drop(reason) => assert!(reason == Reason::NoRoom && limit < query.len(), "{limit}"),
                Outcome::Escalate(_) => panic!("nothing to escalate"),
                Outcome::Reply(len) | Outcome::Miss(len) => {
                    let message = Message::decode(&out[..len]).unwrap();
                    let whole = (whole.answers.len(), whole.authority.len(), !whole.additional.is_empty());
                    let got = (message.answers.len(), message.authority.len(), !message.additional.is_empty());
                    assert_eq!(message.header.has(Header::TC), got != whole, "{owner} {qtype} in {limit}");
                }
            }
        }
    }
}

#[test]
fn an_unverified_source_gets_at_most_four_times_its_bytes() {
    let mut zone = readme_zone();
    add_peer(&mut zone, "big", "p", "192.0.2.9:9", &"10.0.0.1/32,".repeat(30));
    let answers = Answers::compile(&[zone]);
    let owners =
        ["big._wireguard._udp.example.com", "_wireguard._udp.example.com", "example.com", "x.example.com", "."];
    for owner in owners.map(name) {
        for qtype in [Type::SRV, Type::PTR, Type::TXT, Type::A, Type::SOA, Type::ANY, Type::NS] {
            for edns in [None, Some((4096, &[][..])), Some((4096, &[(10, &[1; 8][..])][..]))] {
                let query = query(&owner, qtype, edns);
                let cookies = Cookies::new([1; 16]);
                let jar = CookieJar { cookies: &cookies, client: [192, 0, 2, 1].into(), unix_seconds: 1_000 };
                let asker = Asker { cookies: Some(jar), ..Asker::udp(false) };
                let (_, bytes) = ask(&answers, &query, &asker);
                assert!(bytes.len() <= AMPLIFICATION * query.len(), "{owner} {qtype} {}", bytes.len());
                Message::decode(&bytes).unwrap();
            }
        }
    }
}

#[test]
fn a_valid_cookie_proves_the_source() {
    let answers = Answers::compile(&[readme_zone()]);
    let cookies = Cookies::new([1; 16]);
    let jar = CookieJar { cookies: &cookies, client: [192, 0, 2, 1].into(), unix_seconds: 1_000 };
    let asker = Asker { cookies: Some(jar), ..Asker::udp(false) };
    let service = name("_wireguard._udp.example.com");
    let (_, first) = ask(&answers, &query(&service, Type::PTR, Some((1232, &[(10, &[5; 8])]))), &asker);
    let first = Message::decode(&first).unwrap();
    assert!(first.header.has(Header::TC));
    let cookie = first.option(edns::COOKIE).unwrap();
    assert_eq!((cookie.len(), &cookie[..8]), (24, &[5; 8][..]));
    let (_, second) = ask(&answers, &query(&service, Type::PTR, Some((1232, &[(10, cookie)]))), &asker);
    let second = Message::decode(&second).unwrap();
    assert_eq!((second.answers.len(), second.header.has(Header::TC)), (3, false));
    let elsewhere = Asker { cookies: Some(CookieJar { client: [192, 0, 2, 2].into(), ..jar }), ..asker };
    let query = query(&service, Type::PTR, Some((1232, &[(10, cookie)])));
    let query = Query::read(&query).unwrap();
    assert!(asker.proven(&query) && !elsewhere.proven(&query));
}

#[test]
fn edns_is_answered_only_when_asked_with_version_0_and_the_do_bit_as_it_came() {
    let answers = Answers::compile(&[readme_zone()]);
    for (ttl, rcode, answer_ttl) in
        [(0, Rcode::NOERROR, 0), (edns::DO, Rcode::NOERROR, edns::DO), (0x0001_0000, Rcode::BADVERS, 0x0100_0000)]
    {
        let mut query = Message::decode(&query(&instance(K1), Type::SRV, Some((1232, &[])))).unwrap();
        query.edns.as_mut().unwrap().ttl = ttl;
        let (_, bytes) = ask(&answers, &query.encode(), &LEGACY);
        let message = Message::decode(&bytes).unwrap();
        assert_eq!(message.rcode(), rcode);
        let opt = message.edns.unwrap();
        assert_eq!((opt.ttl, opt.udp_size), (answer_ttl, 1232));
    }
}

#[test]
fn the_callers_option_goes_into_an_answer_that_has_edns() {
    let answers = Answers::compile(&[readme_zone()]).escalating(65_001);
    let asker = Asker { option: Some((65_001, b"hello")), ..Asker::udp(true) };
    let (outcome, bytes) = ask(&answers, &query(&instance(K1), Type::SRV, Some((1232, &[(65_001, b"?")]))), &asker);
    assert!(matches!(outcome, Outcome::Escalate(_)));
    let message = Message::decode(&bytes).unwrap();
    assert_eq!((message.option(65_001), message.answers.len()), (Some(&b"hello"[..]), 1));
    let (outcome, bytes) = ask(&answers, &query(&instance(K1), Type::SRV, None), &asker);
    assert_eq!(outcome, Outcome::Reply(313));
    assert_eq!(Message::decode(&bytes).unwrap().edns, None);
    let (outcome, _) = ask(&answers, &query(&instance(K1), Type::SRV, Some((1232, &[(65_002, b"?")]))), &asker);
    assert!(matches!(outcome, Outcome::Reply(_)));
}

#[test]
fn an_incremental_transfer_is_refused_with_the_serial_that_it_asks_from() {
    let answers = Answers::compile(&[readme_zone()]);
    let origin = name("example.com");
    let soa = Record { owner: origin.clone(), ttl: 0, data: RData::Soa(Zone::soa_for(&origin, 1)) };
    let question = Question { name: origin, qtype: Type::IXFR, qclass: 1 };
    let message = Message { questions: vec![question], authority: vec![soa], ..Message::default() };
    let (_, bytes) = ask(&answers, &message.encode(), &LEGACY);
    assert_eq!(Message::decode(&bytes).unwrap().rcode(), Rcode::REFUSED);
}

#[test]
fn what_is_no_query_gets_the_code_for_it_or_silence() {
    let answers = Answers::compile(&[readme_zone()]);
    let good = query(&instance(K1), Type::SRV, Some((1232, &[])));
    let with = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        edit(&mut bytes);
        bytes
    };
    for (what, bytes, expected) in [
        ("empty", vec![], Err(Reason::TooShort)),
        ("11 bytes", good[..11].to_vec(), Err(Reason::TooShort)),
        ("a response", with(&|b| b[2] |= 0x80), Err(Reason::Response)),
        ("a broken response", vec![0xff; 12], Err(Reason::Response)),
        ("notify", with(&|b| b[2] |= 4 << 3), Ok(Rcode::NOTIMP)),
        ("update", with(&|b| b[2] |= 5 << 3), Ok(Rcode::NOTIMP)),
        ("no question", with(&|b| b[5] = 0), Ok(Rcode::FORMERR)),
        ("two questions", with(&|b| b[5] = 2), Ok(Rcode::FORMERR)),
        ("an answer", with(&|b| b[7] = 1), Ok(Rcode::FORMERR)),
        ("an authority", with(&|b| b[9] = 1), Ok(Rcode::FORMERR)),
        ("65,535 records", with(&|b| b[10..12].fill(0xff)), Ok(Rcode::FORMERR)),
        ("header only", good[..12].to_vec(), Ok(Rcode::FORMERR)),
        ("cut in the name", good[..40].to_vec(), Ok(Rcode::FORMERR)),
        ("cut in the type", good[..100].to_vec(), Ok(Rcode::FORMERR)),
        ("cut in OPT", good[..good.len() - 1].to_vec(), Ok(Rcode::FORMERR)),
        ("trailing byte", with(&|b| b.push(0)), Ok(Rcode::FORMERR)),
        ("a name that points at itself", with(&|b| b[12..14].copy_from_slice(&[0xc0, 12])), Ok(Rcode::FORMERR)),
        ("a label of type 01", with(&|b| b[12] = 0x41), Ok(Rcode::FORMERR)),
        (
            "two OPT",
            with(&|b| {
                b.extend_from_within(102..);
                b[11] = 2;
            }),
            Ok(Rcode::FORMERR),
        ),
        (
            "OPT owned by a name",
            with(&|b| {
                b.splice(102..103, [1, b'a', 0]);
            }),
            Ok(Rcode::FORMERR),
        ),
        (
            "half an option",
            with(&|b| {
                b.extend([0, 10, 0]);
                b[112] = 3;
            }),
            Ok(Rcode::FORMERR),
        ),
        (
            "a cookie of 7",
            with(&|b| {
                b.extend([0, 10, 0, 7, 1, 2, 3, 4, 5, 6, 7]);
                b[112] = 11;
            }),
            Ok(Rcode::FORMERR),
        ),
        ("class CH", with(&|b| b[101] = 3), Ok(Rcode::REFUSED)),
        ("class ANY", with(&|b| b[101] = 255), Ok(Rcode::NOERROR)),
    ] {
        let (outcome, reply) = ask(&answers, &bytes, &LEGACY);
        match expected {
            Err(reason) => assert_eq!(outcome, Outcome::Drop(reason), "{what}"),
            Ok(rcode) => {
                let message = Message::decode(&reply).unwrap();
                assert_eq!(message.rcode(), rcode, "{what}");
                assert_eq!((message.header.id, message.header.has(Header::QR)), (0x1234, true), "{what}");
                assert!(!message.header.has(Header::AA) || rcode != Rcode::NOERROR, "{what}");
            }
        }
    }
}

#[test]
fn a_name_of_more_than_255_bytes_is_a_format_error() {
    let mut bytes = query(&name("a"), Type::A, None);
    let long: Vec<u8> = std::iter::repeat_n([1, b'a'], 128).flatten().collect();
    bytes.splice(12..14, long);
    assert_eq!(Query::read(&bytes).unwrap_err(), Unanswerable::Error(Rcode::FORMERR));
}

#[test]
fn no_message_makes_it_panic_and_every_query_is_answered() {
    let mut zone = readme_zone();
    let cname = name("alias.example.com");
    zone.add(cname, 5, RData::Cname(name("ns1.example.com"))).unwrap();
    let answers = Answers::compile(&[zone]).escalating(65_001);
    let corpus = [
        query(&instance(K1), Type::SRV, Some((1232, &[(10, &[1; 8]), (65_001, b"x")]))),
        query(&name("_wireguard._udp.example.com"), Type::PTR, None),
        query(&name("A.eXample.com"), Type::ANY, Some((512, &[]))),
        query(&name("alias.example.com"), Type::A, None),
        query(&name("."), Type::NS, None),
    ];
    let cookies = Cookies::new([1; 16]);
    let jar = CookieJar { cookies: &cookies, client: [192, 0, 2, 1].into(), unix_seconds: 1_000 };
    let mut rng = pinhole_sansio::Rng::from_seed(0x5eed);
    let mut out = vec![0; 65_535];
    let mut answered = 0;
    for round in 0..200_000u32 {
        let mut bytes = if round % 10 == 0 {
            (0..rng.below(if round % 10_000 == 0 { 65_536 } else { 300 })).map(|_| rng.next_u64() as u8).collect()
        } else {
            corpus[rng.below(corpus.len() as u64) as usize].clone()
        };
        for _ in 0..rng.below(4) {
            mutate(&mut bytes, &mut rng);
        }
        let asker = match rng.below(3) {
            0 => Asker::tcp(),
            1 => Asker { cookies: Some(jar), ..Asker::udp(false) },
            _ => LEGACY,
        };
        let room = if rng.chance(0.2) { rng.below(600) as usize } else { out.len() };
        match answers.answer(&bytes, &asker, &mut out[..room]) {
            Outcome::Reply(len) | Outcome::Miss(len) | Outcome::Escalate(len) => {
                answered += 1;
                let message =
                    Message::decode(&out[..len]).unwrap_or_else(|e| panic!("round {round}: {e} {bytes:02x?}"));
                assert!(message.header.has(Header::QR) && out[..2] == bytes[..2], "round {round}");
            }
            Outcome::Drop(Reason::TooShort) => assert!(bytes.len() < 12),
            Outcome::Drop(Reason::Response) => assert!(bytes[2] & 0x80 != 0),
            Outcome::Drop(Reason::NoRoom) => assert!(room < 600),
        }
        let _ = Message::decode(&bytes);
    }
    assert!(answered > 100_000, "{answered}");
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut pinhole_sansio::Rng) {
    if bytes.is_empty() {
        return;
    }
    let at = rng.below(bytes.len() as u64) as usize;
    match rng.below(5) {
        0 => bytes[at] = rng.next_u64() as u8,
        1 => bytes[at] ^= 1 << rng.below(8),
        2 => bytes.truncate(at),
        3 => bytes.insert(at, 0xc0),
        _ => bytes.extend_from_within(at..),
    }
}

#[test]
fn zones_in_zones_and_odd_zones_compile() {
    let zone = |origin: &str| Zone::new(name(origin), Zone::soa_for(&name(origin), 1), 5);
    let mut outer = zone("example.com");
    let mut inner = zone("a.b.Example.com");
    outer.add(name("x.a.b.example.com"), 5, RData::A([1, 1, 1, 1].into())).unwrap();
    inner.add(name("Y.a.b.example.com"), 5, RData::A([2, 2, 2, 2].into())).unwrap();
    assert!(outer.add(name("elsewhere"), 5, RData::A([1, 1, 1, 1].into())).is_err());
    let answers = Answers::compile(&[outer, inner, zone(".")]);
    for (owner, rcode, soa) in [
        ("b.example.com", Rcode::NOERROR, "example.com"),
        ("x.a.b.example.com", Rcode::NXDOMAIN, "a.b.example.com"),
        ("z.y.a.b.example.com", Rcode::NXDOMAIN, "a.b.example.com"),
        ("c.example.com", Rcode::NXDOMAIN, "example.com"),
        ("com", Rcode::NOERROR, "."),
        ("org", Rcode::NXDOMAIN, "."),
    ] {
        let (_, bytes) = ask(&answers, &query(&name(owner), Type::TXT, None), &LEGACY);
        let message = Message::decode(&bytes).unwrap();
        assert_eq!((message.rcode(), &message.authority[0].owner), (rcode, &name(soa)), "{owner}");
    }
    let (_, bytes) = ask(&answers, &query(&name("y.A.b.example.com"), Type::A, None), &LEGACY);
    assert_eq!(Message::decode(&bytes).unwrap().answers.len(), 1);
    let nothing = Answers::compile(&[]);
    let (_, bytes) = ask(&nothing, &query(&name("a"), Type::A, None), &LEGACY);
    assert_eq!(Message::decode(&bytes).unwrap().rcode(), Rcode::REFUSED);
}
