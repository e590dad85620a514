//! The fast way writes what the slow way would.

use core::net::SocketAddr;

use super::{MAX_ANSWER, PlainAnswers};
use crate::{AttributeType, Class, Message, Method, TransactionId, Writer};

fn request() -> Vec<u8> {
    let mut out = [0; 20];
    let id = TransactionId::new([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 255]);
    Writer::new(&mut out, Class::Request, Method::BINDING, id).finish().unwrap();
    out.to_vec()
}

fn written(request: &[u8], source: SocketAddr, behaviour: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let id = Message::read(request).unwrap().transaction_id();
    let source = SocketAddr::new(source.ip().to_canonical(), source.port());
    let mut out = [0; 200];
    let mut writer = Writer::new(&mut out, Class::Success, Method::BINDING, id);
    writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, source);
    if let Some((origin, other)) = behaviour {
        writer.address(AttributeType::MAPPED_ADDRESS, source);
        writer.address(AttributeType::RESPONSE_ORIGIN, origin);
        writer.address(AttributeType::OTHER_ADDRESS, other);
    }
    let len = writer.finish().unwrap();
    out[..len].to_vec()
}

#[test]
fn the_answer_is_what_the_writer_writes() {
    let sources = ["192.0.2.1:1", "255.254.253.252:65535", "[2001:db8:ffff::1]:3478", "[::ffff:192.0.2.7]:99"];
    let pairs = [None, Some(("192.0.2.9:3478", "192.0.2.10:3479")), Some(("[2001:db8::9]:3478", "[2001:db8::a]:3479"))];
    for source in sources {
        for pair in pairs {
            let source: SocketAddr = source.parse().unwrap();
            let pair = pair.map(|(a, b): (&str, &str)| (a.parse().unwrap(), b.parse().unwrap()));
            let answers = pair.map_or(PlainAnswers::new(), |(a, b)| PlainAnswers::with_behaviour(a, b));
            let mut out = [0xee; MAX_ANSWER];
            let len = answers.answer(&request(), source, &mut out).unwrap();
            assert_eq!(out[..len], written(&request(), source, pair)[..], "{source} {pair:?}");
        }
    }
}

#[test]
fn whatever_is_not_plain_is_left_to_the_slow_way() {
    let source = "192.0.2.1:1".parse().unwrap();
    let mut out = [0; MAX_ANSWER];
    let good = request();
    assert!(PlainAnswers::new().answer(&good, source, &mut out).is_some());
    for at in 0..8 {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        assert_eq!(PlainAnswers::new().answer(&bytes, source, &mut out), None, "byte {at}");
    }
    let mut long = good.clone();
    long.extend([0; 4]);
    assert_eq!(PlainAnswers::new().answer(&long, source, &mut out), None);
    assert_eq!(PlainAnswers::new().answer(&good[..19], source, &mut out), None);
}
