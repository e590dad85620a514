use core::time::Duration;

use super::*;
use crate::{Device, Key, Peer, PeerUpdate, PresharedKey, PrivateKey};

const PRIVATE: &str = "e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a";
const ONE: &str = "b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33";
const TWO: &str = "58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376";

/// Shaped after the example of the protocol's page, with what wireguard-go adds to it.
fn answer() -> String {
    format!(
        "private_key={PRIVATE}\nlisten_port=12912\nfwmark=51820\n\
         public_key={ONE}\npreshared_key={PSK}\nprotocol_version=1\nendpoint=[abcd:23::33]:51820\n\
         last_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5\ntx_bytes=38333\nrx_bytes=2224\n\
         persistent_keepalive_interval=111\nallowed_ip=192.168.4.4/32\nallowed_ip=::/0\n\
         public_key={TWO}\npreshared_key={NO_PSK}\nprotocol_version=1\n\
         last_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=0\n\
         persistent_keepalive_interval=0\nerrno=0\n\n",
        PSK = "188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52",
        NO_PSK = "0".repeat(64),
    )
}

fn device() -> Device {
    let private_key = PrivateKey::from_hex(PRIVATE).unwrap();
    let one = Peer {
        preshared_key: PresharedKey::from_hex("188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52").ok(),
        endpoint: Some("[abcd:23::33]:51820".parse().unwrap()),
        keepalive: 111,
        last_handshake: Some(Duration::new(1_700_000_000, 5)),
        rx_bytes: 2224,
        tx_bytes: 38333,
        allowed_ips: vec!["192.168.4.4/32".parse().unwrap(), "::/0".parse().unwrap()],
        ..Peer::new(Key::from_hex(ONE).unwrap())
    };
    Device {
        private_key: Some(private_key),
        public_key: Some(private_key.public()),
        listen_port: 12912,
        fwmark: 51820,
        peers: vec![one, Peer::new(Key::from_hex(TWO).unwrap())],
    }
}

#[test]
fn an_answer_is_read_and_written_as_wireguard_go_writes_it() {
    assert_eq!(parse_get_reply(&answer()), Ok(device()));
    assert_eq!(format_get_reply(&device(), 0), answer());
    assert_eq!(format_get_reply(&Device::default(), 0), "errno=0\n\n");
    assert_eq!(parse_get_reply("errno=0\n\n"), Ok(Device::default()));
}

#[test]
fn an_answer_may_hold_what_another_implementation_invented() {
    let text = format!("future=1\npublic_key={ONE}\ncolour=blue\nendpoint=[fe80::1%eth0]:7\nerrno=0\n\n");
    let device = parse_get_reply(&text).unwrap();
    assert_eq!(device.peers[0].endpoint, Some("[fe80::1]:7".parse().unwrap()));
}

#[test]
fn an_answer_that_is_cut_refused_or_garbled_is_an_error() {
    let malformed = |line, expected| Err(ReplyError::Malformed { line, expected });
    for (text, result) in [
        (String::new(), Err(ReplyError::Truncated)),
        (format!("public_key={ONE}\n"), Err(ReplyError::Truncated)),
        ("errno=-22\n\n".into(), Err(ReplyError::Errno(22))),
        ("errno=22\n\n".into(), Err(ReplyError::Errno(22))),
        ("errno=-2147483648\n\n".into(), Err(ReplyError::Errno(i32::MAX))),
        ("errno=x\n\n".into(), malformed(1, "errno= and a number")),
        ("hello\n".into(), malformed(1, "key=value")),
        ("\nerrno=0\n".into(), malformed(1, "key=value")),
        ("listen_port=65536\nerrno=0\n".into(), malformed(1, "a port")),
        (format!("public_key={ONE}\nrx_bytes=-1\n"), malformed(2, "a number of bytes")),
        (
            format!("public_key={ONE}\nlast_handshake_time_nsec=1000000000\n"),
            malformed(2, "nanoseconds below one second"),
        ),
    ] {
        assert_eq!(parse_get_reply(&text), result, "{text:?}");
    }
    assert_eq!(parse_reply("errno=0\n\n"), Ok(()));
    assert_eq!(parse_reply("errno=-98\n\n"), Err(ReplyError::Errno(98)));
    assert_eq!(parse_reply(""), Err(ReplyError::Truncated));
}

fn update() -> DeviceUpdate {
    let one = PeerUpdate {
        update_only: true,
        preshared_key: Some(PresharedKey::from_bytes([0; 32])),
        endpoint: Some("192.0.2.1:51820".parse().unwrap()),
        keepalive: Some(25),
        replace_allowed_ips: true,
        allowed_ips: vec!["10.0.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()],
        handshake: true,
        ..PeerUpdate::new(Key::from_hex(ONE).unwrap())
    };
    DeviceUpdate {
        private_key: PrivateKey::from_hex(PRIVATE).ok(),
        listen_port: Some(0),
        fwmark: Some(u32::MAX),
        replace_peers: true,
        peers: vec![one, PeerUpdate::removal(Key::from_hex(TWO).unwrap())],
    }
}

#[test]
fn a_change_is_written_in_the_order_that_devices_need() {
    let text = format!(
        "set=1\nprivate_key={PRIVATE}\nlisten_port=0\nfwmark=4294967295\nreplace_peers=true\n\
         public_key={ONE}\nupdate_only=true\npreshared_key={}\nendpoint=192.0.2.1:51820\n\
         persistent_keepalive_interval=25\nreplace_allowed_ips=true\nallowed_ip=10.0.0.0/24\nallowed_ip=fd00::/64\n\
         pinhole_handshake=true\npublic_key={TWO}\nremove=true\n\n",
        "0".repeat(64)
    );
    assert_eq!(format_set(&update()), text);
    assert_eq!(parse_set(&text), Ok(update()));
    assert_eq!(parse_request(&text), Ok(Request::Set(update())));
    assert_eq!(parse_request("set=1\n\n"), Ok(Request::Set(DeviceUpdate::default())));
    assert_eq!(parse_request(GET), Ok(Request::Get));
}

#[test]
fn prefixes_lose_their_host_bits_and_a_replacement_takes_earlier_ones_along() {
    let text =
        format!("set=1\npublic_key={ONE}\nallowed_ip=10.9.9.9/8\nreplace_allowed_ips=true\nallowed_ip=10.1.2.3/16\n\n");
    let update = parse_set(&text).unwrap();
    assert_eq!(update.peers[0].allowed_ips, ["10.1.0.0/16".parse().unwrap()]);
}

#[test]
fn a_bad_request_is_refused_with_the_line_and_never_with_a_secret() {
    let peer = |line: &str| format!("set=1\npublic_key={ONE}\n{line}\n\n");
    let device = |line: &str| format!("set=1\n{line}\n\n");
    for (text, errno, line) in [
        ("".into(), EPROTO, 1),
        ("put=1\n\n".into(), EPROTO, 1),
        ("get=1\nx=y\n\n".into(), EINVAL, 2),
        (device("hello"), EPROTO, 2),
        (device("private_key=secret"), EINVAL, 2),
        (device("listen_port=+5"), EINVAL, 2),
        (device("listen_port=65536"), EINVAL, 2),
        (device("listen_port="), EINVAL, 2),
        (device("fwmark=0x10"), EINVAL, 2),
        (device("replace_peers=false"), EINVAL, 2),
        (device("endpoint=192.0.2.1:1"), EINVAL, 2),
        (device("public_key=secret"), EINVAL, 2),
        (peer("listen_port=5"), EINVAL, 3),
        (peer("remove=1"), EINVAL, 3),
        (peer("update_only=TRUE"), EINVAL, 3),
        (peer("preshared_key=secret"), EINVAL, 3),
        (peer("endpoint=example.com:51820"), EINVAL, 3),
        (peer("endpoint=192.0.2.1"), EINVAL, 3),
        (peer("persistent_keepalive_interval=65536"), EINVAL, 3),
        (peer("persistent_keepalive_interval=off"), EINVAL, 3),
        (peer("allowed_ip=10.0.0.1"), EINVAL, 3),
        (peer("allowed_ip=10.0.0.1/33"), EINVAL, 3),
        (peer("allowed_ip=-10.0.0.1/32"), EINVAL, 3),
        (peer("protocol_version=2"), EINVAL, 3),
        (peer("pinhole_handshake=yes"), EINVAL, 3),
        (peer("Endpoint=192.0.2.1:1"), EINVAL, 3),
    ] {
        let refusal = parse_request(&text).unwrap_err();
        assert_eq!(refusal.errno, errno, "{text:?}: {refusal}");
        assert!(refusal.reason.starts_with(&format!("line {line}: ")), "{text:?}: {refusal}");
        assert!(!refusal.reason.contains("secret"), "{refusal}");
    }
    assert_eq!(format_reply(EINVAL), "errno=-22\n\n");
    assert_eq!(format_reply(0), "errno=0\n\n");
}

#[test]
fn no_text_makes_a_reader_panic() {
    let mut rng = pinhole_sansio::Rng::from_seed(1);
    let texts = [answer(), format_set(&update())];
    for round in 0..2_000 {
        let mut bytes = texts[round % 2].clone().into_bytes();
        for _ in 0..=rng.below(4) {
            let at = rng.below(bytes.len() as u64) as usize;
            match rng.below(4) {
                0 => bytes[at] = rng.next_u64() as u8,
                1 => bytes.truncate(at + 1),
                2 => bytes.insert(at, b"=\n-:[%\0\xff"[rng.below(8) as usize]),
                _ => drop(bytes.drain(at..bytes.len().min(at + 9))),
            }
            if bytes.is_empty() {
                bytes.push(b'=');
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        let _ = (parse_get_reply(&text), parse_request(&text), parse_reply(&text));
    }
}
