//! What is a message, and which of its attributes count.

use super::{Class, Malformed, Message, Method, TransactionId, message_type};
use crate::{AttributeType, Writer};

fn id() -> TransactionId {
    TransactionId::new(*b"abcdefghijkl")
}

/// A request with these attributes.
fn request(attributes: &[(AttributeType, &[u8])]) -> Vec<u8> {
    let mut out = [0; 512];
    let mut writer = Writer::new(&mut out, Class::Request, Method::BINDING, id());
    for (kind, value) in attributes {
        writer.attribute(*kind, value);
    }
    let len = writer.finish().unwrap();
    out[..len].to_vec()
}

#[test]
fn class_and_method_are_woven_into_one_number() {
    for (class, binding) in
        [(Class::Request, 0x0001), (Class::Indication, 0x0011), (Class::Success, 0x0101), (Class::Error, 0x0111)]
    {
        assert_eq!(message_type(class, Method::BINDING), u16::to_be_bytes(binding));
        for method in 0..=0xfff {
            let mut bytes = request(&[]);
            bytes[..2].copy_from_slice(&message_type(class, Method(method)));
            let message = Message::read(&bytes).unwrap();
            assert_eq!((message.class(), message.method()), (class, Method(method)));
        }
    }
}

#[test]
fn what_is_cut_or_lies_about_its_length_is_no_message() {
    let good = request(&[(AttributeType::SOFTWARE, b"seven b")]);
    assert_eq!(good.len(), 20 + 4 + 8);
    for cut in 0..good.len() {
        let expected = if cut < 20 { Malformed::Short } else { Malformed::Length };
        assert_eq!(Message::read(&good[..cut]), Err(expected), "{cut}");
    }
    let mut long = good.clone();
    long.push(0);
    assert_eq!(Message::read(&long), Err(Malformed::Length));
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    assert_eq!(Message::read(&with(3, 11)), Err(Malformed::Length));
    assert_eq!(Message::read(&with(0, 0x40)), Err(Malformed::NotStun));
    assert_eq!(Message::read(&with(0, 0x80)), Err(Malformed::NotStun));
    assert_eq!(Message::read(&with(23, 9)), Err(Malformed::Attribute));
    assert_eq!(Message::read(&with(22, 0xff)), Err(Malformed::Attribute));
}

#[test]
fn half_an_attribute_header_is_no_attribute() {
    let mut bytes = request(&[(AttributeType::SOFTWARE, b"")]);
    assert_eq!(bytes.len(), 24);
    assert!(Message::read(&bytes).is_ok());
    // A value that ends inside what its padding covers is whole all the same.
    bytes[23] = 1;
    assert_eq!(Message::read(&bytes), Err(Malformed::Attribute));
}

#[test]
fn nothing_follows_fingerprint() {
    let bytes = request(&[(AttributeType::FINGERPRINT, &[0; 4]), (AttributeType::SOFTWARE, b"")]);
    assert_eq!(Message::read(&bytes), Err(Malformed::Fingerprint));
    let bytes = request(&[(AttributeType::FINGERPRINT, &[0; 8])]);
    assert_eq!(Message::read(&bytes), Err(Malformed::Fingerprint));
}

#[test]
fn what_follows_message_integrity_does_not_count() {
    let kinds = |attributes: &[(AttributeType, &[u8])]| -> Vec<AttributeType> {
        let bytes = request(attributes);
        Message::read(&bytes).unwrap().attributes().map(|attribute| attribute.kind).collect()
    };
    let (sha1, sha256) = (AttributeType::MESSAGE_INTEGRITY, AttributeType::MESSAGE_INTEGRITY_SHA256);
    let (fingerprint, other) = (AttributeType::FINGERPRINT, AttributeType::XOR_MAPPED_ADDRESS);
    assert_eq!(
        kinds(&[(sha1, &[0; 20]), (other, &[0; 8]), (sha256, &[0; 32]), (other, &[0; 8]), (fingerprint, &[0; 4])]),
        [sha1, sha256, fingerprint]
    );
    assert_eq!(kinds(&[(sha256, &[0; 32]), (sha1, &[0; 20]), (other, &[])]), [sha256]);
    assert_eq!(kinds(&[(other, &[]), (sha1, &[0; 20]), (sha1, &[0; 20])]), [other, sha1]);
}

#[test]
fn the_first_of_several_counts() {
    let bytes = request(&[(AttributeType::SOFTWARE, b"one"), (AttributeType::SOFTWARE, b"two")]);
    assert_eq!(Message::read(&bytes).unwrap().value(AttributeType::SOFTWARE), Some(&b"one"[..]));
}

#[test]
fn only_the_lower_half_of_the_types_must_be_understood() {
    let bytes = request(&[
        (AttributeType(0x7fff), b""),
        (AttributeType(0x8000), b""),
        (AttributeType::USERNAME, b"x"),
        (AttributeType(0x0024), b""),
    ]);
    let unknown: Vec<_> = Message::read(&bytes).unwrap().unknown_required(&[AttributeType::USERNAME]).collect();
    assert_eq!(unknown, [AttributeType(0x7fff), AttributeType(0x0024)]);
}

#[test]
fn an_id_of_rfc_3489_never_has_the_cookie() {
    assert!(!id().is_legacy());
    let mut random = [7; 16];
    random[..4].copy_from_slice(&super::MAGIC_COOKIE);
    assert!(TransactionId::legacy(random).is_legacy());
}
