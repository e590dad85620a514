use super::*;

fn family() -> Family {
    Family { id: 0x20, groups: Vec::new() }
}

/// An attribute, written apart from the builder under test.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (value.len() as u16 + 4).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn reply(attributes: &[Vec<u8>]) -> Reply {
    let payload = [vec![0, 1, 0, 0], attributes.concat()].concat();
    Reply { kind: 0x20, flags: 2, sequence: 1, payload }
}

/// A prefix as the kernel nests it.
fn nested_prefix(family: u16, address: &[u8], length: u8) -> Vec<u8> {
    attribute(1 << 15, &[attribute(3, &[length]), attribute(1, &family.to_ne_bytes()), attribute(2, address)].concat())
}

#[test]
fn a_peer_spread_over_two_messages_is_one() {
    let key = attribute(1, &[7; 32]);
    let first = attribute(
        1 << 15,
        &[
            key.clone(),
            attribute(2, &[0; 32]),
            attribute(6, &[1_700_000_000_i64.to_ne_bytes(), 5_i64.to_ne_bytes()].concat()),
            attribute(5, &25_u16.to_ne_bytes()),
            attribute(8, &38_333_u64.to_ne_bytes()),
            attribute(7, &2_224_u64.to_ne_bytes()),
            attribute(10, &1_u32.to_ne_bytes()),
            attribute(4, &[2, 0, 0xca, 0x6c, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
            attribute(9 | 1 << 15, &nested_prefix(2, &[10, 0, 0, 1], 32)),
        ]
        .concat(),
    );
    let rest = attribute(1 << 15, &[key, attribute(9 | 1 << 15, &nested_prefix(10, &[0; 16], 0))].concat());
    let other = attribute(1 << 15, &attribute(1, &[8; 32]));
    let messages = [
        reply(&[
            attribute(6, &51_820_u16.to_ne_bytes()),
            attribute(7, &1_u32.to_ne_bytes()),
            attribute(1, &3_u32.to_ne_bytes()),
            attribute(2, b"wg0\0"),
            attribute(8 | 1 << 15, &first),
        ]),
        reply(&[attribute(8 | 1 << 15, &[rest, other].concat())]),
    ];
    let one = Peer {
        endpoint: Some("192.0.2.1:51820".parse().unwrap()),
        keepalive: 25,
        last_handshake: Some(Duration::new(1_700_000_000, 5)),
        rx_bytes: 2_224,
        tx_bytes: 38_333,
        allowed_ips: vec!["10.0.0.1/32".parse().unwrap(), "::/0".parse().unwrap()],
        ..Peer::new(Key::from_bytes([7; 32]))
    };
    let peers = vec![one, Peer::new(Key::from_bytes([8; 32]))];
    assert_eq!(device(&messages).unwrap(), Device { listen_port: 51_820, fwmark: 1, peers, ..Device::default() });
}

/// What Linux 6.1 sent, message by message (tests/it/kernel.rs prints it).
#[cfg(target_endian = "little")]
fn golden(lines: &str) -> Vec<Reply> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let payload = |line: &str| line.as_bytes().chunks(2).map(byte).collect();
    lines.lines().map(|line| Reply { kind: 0x20, flags: 2, sequence: 1, payload: payload(line) }).collect()
}

#[test]
#[cfg(target_endian = "little")]
fn a_dump_of_the_kernels_is_read() {
    let key = PrivateKey::generate([1; 32]);
    let messages = golden(include_str!("dump.hex"));
    let device = device(&messages).unwrap();
    assert_eq!((device.private_key, device.public_key), (Some(key), Some(key.public())));
    assert_eq!((device.listen_port, device.fwmark), (53_063, 0x77));
    let [peer] = &device.peers[..] else { panic!("{device:?}") };
    assert_eq!(peer.public_key, PrivateKey::generate([2; 32]).public());
    assert_eq!((peer.preshared_key, peer.keepalive), (None, 0));
    assert_eq!(peer.endpoint, Some("203.0.113.9:51820".parse().unwrap()));
    assert_eq!(peer.allowed_ips, ["10.9.0.2/32".parse().unwrap()]);
    // A response received; an initiation, the keepalive that caused it and a packet with data sent.
    assert_eq!((peer.rx_bytes, peer.tx_bytes), (92, 148 + 32 + 80));
    assert!(peer.last_handshake.is_some_and(|time| time > Duration::from_secs(1_700_000_000)));
}

#[test]
#[cfg(target_endian = "little")]
fn a_dump_of_the_kernels_that_splits_a_peer_is_read() {
    let messages = golden(include_str!("split.hex"));
    assert_eq!(messages.len(), 2);
    let parts = [&messages[..1], &messages[1..]].map(|part| device(part).unwrap().peers);
    let last = |peers: &[Peer]| peers.last().map(|peer| (peer.public_key, peer.allowed_ips.len()));
    let (Some((first, some)), Some((second, others))) = (last(&parts[0]), last(&parts[1])) else { panic!("{parts:?}") };
    assert!(first == second && some > 0 && others > 0);
    let device = device(&messages).unwrap();
    let mut prefixes = device.peers[1].allowed_ips.clone();
    prefixes.sort();
    let prefix = |n: u8| [IpNet::from(IpAddr::from([10, 77, 0, n])), IpAddr::from([n; 16]).into()];
    let mut expected: Vec<_> = (0..60).flat_map(prefix).collect();
    expected.sort();
    assert_eq!((device.peers.len(), prefixes), (2, expected));
}

#[test]
#[cfg(target_endian = "little")]
fn no_bytes_make_the_reader_panic() {
    let mut rng = pinhole_sansio::Rng::from_seed(1);
    let messages = golden(include_str!("dump.hex"));
    for _ in 0..20_000 {
        let mut messages = messages.clone();
        let payload = &mut messages[0].payload;
        for _ in 0..=rng.below(6) {
            let at = rng.below(payload.len() as u64) as usize;
            match rng.below(3) {
                0 => payload[at] = rng.next_u64() as u8,
                1 => payload[at] = payload[at].wrapping_add(1),
                _ => payload.truncate(at + 1),
            }
        }
        let _ = device(&messages);
    }
}

#[test]
fn what_the_kernel_would_not_say_is_an_error_and_no_panic() {
    let peer = |attributes: &[Vec<u8>]| attribute(8, &attribute(0, &attributes.concat()));
    let key = attribute(1, &[7; 32]);
    for message in [
        attribute(3, &[0; 31]),
        attribute(6, &[0; 4]),
        peer(&[]),
        peer(&[attribute(1, &[0; 33])]),
        peer(&[key.clone(), attribute(4, &[])]),
        peer(&[key.clone(), attribute(4, &[2, 0, 0, 0])]),
        peer(&[key.clone(), attribute(4, &[9; 16])]),
        peer(&[key.clone(), attribute(6, &[0xff; 16])]),
        peer(&[key.clone(), attribute(6, &[0; 7])]),
        peer(&[key.clone(), attribute(9, &nested_prefix(2, &[10, 0, 0, 1], 33))]),
        peer(&[key.clone(), attribute(9, &nested_prefix(2, &[10, 0, 0], 8))]),
        peer(&[key, attribute(9, &attribute(0, &attribute(2, &[10, 0, 0, 1])))]),
    ] {
        assert!(device(&[reply(std::slice::from_ref(&message))]).is_err(), "{message:02x?}");
    }
}

/// What `messages` say, read back: each change's part in order, and how long the messages are.
fn peers_in(messages: &[Message]) -> Vec<(Peer, u32)> {
    let mut peers = Vec::new();
    for message in messages {
        let bytes = message.clone().finish(0, 0);
        assert!(bytes.len() < 40_000);
        let attrs = &bytes[20..];
        for (_, value) in attributes(crate::netlink::find(attrs, device_attribute::PEERS).unwrap_or_default()) {
            let flags = crate::netlink::find(value, peer_attribute::FLAGS).map_or([0; 4], |v| v.try_into().unwrap());
            peers.push((peer(value).unwrap(), u32::from_ne_bytes(flags)));
        }
    }
    peers
}

#[test]
fn a_long_change_is_cut_and_says_the_same() {
    let prefixes: Vec<IpNet> = (0..2_000_u32).map(|n| IpNet::from(IpAddr::from(n.to_be_bytes()))).collect();
    let long = PeerUpdate {
        replace_allowed_ips: true,
        keepalive: Some(25),
        allowed_ips: prefixes.clone(),
        ..PeerUpdate::new(Key::from_bytes([1; 32]))
    };
    let removed = PeerUpdate::removal(Key::from_bytes([2; 32]));
    let many = (0..1_000_u16).map(|n| {
        let mut key = [3; 32];
        key[..2].copy_from_slice(&n.to_be_bytes());
        PeerUpdate { update_only: true, ..PeerUpdate::new(Key::from_bytes(key)) }
    });
    let update = DeviceUpdate {
        replace_peers: true,
        listen_port: Some(7),
        peers: [long, removed].into_iter().chain(many).collect(),
        ..DeviceUpdate::default()
    };
    let messages = set(&family(), "wg0", &update);
    let devices: Vec<_> = messages
        .iter()
        .map(|message| {
            let bytes = message.clone().finish(0, 0);
            assert_eq!(crate::netlink::find(&bytes[20..], device_attribute::IFNAME), Some(&b"wg0\0"[..]));
            crate::netlink::find(&bytes[20..], device_attribute::FLAGS).is_some()
        })
        .collect();
    assert!(devices[0] && devices[1..].iter().all(|flags| !flags), "only the first message removes all peers");
    let peers = peers_in(&messages);
    let parts: Vec<_> = peers.iter().filter(|(peer, _)| peer.public_key == Key::from_bytes([1; 32])).collect();
    assert_eq!(parts.iter().map(|(_, flags)| *flags).collect::<Vec<_>>(), [2, 4, 4]);
    assert_eq!(parts.iter().flat_map(|(peer, _)| peer.allowed_ips.clone()).collect::<Vec<_>>(), prefixes);
    assert_eq!(parts[0].0.keepalive, 25);
    assert_eq!(peers[3].1, PEER_REMOVE);
    assert_eq!(peers.len(), 3 + 1 + 1_000);
    assert_eq!(set(&family(), "wg0", &DeviceUpdate::default()).len(), 1);
}

#[test]
fn endpoints_survive_the_way_there_and_back() {
    for (text, back) in [
        ("192.0.2.1:51820", "192.0.2.1:51820"),
        ("[2001:db8::1]:1", "[2001:db8::1]:1"),
        ("[fe80::1%3]:65535", "[fe80::1%3]:65535"),
        ("[::ffff:192.0.2.1]:7", "192.0.2.1:7"),
    ] {
        assert_eq!(endpoint(&sockaddr(text.parse().unwrap())).unwrap(), back.parse().unwrap());
    }
}
