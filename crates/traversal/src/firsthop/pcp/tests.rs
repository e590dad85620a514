use core::net::{Ipv4Addr, Ipv6Addr};

use pinhole_sansio::{Instant, Machine, conformance};

use super::super::Protocol;
use super::*;

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 88, 1, 1)), PORT);
const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 88, 1, 2));
const NONCE: Nonce = [0x86, 0x14, 0x89, 0xe3, 0xdf, 0x88, 0x65, 0x14, 0x22, 0x3b, 0xec, 0x26];
const MAP: Request = Request::Map {
    nonce: NONCE,
    protocol: Protocol::Tcp,
    internal: 35_000,
    suggested: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 35_000),
    lifetime: 3_600,
};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("hex");
    digits.chunks(2).map(byte).collect()
}

fn asking(request: Request) -> Client {
    let mut client = Client::new(SERVER, OWN, 1);
    client.handle_input(Instant::EPOCH, Input::Ask { request, patience: Duration::from_secs(60) });
    client
}

/// What comes of `bytes` from the server as an answer to `request`.
fn answered(request: Request, bytes: &[u8]) -> Vec<Output> {
    let mut client = asking(request);
    conformance::drain(&mut client);
    let now = Instant::from_millis(20);
    client.handle_input(now, Input::Datagram { from: SERVER, bytes: bytes.to_vec() });
    let outputs = conformance::drain(&mut client);
    conformance::spurious_timeout_does_nothing(&mut client, now);
    outputs
}

/// A response to [`MAP`] with this result: 54321 at 198.51.100.1 for two minutes.
fn response(result: u8, nonce: Nonce, protocol: u8, internal: u16) -> Vec<u8> {
    let mut bytes = vec![2, 0x81, 0, result, 0, 0, 0, 120, 0, 0, 0, 9];
    bytes.extend([0; 12]);
    bytes.extend(nonce);
    bytes.extend([protocol, 0, 0, 0]);
    bytes.extend(internal.to_be_bytes());
    bytes.extend(54_321u16.to_be_bytes());
    bytes.extend(Ipv4Addr::new(198, 51, 100, 1).to_ipv6_mapped().octets());
    bytes
}

fn announce(epoch: u32) -> Vec<u8> {
    let mut bytes = vec![2, 0x80, 0, 0, 0, 0, 0, 0];
    bytes.extend(epoch.to_be_bytes());
    bytes.extend([0; 12]);
    bytes
}

#[test]
fn a_request_is_that_of_libtorrent_to_the_byte() {
    // Captured from libtorrent 2.0.8.
    let captured = "0201000000000e1000000000000000000000ffff0a580102 861489e3df886514223bec26 06000000 88b8 88b8
                    00000000000000000000ffff00000000";
    assert_eq!(MAP.bytes(OWN), hex(captured));
    assert_eq!(Request::Announce.bytes(OWN), hex("0200000000000000 00000000000000000000ffff0a580102"));
}

#[test]
fn over_ipv6_the_clients_own_address_and_any_are_asked_with_and_an_answer_comes_through_the_same_interface() {
    let own: IpAddr = "2001:db8:77::10".parse().expect("an address");
    let nonce = NONCE;
    let suggested = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 35_000);
    let map = Request::Map { nonce, protocol: Protocol::Udp, internal: 35_000, suggested, lifetime: 120 };
    // As RFC 6887 §7.1 and §11.1 have it.
    let expected = "0201000000000078 20010db8007700000000000000000010 861489e3df886514223bec26 11000000 88b8 88b8
                    00000000000000000000000000000000";
    assert_eq!(map.bytes(own), hex(expected));
    let through = |scope| SocketAddr::V6(core::net::SocketAddrV6::new("fe80::1".parse().expect("one"), PORT, 0, scope));
    let mut client = Client::new(through(3), own, 1);
    client.handle_input(Instant::EPOCH, Input::Ask { request: map, patience: Duration::from_secs(9) });
    conformance::drain(&mut client);
    let mut bytes = response(0, NONCE, 17, 35_000);
    bytes[42..44].copy_from_slice(&35_000u16.to_be_bytes());
    bytes[44..].copy_from_slice(&Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 0x10).octets());
    client.handle_input(Instant::EPOCH, Input::Datagram { from: through(4), bytes: bytes.clone() });
    assert_eq!(conformance::drain(&mut client), [], "another interface is another router");
    client.handle_input(Instant::EPOCH, Input::Datagram { from: through(3), bytes });
    let mapped = Reply::Mapped { internal: 35_000, external: SocketAddr::new(own, 35_000), lifetime: 120 };
    assert_eq!(conformance::drain(&mut client), [Output::Done(Ok(mapped))]);
}

#[test]
fn replies_are_read_in_both_families() {
    let external = "198.51.100.1:54321".parse().expect("an endpoint");
    let mapped = Reply::Mapped { internal: 35_000, external, lifetime: 120 };
    assert_eq!(answered(MAP, &response(0, NONCE, 6, 35_000)), [Output::Done(Ok(mapped))]);
    let mut v6 = response(0, NONCE, 6, 35_000);
    v6[44..].copy_from_slice(&Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7).octets());
    let external = "[2001:db8::7]:54321".parse().expect("an endpoint");
    let mapped = Reply::Mapped { internal: 35_000, external, lifetime: 120 };
    assert_eq!(answered(MAP, &v6), [Output::Done(Ok(mapped))]);
    assert_eq!(answered(Request::Announce, &announce(9)), [Output::Done(Ok(Reply::Announced))]);
}

#[test]
fn refusals_are_told_apart_and_say_for_how_long() {
    for code in 1..=14 {
        let refusal = Refusal::of(code).expect("a refusal");
        let failure = Failure::Refused(Refused { refusal, lifetime: 120 });
        assert_eq!(answered(MAP, &response(code, NONCE, 6, 35_000)), [Output::Done(Err(failure))], "{code}");
    }
    assert_eq!((Refusal::of(12), Refusal::of(14)), (Some(Refusal::AddressMismatch), Some(Refusal::Other(14))));
}

#[test]
fn a_gateway_of_nat_pmp_alone_is_recognised() {
    // The answer that makes libtorrent fall back.
    let failure = Failure::Refused(Refused { refusal: Refusal::UnsupportedVersion, lifetime: 0 });
    assert_eq!(answered(MAP, &hex("00 81 0001 00000009")), [Output::Done(Err(failure))]);
}

#[test]
fn what_is_no_answer_to_the_request_does_not_count() {
    let whole = response(0, NONCE, 6, 35_000);
    for end in 0..whole.len() {
        assert_eq!(answered(MAP, &whole[..end]), [], "{end} bytes");
    }
    let mut long = whole.clone();
    long.resize(1_200, 0);
    let others = [
        response(0, [7; 12], 6, 35_000),
        response(2, [7; 12], 6, 35_000),
        response(0, NONCE, 17, 35_000),
        response(0, NONCE, 6, 35_001),
        MAP.bytes(OWN),
        announce(9),
        long,
    ];
    for bytes in others {
        assert_eq!(answered(MAP, &bytes), [], "{bytes:?}");
    }
    let mut client = asking(MAP);
    conformance::drain(&mut client);
    let from = "10.88.1.3:5351".parse().expect("an endpoint");
    client.handle_input(Instant::from_millis(5), Input::Datagram { from, bytes: whole });
    assert_eq!(conformance::drain(&mut client), []);
}

#[test]
fn waits_double_from_three_seconds_with_a_tenth_of_chance() {
    let mut client = asking(MAP);
    conformance::drain(&mut client);
    let (mut last, mut waits) = (0.0, Vec::new());
    conformance::run_until(&mut client, Instant::from_millis(200_000), |now, output| match output {
        Output::Transmit { bytes, .. } => {
            assert_eq!(bytes, MAP.bytes(OWN));
            let at = now.as_nanos() as f64 / 1e9;
            waits.push(at - last);
            last = at;
        }
        Output::Done(result) => assert_eq!((result, now), (Err(Failure::NoAnswer), Instant::from_millis(60_000))),
        Output::Restarted => panic!("nothing was heard"),
    });
    assert_eq!(waits.len(), 4, "3, 6, 12, 24 and not 48: {waits:?}");
    assert!((2.7..=3.3).contains(&waits[0]), "{waits:?}");
    assert!(waits.windows(2).all(|pair| (1.9..=2.1).contains(&(pair[1] / pair[0]))), "{waits:?}");
}

#[test]
fn a_server_whose_clock_jumps_has_lost_its_table() {
    let check = |script: &[(u64, u32)], expected: bool| {
        let mut client = Client::new(SERVER, OWN, 1);
        for &(at, epoch) in script {
            let input = Input::Datagram { from: SERVER, bytes: announce(epoch) };
            client.handle_input(Instant::from_millis(at * 1_000), input);
        }
        assert_eq!(conformance::drain(&mut client).contains(&Output::Restarted), expected, "{script:?}");
    };
    check(&[(0, 500)], false);
    check(&[(0, 500), (100, 600)], false);
    check(&[(0, 500), (1, 499)], false);
    check(&[(0, 500), (1, 498)], true);
    check(&[(0, 500), (160, 652)], false);
    check(&[(0, 500), (160, 647)], true);
    check(&[(0, 500), (100, 608)], false);
    check(&[(0, 500), (100, 620)], true);
    check(&[(0, u32::MAX), (1, 0)], true);
}

#[test]
fn no_bytes_make_it_panic() {
    let mut rng = Rng::from_seed(2);
    for _ in 0..5_000 {
        let mut bytes = response(0, NONCE, 6, 35_000);
        bytes.truncate(rng.below(70) as usize);
        for _ in 0..rng.below(4) {
            let length = bytes.len() as u64;
            if length > 0 {
                bytes[rng.below(length) as usize] = rng.next_u64() as u8;
            }
        }
        let _ = (MAP.response(&bytes), Request::Announce.response(&bytes), announcement(&bytes));
    }
}
