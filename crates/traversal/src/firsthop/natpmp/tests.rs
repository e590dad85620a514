use pinhole_sansio::{Instant, Machine, conformance};

use super::super::Protocol;
use super::*;

const GATEWAY: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::new(192, 168, 1, 1)), PORT);
const MAP: Request = Request::Map { protocol: Protocol::Tcp, internal: 35_000, suggested: 35_000, lifetime: 3_600 };

fn asking(request: Request) -> Client {
    let mut client = Client::new(GATEWAY);
    client.handle_input(Instant::EPOCH, Input::Ask { request, patience: Duration::from_secs(200) });
    client
}

/// What comes of `bytes` from the gateway as an answer to `request`.
fn answered(request: Request, bytes: &[u8]) -> Vec<Output> {
    let mut client = asking(request);
    conformance::drain(&mut client);
    let now = Instant::from_millis(20);
    client.handle_input(now, Input::Datagram { from: GATEWAY, bytes: bytes.to_vec() });
    let outputs = conformance::drain(&mut client);
    conformance::spurious_timeout_does_nothing(&mut client, now);
    outputs
}

#[test]
fn requests_are_those_that_libtorrent_sends() {
    // Captured from libtorrent 2.0.8.
    assert_eq!(MAP.bytes(), [0, 2, 0, 0, 0x88, 0xb8, 0x88, 0xb8, 0, 0, 0x0e, 0x10]);
    assert_eq!(Request::ExternalAddress.bytes(), [0, 0]);
}

#[test]
fn replies_are_read() {
    let address = [0, 128, 0, 0, 0, 0, 0, 9, 203, 0, 113, 7];
    let reply = Reply::ExternalAddress([203, 0, 113, 7].into());
    assert_eq!(answered(Request::ExternalAddress, &address), [Output::Done(Ok(reply))]);
    let mapped = [0, 130, 0, 0, 0, 0, 0, 9, 0x88, 0xb8, 0xd4, 0x31, 0, 0, 0, 60];
    let reply = Reply::Mapped { internal: 35_000, external: 54_321, lifetime: 60 };
    assert_eq!(answered(MAP, &mapped), [Output::Done(Ok(reply))]);
}

#[test]
fn refusals_are_told_apart() {
    let refused = |code: u8| answered(MAP, &[0, 130, 0, code, 0, 0, 0, 9]);
    for (code, refusal) in [
        (1, Refusal::UnsupportedVersion),
        (2, Refusal::NotAuthorized),
        (3, Refusal::NetworkFailure),
        (4, Refusal::OutOfResources),
        (5, Refusal::UnsupportedOpcode),
        (77, Refusal::Other(77)),
    ] {
        assert_eq!(refused(code), [Output::Done(Err(Failure::Refused(refusal)))]);
    }
    // A server of PCP alone.
    let pcp = [2, 0x80, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
    let version = Output::Done(Err(Failure::Refused(Refusal::UnsupportedVersion)));
    assert_eq!(answered(Request::ExternalAddress, &pcp), [version]);
}

#[test]
fn what_is_no_answer_to_the_request_does_not_count() {
    let cut = [0, 130, 0, 0, 0, 0, 0, 9, 0x88, 0xb8, 0xd4];
    let another_port = [0, 130, 0, 0, 0, 0, 0, 9, 0x88, 0xb9, 0xd4, 0x31, 0, 0, 0, 60];
    let another_protocol = [0, 129, 0, 0, 0, 0, 0, 9, 0x88, 0xb8, 0xd4, 0x31, 0, 0, 0, 60];
    let a_request = [0, 2, 0, 0, 0x88, 0xb8, 0x88, 0xb8, 0, 0, 0x0e, 0x10];
    for bytes in [&cut[..], &another_port, &another_protocol, &a_request, &[], &[0], &[9; 40]] {
        assert_eq!(answered(MAP, bytes), [], "{bytes:?}");
    }
    let mut client = asking(Request::ExternalAddress);
    conformance::drain(&mut client);
    let forged = Input::Datagram {
        from: "192.168.1.2:5351".parse().expect("an address"),
        bytes: vec![0, 128, 0, 0, 0, 0, 0, 9, 203, 0, 113, 7],
    };
    client.handle_input(Instant::from_millis(5), forged);
    assert_eq!(conformance::drain(&mut client), []);
}

#[test]
fn a_request_is_sent_nine_times_with_doubled_waits_and_then_given_up() {
    let mut client = asking(MAP);
    let first = conformance::drain(&mut client);
    assert!(matches!(first[..], [Output::Transmit { to: GATEWAY, .. }]));
    let mut times = Vec::new();
    conformance::run_until(&mut client, Instant::from_millis(300_000), |now, output| match output {
        Output::Transmit { .. } => times.push(now.as_nanos() / 1_000_000),
        Output::Done(result) => assert_eq!((result, now), (Err(Failure::NoAnswer), Instant::from_millis(200_000))),
        Output::Restarted => panic!("nothing was heard"),
    });
    assert_eq!(times, [250, 750, 1_750, 3_750, 7_750, 15_750, 31_750, 63_750]);
}

#[test]
fn a_gateway_that_refuses_the_port_ends_the_wait() {
    let mut client = asking(MAP);
    conformance::drain(&mut client);
    client.handle_input(Instant::from_millis(1), Input::Unreachable);
    assert_eq!(conformance::drain(&mut client), [Output::Done(Err(Failure::NoAnswer))]);
    assert_eq!(client.poll_timeout(), None);
}

#[test]
fn a_gateway_whose_clock_has_gone_back_has_lost_its_table() {
    let mut client = asking(Request::ExternalAddress);
    let mut answer = |at: u64, epoch: u32| {
        let now = Instant::from_millis(at * 1_000);
        let ask = Input::Ask { request: Request::ExternalAddress, patience: Duration::from_secs(2) };
        client.handle_input(now, ask);
        let mut bytes = vec![0, 128, 0, 0];
        bytes.extend(epoch.to_be_bytes());
        bytes.extend([203, 0, 113, 7]);
        client.handle_input(now, Input::Datagram { from: GATEWAY, bytes });
        conformance::drain(&mut client).contains(&Output::Restarted)
    };
    assert!(!answer(0, 1_000));
    assert!(!answer(800, 1_700), "7/8 of 800 s is the least");
    assert!(!answer(1_600, 2_398), "two seconds are rounding");
    assert!(answer(2_400, 5));
    assert!(!answer(2_401, 6));
}

#[test]
fn no_bytes_make_it_panic() {
    let mut rng = pinhole_sansio::Rng::from_seed(1);
    for _ in 0..5_000 {
        let length = rng.below(24) as usize;
        let mut bytes: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
        if let Some(first) = bytes.first_mut() {
            *first = rng.below(3) as u8;
        }
        let _ = (MAP.response(&bytes), Request::ExternalAddress.response(&bytes));
    }
}
