//! Names: presentation format, case, suffixes.

use super::{Name, NameError};

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

#[test]
fn presentation_format_is_read_and_written() {
    for (text, wire, back) in [
        (".", &b"\0"[..], "."),
        ("example.com", b"\x07example\x03com\0", "example.com."),
        ("Example.COM.", b"\x07Example\x03COM\0", "Example.COM."),
        (r"a\.b.c", b"\x03a.b\x01c\0", r"a\.b.c."),
        (r"a\032\\.c", b"\x03a \\\x01c\0", r"a\032\\.c."),
        ("yutr====._udp", b"\x08yutr====\x04_udp\0", "yutr====._udp."),
    ] {
        assert_eq!(name(text).wire(), wire, "{text}");
        assert_eq!(name(text).to_string(), back);
        assert_eq!(Name::from_wire(wire).unwrap(), name(text));
    }
}

#[test]
fn what_is_no_name_is_refused_with_the_reason() {
    let long_label = "a".repeat(64);
    let long_name = "a.".repeat(128);
    for (text, error) in [
        ("", NameError::EmptyLabel),
        ("a..b", NameError::EmptyLabel),
        (".a", NameError::EmptyLabel),
        ("a\\", NameError::BadEscape),
        ("a\\25", NameError::BadEscape),
        ("a\\256", NameError::BadEscape),
        (&long_label, NameError::LabelTooLong),
        (&long_name, NameError::TooLong),
    ] {
        assert_eq!(Name::parse(text).unwrap_err(), error, "{text}");
    }
    assert_eq!(name(&"a.".repeat(127)).wire().len(), 255);
    for wire in [&b""[..], b"\x01a", b"\x01a\0\0", b"\xc0\x0c", b"\x40a\0"] {
        assert_eq!(Name::from_wire(wire).unwrap_err(), NameError::NotAName, "{wire:?}");
    }
}

#[test]
fn case_is_kept_but_does_not_count() {
    assert_eq!(name("EXAMPLE.com"), name("example.COM"));
    assert_eq!(name("EXAMPLE.com").cmp(&name("example.COM")), std::cmp::Ordering::Equal);
    assert_eq!(name("EXAMPLE.com").to_string(), "EXAMPLE.com.");
    assert_eq!(name("EXAMPLE.com").to_lowercase().wire(), b"\x07example\x03com\0");
}

#[test]
fn a_suffix_counts_only_on_a_label_boundary() {
    for (below, zone, is_in) in [
        ("a.example.com", "example.com", true),
        ("example.com", "EXAMPLE.com", true),
        ("com", "example.com", false),
        ("badexample.com", "example.com", false),
        ("example.com", ".", true),
        (r"\007example.com", "example.com", false),
    ] {
        assert_eq!(name(below).is_in(&name(zone)), is_in, "{below} in {zone}");
    }
}

#[test]
fn names_are_put_together_and_taken_apart() {
    let instance = name("_wireguard._udp").below(&name("example.com")).unwrap().child("k").unwrap();
    assert_eq!(instance.to_string(), "k._wireguard._udp.example.com.");
    assert_eq!(instance.parent().unwrap(), name("_wireguard._udp.example.com"));
    assert_eq!(Name::root().parent(), None);
    assert_eq!(name("a").child(""), Err(NameError::EmptyLabel));
    assert_eq!(name(&"a.".repeat(127)).child("a"), Err(NameError::TooLong));
}
