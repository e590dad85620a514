//! Reading back what was written, and names that are no names.

use super::{Edns, Header, Malformed, Message, Question, read_name};
use crate::record::{Soa, Srv};
use crate::{Name, RData, Record, Type};

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn every_kind() -> Message {
    let soa = Soa { mname: name("ns1.z"), rname: name("p.z"), serial: 1, refresh: 2, retry: 3, expire: 4, minimum: 5 };
    let data = [
        RData::A([192, 0, 2, 1].into()),
        RData::Aaaa("2001:db8::1".parse().unwrap()),
        RData::Ptr(name("k._udp.z")),
        RData::Cname(name("other.z")),
        RData::Ns(name("ns1.z")),
        RData::Srv(Srv { priority: 1, weight: 2, port: 3, target: name("k._udp.z") }),
        RData::txt(["", "a=b", &"x".repeat(600)]),
        RData::Soa(soa),
        RData::Unknown(Type(65_280), vec![1, 2, 3]),
    ];
    let record = |data| Record { owner: name("k._udp.z"), ttl: 77, data };
    Message {
        header: Header { id: 9, flags: Header::QR | Header::AA, counts: [1, 9, 1, 2] },
        questions: vec![Question { name: name("k._udp.z"), qtype: Type::SRV, qclass: 1 }],
        answers: data.into_iter().map(record).collect(),
        authority: vec![record(RData::Ns(name("z")))],
        additional: vec![record(RData::A([1, 2, 3, 4].into()))],
        edns: Some(Edns { udp_size: 1232, ttl: 0x8000, options: vec![(10, vec![1; 8])] }),
    }
}

#[test]
fn a_message_of_every_kind_of_record_is_read_back_as_written() {
    let message = every_kind();
    assert_eq!(Message::decode(&message.encode()).unwrap(), message);
}

#[test]
fn every_cut_of_a_message_is_malformed() {
    let bytes = every_kind().encode();
    for end in 0..bytes.len() {
        assert_eq!(Message::decode(&bytes[..end]), Err(Malformed::Truncated), "cut at {end}");
    }
    assert_eq!(Message::decode(&[&bytes[..], &[0]].concat()), Err(Malformed::TrailingBytes));
}

#[test]
fn pointers_go_strictly_backwards() {
    let forwards = b"\x01a\xc0\x04\0";
    let itself = b"\x01a\xc0\x02";
    let own_label = b"\x01a\xc0\x00";
    for bytes in [&forwards[..], &itself[..], &own_label[..], &b"\xc0\x00"[..]] {
        assert_eq!(read_name(bytes, 0).unwrap_err(), Malformed::BadName, "{bytes:?}");
    }
    assert_eq!(read_name(b"\x01b\0\x01a\xc0\0", 3).unwrap(), (name("a.b"), 7));
    assert_eq!(read_name(b"\x01b\0\x01a\xc0\0\xc0\x03", 7).unwrap(), (name("a.b"), 9));
    // Two pointers that lead to each other, 64 KiB of pointers each to the one before, and labels that never end.
    assert_eq!(read_name(b"\0\0\x01a\xc0\x06\x01b\xc0\x02", 6).unwrap_err(), Malformed::BadName);
    let chain: Vec<u8> =
        [0, 0].into_iter().chain((0..8_000u16).flat_map(|i| (0xc000 | (i * 2)).to_be_bytes())).collect();
    assert_eq!(read_name(&chain, chain.len() - 2).unwrap().0, Name::root());
    assert_eq!(read_name(&[1; 65_535], 0).unwrap_err(), Malformed::BadName);
    assert_eq!(read_name(b"\x80a\0", 0).unwrap_err(), Malformed::BadName);
    assert_eq!(read_name(b"\xc0", 0).unwrap_err(), Malformed::Truncated);
}

#[test]
fn data_that_does_not_fit_its_type_is_refused() {
    for (rtype, data) in [
        (1u16, &b"\x01\x02\x03"[..]),
        (28, b"\x01"),
        (12, b""),
        (12, b"\x01a\0\0"),
        (33, b"\0\0\0\0"),
        (33, b"\0\0\0\0\0\x07\x01a"),
        (16, b""),
        (16, b"\x05abc"),
        (6, b"\0\0"),
    ] {
        let mut bytes = Header { id: 1, flags: Header::QR, counts: [0, 1, 0, 0] }.to_bytes().to_vec();
        bytes.push(0);
        bytes.extend(rtype.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 0]);
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
        assert!(Message::decode(&bytes).is_err(), "type {rtype} {data:?}");
    }
}

#[test]
fn compression_finds_suffixes_whatever_their_case() {
    let question = Question { name: name("a.Example.com"), qtype: Type::NS, qclass: 1 };
    let answer = Record { owner: name("A.example.COM"), ttl: 0, data: RData::Ns(name("b.example.com")) };
    let message = Message { questions: vec![question], answers: vec![answer], ..Message::default() };
    // Question 12 + 15 + 4, then owner pointer 2, fixed 10, label 2 and pointer 2.
    assert_eq!(message.encode().len(), 31 + 16);
}
