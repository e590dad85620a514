use pinhole_wg::{Key, PresharedKey};

use super::*;

const KEY: Key = Key::from_bytes([1; 32]);
const OTHER: Key = Key::from_bytes([2; 32]);

fn device() -> Device {
    let one = Peer {
        preshared_key: Some(PresharedKey::from_bytes([9; 32])),
        endpoint: Some("192.0.2.1:1".parse().unwrap()),
        keepalive: 15,
        allowed_ips: vec!["10.0.0.1/32".parse().unwrap()],
        ..Peer::new(KEY)
    };
    Device { peers: vec![Peer::new(OTHER), one], ..Device::default() }
}

/// One line for each change, in order.
fn shown(peers: &[PeerUpdate]) -> Vec<String> {
    let line = |peer: &PeerUpdate| {
        let mut words = vec![if peer.public_key == KEY { "one" } else { "other" }.to_owned()];
        words.extend(peer.remove.then(|| "remove".into()));
        words.extend(peer.update_only.then(|| "if-there".into()));
        words.extend(peer.preshared_key.map(|key| format!("psk={}", key.as_bytes()[0])));
        words.extend(peer.endpoint.map(|endpoint| endpoint.to_string()));
        words.extend(peer.allowed_ips.iter().map(ToString::to_string));
        words.extend(peer.keepalive.map(|seconds| format!("keepalive={seconds}")));
        words.extend(peer.handshake.then(|| "handshake".into()));
        words.join(" ")
    };
    peers.iter().map(line).collect()
}

fn asked(change: impl FnOnce(&mut PeerUpdate)) -> DeviceUpdate {
    let mut peer = PeerUpdate { handshake: true, ..PeerUpdate::new(KEY) };
    change(&mut peer);
    DeviceUpdate { peers: vec![peer], ..DeviceUpdate::default() }
}

#[test]
fn a_restarted_peer_is_as_it_was() {
    let update = asked(|_| {});
    let lines = ["one remove", "one psk=9 192.0.2.1:1 10.0.0.1/32", "one if-there keepalive=15"];
    assert_eq!(shown(&in_one(&update, &device()).peers), lines);
    let [removals, rest] = in_two(&update, &device());
    assert_eq!(shown(&removals.peers), lines[..1]);
    assert_eq!(shown(&rest.peers), ["one psk=9 192.0.2.1:1 10.0.0.1/32 keepalive=15"]);
}

#[test]
fn a_restarted_peer_is_as_the_change_has_it() {
    let update = asked(|peer| {
        peer.preshared_key = Some(PresharedKey::from_bytes([0; 32]));
        peer.endpoint = Some("192.0.2.2:2".parse().unwrap());
        peer.keepalive = Some(0);
        peer.allowed_ips = vec!["10.0.0.1/32".parse().unwrap(), "10.0.0.2/32".parse().unwrap()];
    });
    assert_eq!(
        shown(&in_one(&update, &device()).peers),
        [
            "one remove",
            "one 192.0.2.2:2 10.0.0.1/32 10.0.0.2/32",
            "one if-there keepalive=25",
            "one if-there keepalive=0"
        ]
    );
    let [_, rest] = in_two(&update, &device());
    assert_eq!(shown(&rest.peers), ["one 192.0.2.2:2 10.0.0.1/32 10.0.0.2/32 keepalive=25"]);
    let update = asked(|peer| {
        peer.replace_allowed_ips = true;
        peer.allowed_ips = vec!["10.0.0.3/32".parse().unwrap()];
    });
    assert_eq!(shown(&in_one(&update, &device()).peers)[1], "one psk=9 192.0.2.1:1 10.0.0.3/32");
}

#[test]
fn a_peer_that_is_not_there_is_added_unless_it_must_not_be() {
    let nobody = Device::default();
    assert_eq!(shown(&in_one(&asked(|_| {}), &nobody).peers)[0], "one");
    assert!(in_one(&asked(|peer| peer.update_only = true), &nobody).peers.is_empty());
    let replaced = DeviceUpdate { replace_peers: true, ..asked(|_| {}) };
    let update = in_one(&replaced, &device());
    assert!(update.replace_peers);
    assert_eq!(shown(&update.peers), ["one", "one if-there keepalive=25", "one if-there keepalive=0"]);
}

#[test]
fn what_asks_for_no_handshake_stays_as_it_is() {
    let update = DeviceUpdate {
        listen_port: Some(7),
        peers: vec![PeerUpdate::removal(OTHER), PeerUpdate { keepalive: Some(3), ..PeerUpdate::new(KEY) }],
        ..DeviceUpdate::default()
    };
    assert_eq!(in_one(&update, &device()), update);
    assert_eq!(in_two(&update, &device()), [DeviceUpdate::default(), update.clone()]);
    let removal = asked(|peer| peer.remove = true);
    assert_eq!(in_one(&removal, &device()), removal);
}
