//! wgsd's answers, byte for byte: recorded from the real plugin, for the zone of its README.

use pinhole_wg::Key;

use super::device::Peer;
use super::stage::stage;
use super::wire::{A, AAAA, Client, NXDOMAIN, PTR, Query, SRV, TXT, read_framed, write_framed};

pub const ONE: &str = "yutrled535igkl7bdlerl6m4vjxsxm3uqqpl4nmsn27mt56ad4ha====";
pub const TWO: &str = "wmrid55v4enhxqx2jstyoyvkicj5pihkb2tr7r42smiu3t5l4i5q====";

/// The answer to `SRV` of the first peer, asked in lower case without EDNS.
const SRV_ANSWER: &str = "\
12348500000100010000000238797574726c656435333569676b6c3762646c65726c366d34766a7873786d33757171706c\
346e6d736e32376d74353661643468613d3d3d3d0a5f776972656775617264045f756470076578616d706c6503636f6d00\
00210001c00c0021000100000000005c000000001e6138797574726c656435333569676b6c3762646c65726c366d34766a\
7873786d33757171706c346e6d736e32376d74353661643468613d3d3d3d0a5f776972656775617264045f756470076578\
616d706c6503636f6d00c00c00010001000000000004cb007101c00c0010000100000000004f09747874766572733d3130\
7075623d785363566b483366554755763452724a46666d63716d387273335345487234316b6d362b796666414877343d13\
616c6c6f7765643d31302e302e302e312f3332";

/// The answer to `x.example.com A`.
const MISS_ANSWER: &str = "\
1234850300010000000100000178076578616d706c6503636f6d0000010001076578616d706c6503636f6d000006000100\
00003c003d036e7331076578616d706c6503636f6d000a706f73746d6173746572076578616d706c6503636f6d00000000\
010001518000001c200036ee800000003c";

/// The peers of wgsd's README.
pub fn readme() -> Vec<Peer> {
    let key = |text: &str| *text.parse::<Key>().expect("a key").as_bytes();
    vec![
        Peer::with_key(key("xScVkH3fUGUv4RrJFfmcqm8rs3SEHr41km6+yffAHw4="), "203.0.113.1:7777", &["10.0.0.1/32"]),
        Peer::with_key(key("syKB97XhGnvC+kynh2KqQJPXoOoOpx/HmpMRTc+r4js="), "198.51.100.1:8888", &["10.0.0.2/32"]),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn first(qtype: u16) -> Query {
    Query::new(&format!("{ONE}._wireguard._udp.example.com."), qtype)
}

/// The answer's bytes without what is ours to choose: serial, TTL and minimum of the start of authority.
fn without_times(answer: &str) -> String {
    let (ttl, serial, minimum) = (49 * 2..53 * 2, 95 * 2..99 * 2, 111 * 2..115 * 2);
    answer
        .char_indices()
        .filter(|(at, _)| ![&ttl, &serial, &minimum].iter().any(|range| range.contains(at)))
        .map(|(_, c)| c)
        .collect()
}

#[test]
fn a_stranger_gets_wgsds_bytes_by_udp_and_everybody_by_tcp() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let (_registry, client) = stage.public_registry(&[]);
    assert_eq!(hex(&client.exchange(&first(SRV))), SRV_ANSWER);
    let miss = hex(&client.exchange(&Query::new("x.example.com.", A)));
    assert_eq!(miss.len(), MISS_ANSWER.len(), "{miss}");
    assert_eq!(without_times(&miss), without_times(MISS_ANSWER));
    // By TCP nothing has to be compressed: 576 bytes with EDNS's eleven.
    let stream = stage.connect(super::stage::PUBLIC).expect("a connection");
    write_framed(&stream, &first(SRV).bytes()).expect("it is taken");
    assert_eq!(read_framed(&stream).expect("an answer").len(), 565);
}

#[test]
fn sizes_are_wgsds() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let (_registry, peer) = stage.private_registry(&[]);
    let size = |client: &Client, query: Query| client.exchange(&query).len();
    let cases = [
        ("SRV", first(SRV), 313),
        ("SRV with EDNS", first(SRV).edns(1232), 576),
        ("A", first(A), 202),
        ("TXT", first(TXT), 277),
        ("PTR of two", Query::new("_wireguard._udp.example.com.", PTR), 45 + 2 * (29 + 10 + 86)),
    ];
    for (what, query, expected) in cases {
        assert_eq!(size(&peer, query), expected, "{what}");
    }
    // The other family is not served in its place: there is no such record, which wgsd's client never finds out.
    assert_eq!(peer.ask(&first(AAAA)).types(), [vec![], vec![6], vec![]]);
}

#[test]
fn peers_are_listed_in_the_devices_order_without_those_that_have_no_endpoint() {
    let Some(stage) = stage() else { return };
    let mut peers = readme();
    peers.reverse();
    peers.insert(1, Peer::new(7, "", &["10.0.0.7/32"]));
    let _device = stage.device("wg0", &peers);
    let (_registry, client) = stage.private_registry(&["--self", "192.0.2.1:51820"]);
    let answer = client.ask(&Query::new("_wireguard._udp.example.com.", PTR).edns(1232));
    let targets = answer.targets();
    assert_eq!(targets[0], format!("{TWO}._wireguard._udp.example.com."));
    assert_eq!(targets[1], format!("{ONE}._wireguard._udp.example.com."));
    assert_eq!(targets.len(), 3, "the registry itself comes last: {targets:?}");
    let hidden = format!("{}._wireguard._udp.example.com.", peers[1].label());
    assert_eq!(client.ask(&Query::new(&hidden, SRV)).rcode(), NXDOMAIN);
}

#[test]
fn labels_may_be_in_any_case_and_without_padding_but_not_lax() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let (_registry, client) = stage.private_registry(&[]);
    let bare = ONE.trim_end_matches('=');
    let found = [ONE.to_owned(), ONE.to_uppercase(), bare.to_owned(), bare.to_uppercase(), format!("Y{}", &ONE[1..])];
    for label in found {
        let answer = client.ask(&Query::new(&format!("{label}._wireguard._udp.example.com."), SRV));
        assert_eq!(answer.endpoint(), Some("203.0.113.1:7777".parse().expect("an endpoint")), "{label}");
        assert_eq!(answer.message.questions[0].name.to_string().split('.').next(), Some(&*label), "case is kept");
        assert_eq!(answer.types(), [vec![SRV], vec![], vec![A, TXT]]);
    }
    let missing = [
        format!("{ONE}.aaaaaaaaaa.bbbb.example.com."),
        format!("{bare}=._wireguard._udp.example.com."),
        format!("{bare}====._wireguard._tcp.example.com."),
        format!("{ONE}.example.com."),
        format!("x{ONE}._wireguard._udp.example.com."),
        format!("x.{ONE}._wireguard._udp.example.com."),
    ];
    for name in missing {
        assert_eq!(client.ask(&Query::new(&name, SRV)).rcode(), NXDOMAIN, "{name}");
    }
}
