use super::*;
use pinhole_dns::answers::{Answers, Asker, Outcome};
use pinhole_dns::message::Message;
use pinhole_dns::{Rcode, Type};

/// The peers of the README of wgsd, behind `example.com.`, with the registry itself last.
pub(crate) fn readme() -> (ZoneConfig, Device) {
    let peer = |key: &str, endpoint: &str, allowed: &str| Peer {
        endpoint: Some(endpoint.parse().expect("an endpoint")),
        allowed_ips: vec![allowed.parse().expect("a prefix")],
        ..Peer::new(key.parse().expect("a key"))
    };
    let device = Device {
        public_key: Some("JeZlz14G8tg1Bqh6apteFCwVhNhpexJ19FDPfuxQtUY=".parse().expect("a key")),
        listen_port: 51_820,
        peers: vec![
            peer("xScVkH3fUGUv4RrJFfmcqm8rs3SEHr41km6+yffAHw4=", "203.0.113.1:7777", "10.0.0.1/32"),
            peer("syKB97XhGnvC+kynh2KqQJPXoOoOpx/HmpMRTc+r4js=", "198.51.100.1:8888", "10.0.0.2/32"),
        ],
        ..Device::default()
    };
    let itself = Itself {
        endpoint: Some("192.0.2.1:51820".parse().expect("an endpoint")),
        allowed_ips: vec!["10.0.0.254/32".parse().expect("a prefix")],
    };
    let config = ZoneConfig {
        origin: "example.com.".parse().expect("a name"),
        device: "wg0".to_owned(),
        itself: Some(itself),
        name_servers: Vec::new(),
        addresses: Vec::new(),
    };
    (config, device)
}

const K1: &str = "yutrled535igkl7bdlerl6m4vjxsxm3uqqpl4nmsn27mt56ad4ha====";

/// Asks the compiled zone and gives the whole response.
fn ask(config: &ZoneConfig, device: &Device, name: &str, qtype: Type) -> (Vec<u8>, Message) {
    let zone = build(config, device, 1, None);
    let question = pinhole_dns::message::Question { name: name.parse().expect("a name"), qtype, qclass: 1 };
    let header = pinhole_dns::message::Header { id: 0x1234, flags: 0x0100, ..Default::default() };
    let query = Message { header, questions: vec![question], ..Message::default() }.encode();
    let mut out = vec![0; 65_535];
    match Answers::compile(&[zone]).answer(&query, &Asker::udp(true), &mut out) {
        Outcome::Reply(length) | Outcome::Miss(length) | Outcome::Escalate(length) => out.truncate(length),
        Outcome::Drop(reason) => panic!("no answer: {reason:?}"),
    }
    let message = Message::decode(&out).expect("an answer can be read");
    (out, message)
}

#[test]
fn the_answer_to_an_srv_question_is_wgsds_to_the_byte() {
    let golden = "12348500000100010000000238797574726c656435333569676b6c3762646c65726c366d34766a7873786d33757171706c\
346e6d736e32376d74353661643468613d3d3d3d0a5f776972656775617264045f756470076578616d706c6503636f6d00\
00210001c00c0021000100000000005c000000001e6138797574726c656435333569676b6c3762646c65726c366d34766a\
7873786d33757171706c346e6d736e32376d74353661643468613d3d3d3d0a5f776972656775617264045f756470076578\
616d706c6503636f6d00c00c00010001000000000004cb007101c00c0010000100000000004f09747874766572733d3130\
7075623d785363566b483366554755763452724a46666d63716d387273335345487234316b6d362b796666414877343d13\
616c6c6f7765643d31302e302e302e312f3332";
    let (config, device) = readme();
    let (bytes, _) = ask(&config, &device, &format!("{K1}._wireguard._udp.example.com."), Type::SRV);
    assert_eq!(data_encoding::HEXLOWER.encode(&bytes), golden);
}

#[test]
fn peers_are_listed_in_the_devices_order_and_the_registry_last() {
    let (config, device) = readme();
    let (bytes, message) = ask(&config, &device, "_wireguard._udp.example.com.", Type::PTR);
    let keys: Vec<_> = message
        .answers
        .iter()
        .map(|record| match &record.data {
            RData::Ptr(name) => naming::parse_label(name.labels().next().expect("a label")).expect("a key"),
            other => panic!("not a PTR: {other:?}"),
        })
        .collect();
    let expected: Vec<Key> = device.peers.iter().map(|peer| peer.public_key).chain(device.public_key).collect();
    assert_eq!((keys, bytes.len()), (expected, 420));
}

#[test]
fn a_peer_without_an_endpoint_is_not_in_the_zone() {
    let (config, mut device) = readme();
    device.peers[0].endpoint = None;
    let (_, message) = ask(&config, &device, &format!("{K1}._wireguard._udp.example.com."), Type::SRV);
    assert_eq!(message.rcode(), Rcode::NXDOMAIN);
}

#[test]
fn every_name_above_a_peer_exists_even_while_there_is_none() {
    let (mut config, mut device) = readme();
    (config.itself, device.peers) = (None, Vec::new());
    for name in ["_udp.example.com.", "_wireguard._udp.example.com.", "_dns-sd._udp.example.com."] {
        let (_, message) = ask(&config, &device, name, Type::A);
        assert_eq!((message.rcode(), message.answers.len()), (Rcode::NOERROR, 0), "{name}");
    }
}

#[test]
fn a_v4_mapped_endpoint_is_an_ipv4_address() {
    let (config, mut device) = readme();
    device.peers[0].endpoint = Some("[::ffff:203.0.113.9]:7".parse().expect("an endpoint"));
    let (_, message) = ask(&config, &device, &format!("{K1}._wireguard._udp.example.com."), Type::A);
    assert_eq!(message.answers[0].data, RData::A("203.0.113.9".parse().expect("an address")));
}

#[test]
fn the_short_label_answers_like_the_padded_one_and_points_at_itself() {
    let (config, device) = readme();
    let name = format!("{}._wireguard._udp.example.com.", &K1[..52]);
    let (_, message) = ask(&config, &device, &name, Type::SRV);
    let RData::Srv(srv) = &message.answers[0].data else { panic!("not an SRV") };
    assert_eq!((srv.port, srv.target.to_string()), (7777, name));
}

#[test]
fn however_many_prefixes_there_are_all_are_told_and_read_back() {
    let (config, mut device) = readme();
    let nets: Vec<IpNet> = (0..=255).map(|n| format!("10.1.{n}.0/24").parse().expect("a prefix")).collect();
    for count in [0, 1, 17, 18, 19, 256] {
        device.peers[0].allowed_ips = nets[..count].to_vec();
        let (_, message) = ask(&config, &device, &format!("{K1}._wireguard._udp.example.com."), Type::TXT);
        if message.header.has(pinhole_dns::message::Header::TC) {
            continue;
        }
        let RData::Txt(strings) = &message.answers[0].data else { panic!("not a TXT") };
        assert!(strings.iter().all(|string| string.len() <= MAX_STRING));
        assert_eq!(allowed_ips(strings), nets[..count], "{count} prefixes");
    }
}

#[test]
fn a_sender_in_the_tunnel_is_the_peer_with_the_longest_prefix() {
    let (_, mut device) = readme();
    device.peers[1].allowed_ips.push("10.0.0.0/24".parse().expect("a prefix"));
    for (source, expected) in [("10.0.0.1", Some(0)), ("10.0.0.2", Some(1)), ("10.0.0.77", Some(1)), ("10.1.0.1", None)]
    {
        let found = peer_of(&device, source.parse().expect("an address"));
        assert_eq!(found, expected.map(|index: usize| &device.peers[index]), "{source}");
    }
}

#[test]
fn more_prefixes_than_a_record_holds_are_cut_and_break_nothing() {
    let (config, mut device) = readme();
    let nets = (0..10_000u32).map(|n| format!("10.{}.{}.0/24", n / 256, n % 256).parse().expect("a prefix"));
    device.peers[0].allowed_ips = nets.collect();
    let (_, message) = ask(&config, &device, &format!("{K1}._wireguard._udp.example.com."), Type::SRV);
    assert!(matches!(message.answers[0].data, RData::Srv(_)));
}
