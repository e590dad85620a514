//! EDNS: echoed only when asked for, versions, cookies, sizes.

use super::golden::{ONE, readme};
use super::stage::stage;
use super::wire::*;

const BADVERS: u16 = 16;
const COOKIE: u16 = 10;

fn service() -> Query {
    Query::new(&format!("{ONE}._wireguard._udp.example.com."), SRV)
}

#[test]
fn an_opt_record_answers_an_opt_record_and_nothing_else() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let (_registry, client) = stage.private_registry(&[]);
    for query in [service(), Query::new("x.example.com.", A), Query::new("example.org.", A)] {
        assert!(client.ask(&query).message.edns.is_none(), "{query:?}");
        let edns = client.ask(&query.clone().edns(4096)).message.edns.expect("EDNS");
        assert_eq!((edns.udp_size, edns.ttl), (1232, 0), "{query:?}");
        let dnssec = client.ask(&query.edns(4096).edns_ttl(0x8000)).message.edns.expect("EDNS");
        assert_eq!(dnssec.ttl, 0x8000, "DO comes back (RFC 3225)");
    }
    let unknown = client.ask(&service().edns(1232).edns_ttl(0x7fff).option(65_001, b"what"));
    assert_eq!(unknown.rcode(), NOERROR);
    let edns = unknown.message.edns.expect("EDNS");
    assert_eq!((edns.ttl, edns.options.len()), (0, 0), "unknown flags and options are ignored (RFC 6891)");
}

#[test]
fn an_unknown_version_is_badvers_and_a_bad_opt_a_format_error() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let (_registry, client) = stage.private_registry(&[]);
    let answer = client.ask(&service().edns(1232).edns_ttl(0x0001_0000));
    assert_eq!((answer.rcode(), answer.types()), (BADVERS, [vec![], vec![], vec![]]));
    assert_eq!(answer.message.edns.map(|edns| edns.ttl >> 16 & 0xff), Some(0), "the version that is spoken");
    let mut twice = service().edns(1232).bytes();
    twice[11] = 2;
    twice.extend_from_slice(&[0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]);
    let mut named = service().bytes();
    named[11] = 1;
    named.extend_from_slice(&[1, b'x', 0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]);
    let mut cut = service().edns(1232).option(1, b"four").bytes();
    cut.truncate(cut.len() - 1);
    let short_cookie = service().edns(1232).option(COOKIE, b"seven!!").bytes();
    for message in [twice, named, cut, short_cookie] {
        let answer = client.try_exchange(&message, super::stage::PATIENCE).expect("an answer");
        assert_eq!(answer[3] & 0xf, FORMERR as u8, "{message:02x?}");
    }
}

#[test]
fn a_cookie_proves_a_stranger_and_every_kind_of_answer_carries_one() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let (_registry, client) = stage.public_registry(&[]);
    let mine = *b"8 bytes!";
    let cookie_of = |query: Query| -> Vec<u8> {
        let answer = client.ask(&query);
        answer.message.option(COOKIE).unwrap_or_else(|| panic!("no cookie for {query:?}")).to_vec()
    };
    let full = cookie_of(service().edns(1232).option(COOKIE, &mine));
    assert_eq!((full.len(), &full[..8]), (24, &mine[..]));
    // Compressed for a stranger, whole for whoever has shown that the address is theirs.
    assert_eq!(client.ask(&service().edns(1232).option(COOKIE, &full)).len, 576 + 28);
    let mut forged = full.clone();
    forged[23] ^= 1;
    assert!(client.ask(&service().edns(1232).option(COOKIE, &forged)).len <= 4 * (113 + 28));
    let kinds = [
        Query::new("x.example.com.", A),
        Query::new("_wireguard._udp.example.com.", SRV),
        Query::new("x._wireguard._udp.example.com.", PTR),
        Query::new("example.org.", A),
        Query::new("example.com.", ANY),
    ];
    for query in kinds {
        assert_eq!(cookie_of(query.edns(1232).option(COOKIE, &full)), full);
    }
}
