//! The layout, by bytes that were read from a kernel; and a live kernel.

use std::net::{TcpListener, TcpStream};

use super::*;
use crate::namespace::{Namespace, privilege};

/// A TIME_WAIT socket, 10.0.0.1:40000 to 10.0.0.2:443 with 59,996 ms left, as 6.18 sends it; and its mark.
fn golden() -> Vec<u8> {
    let mut bytes = vec![2, 6, 3, 0];
    bytes.extend(40_000u16.to_be_bytes());
    bytes.extend(443u16.to_be_bytes());
    for address in [[10, 0, 0, 1], [10, 0, 0, 2]] {
        bytes.extend(address);
        bytes.extend([0; 12]);
    }
    for word in [0u32, 0x1234, 0x1, 59_996, 0, 0, 0, 0] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend([8, 0, 15, 0]);
    bytes.extend(7u32.to_ne_bytes());
    bytes
}

#[test]
fn a_time_wait_socket_is_read_with_its_timer() {
    let socket = TcpSocket::parse(&golden(), 5).expect("well formed");
    let expected = TcpSocket {
        local: "10.0.0.1:40000".parse().expect("an address"),
        remote: "10.0.0.2:443".parse().expect("an address"),
        state: TcpState::TimeWait,
        timer: Timer::TimeWait,
        expires_ms: 59_996,
        read_ns: 5,
        interface: 0,
        cookie: 0x1_0000_1234,
        uid: 0,
        inode: 0,
        mark: Some(7),
    };
    assert_eq!(socket, expected);
    assert_eq!(socket.id()[..], golden()[4..52], "what it is named by is what it was read from");
}

#[test]
fn no_bytes_make_the_reader_panic() {
    let mut rng = pinhole_sansio::Rng::from_seed(1);
    let whole = golden();
    for cut in 0..whole.len() {
        assert_eq!(TcpSocket::parse(&whole[..cut], 0).is_some(), cut >= 72, "{cut}");
    }
    for _ in 0..50_000 {
        let mut bytes = whole.clone();
        for _ in 0..=rng.below(6) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.below(256) as u8;
        }
        let _ = TcpSocket::parse(&bytes, 0);
    }
}

#[test]
fn the_kernel_lists_what_it_has_and_destroys_what_it_is_told() {
    if !privilege::can_make_namespaces() {
        eprintln!("SKIP: making namespaces needs root (or CAP_SYS_ADMIN and CAP_NET_ADMIN); run the tests with sudo");
        return;
    }
    let ns = Namespace::create("diag-live").expect("a namespace");
    ns.run(|| {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).expect("a port");
            let to = listener.local_addr().expect("bound");
            let client = TcpStream::connect(to).expect("it listens");
            let from = client.local_addr().expect("connected");
            let (server, _) = listener.accept().expect("it connects");
            let of = |states| {
                let all = sockets(states).expect("a list");
                let state = |s: &TcpSocket| (s.local == from || s.remote == from).then_some(s.state);
                let mut states: Vec<_> = all.iter().filter_map(state).collect();
                states.sort_unstable();
                states
            };
            assert_eq!(of(States::ALL), [TcpState::Established; 2]);
            assert_eq!(of(States::DEAD), []);
            drop(client);
            assert!(of(States::ALL).contains(&TcpState::CloseWait));
            drop(server);
            assert_eq!(of(States::DEAD), [TcpState::TimeWait]);
            let all = sockets(States::DEAD).expect("a list");
            let dead = all.iter().find(|s| s.local == from).expect("it is there");
            assert_eq!((dead.remote, dead.timer, dead.inode), (to, Timer::TimeWait, 0));
            assert!((59_000..=60_000).contains(&dead.expires_ms), "{dead:?}");
            match destroy(dead) {
                Ok(()) => assert_eq!(of(States::DEAD), []),
                Err(error) => assert!(error.is_unsupported(), "{error}"),
            }
            let all = sockets(States::ALL).expect("a list");
            assert!(all.iter().any(|s| s.state == TcpState::Listen && s.local == to));
            let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
            let alone = of_family(family as u8, States::ALL).expect("a list");
            let cookies = |sockets: &[TcpSocket]| {
                let own = sockets.iter().filter(|s| s.local.is_ipv4() == to.is_ipv4());
                own.map(|s| s.cookie).collect::<std::collections::BTreeSet<_>>()
            };
            assert_eq!(cookies(&all), cookies(&alone), "both requests find the same");
        }
    })
    .expect("a thread");
}
