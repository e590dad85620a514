//! Compatible with wgsd: the bytes of its real plugin, its laxness (not ours), and what its client needs of a server.

use std::net::SocketAddr;

use pinhole_dns::RData;

use super::device::Peer;
use super::stage::{TUNNEL, stage};
use super::wire::{A, AA, AAAA, Answer, NXDOMAIN, PTR, Query, SRV, TC, TXT, read_framed, write_framed};

const LABEL: &str = "yutrled535igkl7bdlerl6m4vjxsxm3uqqpl4nmsn27mt56ad4ha====";
const SERVICE: &str = "_wireguard._udp.example.com.";

/// What the real plugin answers to `LABEL` SRV without EDNS.
const GOLDEN_SRV: &str = "\
12348500000100010000000238797574726c656435333569676b6c3762646c65726c366d34766a7873786d33757171706c\
346e6d736e32376d74353661643468613d3d3d3d0a5f776972656775617264045f756470076578616d706c6503636f6d00\
00210001c00c0021000100000000005c000000001e6138797574726c656435333569676b6c3762646c65726c366d34766a\
7873786d33757171706c346e6d736e32376d74353661643468613d3d3d3d0a5f776972656775617264045f756470076578\
616d706c6503636f6d00c00c00010001000000000004cb007101c00c0010000100000000004f09747874766572733d3130\
7075623d785363566b483366554755763452724a46666d63716d387273335345487234316b6d362b796666414877343d13\
616c6c6f7765643d31302e302e302e312f3332";

/// The three peers of wgsd's README; the last is the registry itself there.
fn readme_peers() -> Vec<Peer> {
    let keys = [
        "c52715907ddf50652fe11ac915f99caa6f2bb374841ebe35926ebec9f7c01f0e",
        "b32281f7b5e11a7bc2fa4ca78762aa4093d7a0ea0ea71fc79a93114dcfabe23b",
        "25e665cf5e06f2d83506a87a6a9b5e142c1584d8697b1275f450cf7eec50b546",
    ];
    let endpoints = ["203.0.113.1:7777", "198.51.100.1:8888", "192.0.2.1:51820"];
    let allowed = ["10.0.0.1/32", "10.0.0.2/32", "10.0.0.254/32"];
    let peers = keys.iter().zip(endpoints).zip(allowed);
    peers
        .map(|((key, endpoint), net)| Peer::with_key(unhex(key).try_into().expect("32 bytes"), endpoint, &[net]))
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).expect("a digit") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn dns_wgsd_golden_answers_come_by_udp_and_tcp() {
    let Some(stage) = stage() else { return };
    let peers = readme_peers();
    let labels: Vec<String> = peers.iter().map(Peer::label).collect();
    assert_eq!(labels[0], LABEL);
    let _device = stage.device("wg0", &peers);
    let (_registry, client) = stage.private_registry(&[]);
    let name = format!("{LABEL}.{SERVICE}");

    let srv = Query::new(&name, SRV);
    assert_eq!(client.exchange(&srv), unhex(GOLDEN_SRV));
    let stream = stage.connect(TUNNEL).expect("it takes connections");
    let by_tcp = |query: &Query| {
        write_framed(&stream, &query.bytes()).expect("sent");
        read_framed(&stream).expect("an answer")
    };
    // As with EDNS: a stream has room for the answer without compression.
    assert_eq!(by_tcp(&srv).len(), 576 - 11);

    // (question, bytes): lengths that the real plugin's answers have.
    let sizes = [
        (Query::new(&name, A), 202),
        (Query::new(&name, TXT), 277),
        (srv.clone().edns(1232), 576),
        (Query::new(SERVICE, PTR), 420),
    ];
    for (query, size) in sizes {
        let (udp, tcp) = (client.exchange(&query), by_tcp(&query));
        assert_eq!(udp.len(), size, "{query:?}");
        let [udp, tcp] = [udp, tcp].map(|bytes| Answer::read(&bytes).message);
        assert_eq!((&udp.answers, &udp.additional), (&tcp.answers, &tcp.additional), "{query:?}");
    }
    let wanted: Vec<String> = labels.iter().map(|label| format!("{label}.{SERVICE}")).collect();
    assert_eq!(client.ask(&Query::new(SERVICE, PTR)).targets(), wanted, "in the device's order");
    let texts = client.ask(&Query::new(&name, TXT)).text();
    assert_eq!(texts, ["txtvers=1", "pub=xScVkH3fUGUv4RrJFfmcqm8rs3SEHr41km6+yffAHw4=", "allowed=10.0.0.1/32"]);
    // The other family is no data here; wgsd answers with the wrong type, which nobody asks it for.
    assert_eq!(client.ask(&Query::new(&name, AAAA)).types(), [vec![], vec![6], vec![]]);
}

#[test]
fn dns_wgsd_negative_answers_are_as_long_as_the_original() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme_peers());
    let (_registry, client) = stage.private_registry(&[]);
    let answer = client.ask(&Query::new("x.example.com.", A));
    assert_eq!((answer.len, answer.rcode(), answer.has(AA)), (115, NXDOMAIN, true));
    let soa = &answer.message.authority[0];
    let RData::Soa(data) = &soa.data else { panic!("{soa:?}") };
    assert_eq!(soa.owner.to_string(), "example.com.");
    assert_eq!([data.mname.to_string(), data.rname.to_string()], ["ns1.example.com.", "postmaster.example.com."]);
    assert_eq!([data.refresh, data.retry, data.expire], [86_400, 7_200, 3_600_000]);
}

#[test]
fn dns_wgsd_labels_work_in_any_case_and_with_or_without_padding() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme_peers());
    let (_registry, client) = stage.private_registry(&[]);
    let bare = LABEL.trim_end_matches('=');
    let mixed: String =
        LABEL.char_indices().map(|(i, c)| if i % 2 == 0 { c.to_ascii_uppercase() } else { c }).collect();
    for label in [LABEL, bare, &LABEL.to_uppercase(), &bare.to_uppercase(), &mixed] {
        for name in [format!("{label}.{SERVICE}"), format!("{label}._WireGuard._UDP.EXAMPLE.com.")] {
            let query = Query::new(&name, SRV);
            let bytes = client.exchange(&query);
            assert_eq!(bytes[12..query.bytes().len()], query.bytes()[12..], "the question is echoed in its case");
            let answer = Answer::read(&bytes);
            assert_eq!(answer.types(), [vec![SRV], vec![], vec![A, TXT]], "{name}");
            assert_eq!(answer.endpoint(), Some("203.0.113.1:7777".parse().expect("an endpoint")), "{name}");
            let RData::Srv(srv) = &answer.message.answers[0].data else { panic!("{answer:?}") };
            let target = srv.target.to_string().to_ascii_lowercase();
            assert_eq!(target, name.to_ascii_lowercase(), "the target is the owner");
        }
    }
}

#[test]
fn dns_wgsd_names_that_only_resemble_an_instance_do_not_exist() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme_peers());
    let (_registry, client) = stage.private_registry(&[]);
    let lax = [
        // wgsd looks at the total length and the first 56 characters only.
        format!("{LABEL}.aaaaaaaaaa.bbbb.example.com."),
        format!("{LABEL}.example.com."),
        format!("{LABEL}._udp.example.com."),
        format!("{LABEL}._wireguard._tcp.example.com."),
        format!("{}.{SERVICE}", &LABEL[..54]),
        format!("{}.{SERVICE}", &LABEL[1..]),
        format!("x.{LABEL}.{SERVICE}"),
        format!("{}.{SERVICE}", LABEL.replace("====", "aaaa")),
    ];
    for name in lax {
        for qtype in [SRV, A, AAAA, TXT, PTR] {
            let answer = client.ask(&Query::new(&name, qtype));
            assert_eq!((answer.rcode(), answer.types()), (NXDOMAIN, [vec![], vec![6], vec![]]), "{name} {qtype}");
        }
    }
}

/// What wgsd-client makes of an answer: it panics or passes over the peer where this gives an error.
fn wgsd_client_takes(bytes: &[u8]) -> Result<SocketAddr, String> {
    if bytes.len() > 512 {
        return Err(format!("{} bytes do not fit its buffer", bytes.len()));
    }
    let answer = Answer::read(bytes);
    if answer.has(TC) {
        return Err("truncated".to_owned());
    }
    answer.endpoint().ok_or_else(|| format!("no SRV first, or no address first beside it: {:?}", answer.types()))
}

#[test]
fn dns_wgsd_client_gets_the_endpoint_of_every_peer_however_much_there_is_to_say() {
    let Some(stage) = stage() else { return };
    let v4: Vec<String> = (0..200).map(|n| format!("10.{n}.255.0/24")).collect();
    let v6: Vec<String> = (1..=200).map(|n| format!("fd00:1111:2222:3333:4444:5555:{n:x}:0/112")).collect();
    let lists: [Vec<&str>; 4] =
        [vec![], vec!["10.0.0.9/32"], v4.iter().map(String::as_str).collect(), v6.iter().map(String::as_str).collect()];
    let endpoint = |n: u16| match n % 3 {
        0 => format!("203.0.113.{}:{}", n % 250 + 1, 20_000 + n),
        1 => format!("[2001:db8:ffff:eeee:dddd:cccc:bbbb:{n:x}]:{}", 20_000 + n),
        _ => format!("198.51.100.{}:{}", n % 250 + 1, 65_535 - n),
    };
    let peers: Vec<Peer> = (1..=48).map(|n| Peer::new(n, &endpoint(n), &lists[usize::from(n) % 4])).collect();
    let _device = stage.device("wg0", &peers);
    let private = stage.private_registry(&[]);
    let (_public, stranger) = stage.public_registry(&[]);
    for client in [&private.1, &stranger] {
        for peer in &peers {
            let query = Query::new(&format!("{}._wireguard._udp.example.com.", peer.label().to_uppercase()), SRV);
            let bytes = client.exchange(&query);
            let wanted = peer.endpoint.as_ref().expect("it has one").parse::<SocketAddr>().expect("an endpoint");
            assert_eq!(wgsd_client_takes(&bytes), Ok(wanted), "{peer:?} at {}", client.server);
            assert!(!Answer::read(&bytes).types()[2].contains(&41), "OPT only for a query that has one");
        }
    }
    // Nothing of the list is lost where there is room for it.
    let stream = stage.connect(TUNNEL).expect("it takes connections");
    for peer in &peers {
        write_framed(&stream, &Query::new(&format!("{}.{SERVICE}", peer.label()), TXT).bytes()).expect("sent");
        let texts = Answer::read(&read_framed(&stream).expect("an answer")).text();
        let lists = texts.iter().filter_map(|text| text.split_once('=').filter(|(key, _)| key.starts_with("allowed")));
        let nets: Vec<&str> = lists.flat_map(|(_, list)| list.split(',')).filter(|net| !net.is_empty()).collect();
        assert_eq!(nets, peer.allowed, "{:?}", peer.endpoint);
    }
}

#[test]
fn dns_wgsd_peers_without_endpoint_are_not_served_and_mapped_addresses_are_ipv4() {
    let Some(stage) = stage() else { return };
    let silent = Peer::new(1, "", &["10.0.0.1/32"]);
    let mapped = Peer::new(2, "[::ffff:203.0.113.9]:999", &["10.0.0.2/32"]);
    let _device = stage.device("wg0", &[silent.clone(), mapped.clone()]);
    let (_registry, client) = stage.private_registry(&[]);
    assert_eq!(client.ask(&Query::new(&format!("{}.{SERVICE}", silent.label()), SRV)).rcode(), NXDOMAIN);
    let answer = client.ask(&Query::new(&format!("{}.{SERVICE}", mapped.label()), SRV));
    assert_eq!(answer.endpoint(), Some("203.0.113.9:999".parse().expect("an endpoint")));
    assert_eq!(client.ask(&Query::new(SERVICE, PTR)).targets(), [format!("{}.{SERVICE}", mapped.label())]);
}
