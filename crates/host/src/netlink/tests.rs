//! The codec against bytes written by hand from include/uapi/linux/netlink.h, and the socket against the running kernel.

use super::message::split;
use super::{Error, Message, Protocol, Socket, attributes, find, generic, read_any};

#[test]
fn a_message_is_laid_out_as_the_header_says() {
    let message = Message::new(0x1234, 0x0400)
        .fixed(&[1, 2, 3, 4])
        .attr_u8(1, 0xab)
        .nest(2, |m| m.attr_str(3, "lo").attr_be32(4, 0x0102_0304));
    let bytes = message.finish(0x0005, 7);
    let mut expected = Vec::new();
    expected.extend(48u32.to_ne_bytes());
    expected.extend(0x1234u16.to_ne_bytes());
    expected.extend(0x0405u16.to_ne_bytes());
    expected.extend(7u32.to_ne_bytes());
    expected.extend(0u32.to_ne_bytes());
    expected.extend([1, 2, 3, 4]);
    for (length, kind, value) in
        [(5u16, 1u16, &[0xab, 0, 0, 0][..]), (20, 0x8002, &[]), (7, 3, b"lo\0\0"), (8, 4, &[1, 2, 3, 4])]
    {
        expected.extend(length.to_ne_bytes());
        expected.extend(kind.to_ne_bytes());
        expected.extend(value);
    }
    assert_eq!(bytes, expected);
}

#[test]
fn what_is_built_is_read_back() {
    let bytes = Message::new(16, 0).fixed(&[9; 6]).nest(5, |m| m.attr_u16(1, 77).attr(2, b"abc")).finish(0, 3);
    let replies: Vec<_> = split(&bytes).collect();
    assert_eq!((replies.len(), replies[0].kind, replies[0].sequence), (1, 16, 3));
    let nested = replies[0].attributes(6).find(|a| a.0 == 5).expect("the nested attribute").1;
    assert_eq!(find(nested, 1), Some(&77u16.to_ne_bytes()[..]));
    assert_eq!(find(nested, 2), Some(&b"abc"[..]));
    assert_eq!(find(nested, 3), None);
}

#[test]
fn cut_or_lying_lengths_end_the_iteration() {
    for bytes in [&[][..], &[8], &[3, 0, 1, 0], &[9, 0, 1, 0, 0, 0, 0, 0], &[0, 0, 1, 0, 0, 0, 0, 0]] {
        assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
    }
    let whole = Message::new(16, 0).fixed(&[0; 4]).finish(0, 1);
    for cut in 0..whole.len() {
        assert_eq!(split(&whole[..cut]).count(), 0, "cut at {cut}");
    }
}

#[test]
fn the_controller_family_is_found_by_name_and_an_unknown_one_is_not() {
    let mut socket = Socket::open(Protocol::Generic).expect("every kernel has generic netlink");
    let control = generic::Family::resolve(&mut socket, "nlctrl").expect("the controller knows itself");
    assert_eq!(control.id, 0x10);
    assert!(control.groups.iter().any(|(name, _)| name == "notify"), "{:?}", control.groups);
    let error = generic::Family::resolve(&mut socket, "no-such-fam").expect_err("there is no such family");
    assert!(error.is_not_found(), "{error}");
}

#[test]
fn a_refusal_carries_the_kernels_words() {
    let mut socket = Socket::open(Protocol::Route).expect("every kernel has rtnetlink");
    // RTM_GETROUTE with strict checking of an address of the wrong length.
    let message = Message::new(libc::RTM_GETROUTE, 0).fixed(&[2, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).attr(1, &[1]);
    let error = socket.request(message).expect_err("an IPv4 address has four bytes");
    let Error::Kernel { errno, text } = &error else { panic!("{error:?}") };
    assert!(*errno > 0, "{error:?}");
    assert!(text.is_some(), "the kernel explains itself since 4.12: {error:?}");
}

#[test]
fn the_links_are_dumped_with_the_loopback_among_them() {
    let mut socket = Socket::open(Protocol::Route).expect("every kernel has rtnetlink");
    let links = socket.dump(Message::new(libc::RTM_GETLINK, 0).fixed(&[0; 16])).expect("anyone may list links");
    let names: Vec<_> = links.iter().filter_map(|l| l.attributes(16).find(|a| a.0 == libc::IFLA_IFNAME)).collect();
    assert!(names.iter().any(|(_, name)| *name == b"lo\0"), "{names:?}");
}

/// The corpus is little-endian, as what the kernel sends on most machines.
#[cfg(target_endian = "little")]
#[test]
fn any_bytes_are_read_as_what_they_may_be() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/netlink");
    let mut rng = pinhole_sansio::Rng::from_seed(3);
    let mut read = 0;
    for file in std::fs::read_dir(corpus).expect("the corpus") {
        let whole = std::fs::read(file.expect("a file").path()).expect("bytes");
        assert!(read_any(&whole) > 1, "a message with attributes");
        for _ in 0..5_000 {
            let mut bytes = whole.clone();
            for _ in 0..rng.below(5) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = if rng.chance(0.5) { rng.below(8) as u8 } else { rng.next_u64() as u8 };
            }
            bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize);
            read += read_any(&bytes);
        }
    }
    assert!(read > 10_000, "{read}");
}
