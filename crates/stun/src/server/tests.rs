//! The server against requests of every kind.

use core::net::SocketAddr;

use pinhole_sansio::{Instant, Rng};

use super::accounts::Accounts;
use super::call::{CallRequest, CallResult, Protocol};
use super::limit::RateLimit;
use super::partner::PartnerKey;
use super::{CallPolicy, Clock, Config, Layout, Local, Reaction, SMALL, Second, Server, Silence};
use crate::behaviour::Change;
use crate::client::{CredentialKind, Credentials, Request, SocketId};
use crate::credentials::{Key, PasswordAlgorithm};
use crate::{
    AttributeType, Class, ErrorCode, Fingerprint, Integrity, Message, Method, TransactionId, Writer, address, client,
};
use pinhole_sansio::Machine as _;

const SOURCE: &str = "203.0.113.7:40000";
const A: &str = "192.0.2.1:3478";
const A2: &str = "192.0.2.1:3479";
const B: &str = "192.0.2.2:3478";
const B2: &str = "192.0.2.2:3479";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ms(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn layout(second: Second) -> Layout {
    Layout { ip: at(A).ip(), port: 3478, second_port: Some(3479), second }
}

fn here() -> Config {
    Config::new(layout(Second::Here(at(B).ip())))
}

fn server(config: Config) -> Server {
    Server::new(config, [9; 32], 1, Clock { at: Instant::EPOCH, unix_ms: 1_700_000_000_000 })
}

fn id() -> TransactionId {
    TransactionId::new(*b"transaction!")
}

/// A Binding request.
fn request(id: TransactionId, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = vec![0; 4_096];
    let mut writer = Writer::new(&mut out, Class::Request, Method::BINDING, id);
    fill(&mut writer);
    let len = writer.finish().unwrap();
    out[..len].to_vec()
}

/// What a server sends: from which of its addresses, to whom, what.
#[derive(Debug, PartialEq, Eq)]
struct Sent {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

fn ask_from(server: &mut Server, now: Instant, local: Local, source: &str, bytes: &[u8]) -> Result<Sent, Silence> {
    let mut out = [0xee; 65_536];
    match server.datagram(now, local, at(source), bytes, &mut out) {
        Reaction::Send { from, to, len, .. } => {
            Ok(Sent { from: server.config.layout.address(from), to, bytes: out[..len].to_vec() })
        }
        Reaction::Silence(silence) => Err(silence),
    }
}

fn ask(server: &mut Server, bytes: &[u8]) -> Result<Sent, Silence> {
    ask_from(server, ms(0), Local::FIRST, SOURCE, bytes)
}

/// An address in an answer.
fn found(sent: &Sent, kind: AttributeType) -> Option<SocketAddr> {
    let message = Message::read(&sent.bytes).unwrap();
    let value = message.value(kind)?;
    if kind == AttributeType::XOR_MAPPED_ADDRESS {
        return address::read_xor(value, &message.transaction_id());
    }
    address::read(value)
}

/// The code of an error.
fn code(sent: &Sent) -> u16 {
    let message = Message::read(&sent.bytes).unwrap();
    assert_eq!(message.class(), Class::Error);
    ErrorCode::read(message.value(AttributeType::ERROR_CODE).unwrap()).unwrap().code
}

fn change(change: Change) -> Vec<u8> {
    request(id(), |writer| {
        writer.attribute(AttributeType::CHANGE_REQUEST, &change.value());
    })
}

#[test]
fn a_plain_request_is_answered_with_the_asker_s_address() {
    let mut server = server(Config::new(Layout::single(at(A))));
    let sent = ask(&mut server, &request(id(), |_| {})).unwrap();
    assert_eq!((sent.from, sent.to, sent.bytes.len()), (at(A), at(SOURCE), 32));
    assert_eq!(found(&sent, AttributeType::XOR_MAPPED_ADDRESS), Some(at(SOURCE)));
    let message = Message::read(&sent.bytes).unwrap();
    assert_eq!((message.class(), message.transaction_id()), (Class::Success, id()));
}

#[test]
fn a_request_with_attributes_gets_what_a_plain_one_gets() {
    for config in [Config::new(Layout::single(at(A))), here()] {
        let mut server = server(config);
        let plain = ask(&mut server, &request(id(), |_| {})).unwrap();
        let software = request(id(), |writer| {
            writer.attribute(AttributeType::SOFTWARE, b"client");
        });
        assert_eq!(ask(&mut server, &software).unwrap(), plain);
        let signed = request(id(), |writer| {
            writer.fingerprint();
        });
        let signed = ask(&mut server, &signed).unwrap();
        assert_eq!(Message::read(&signed.bytes).unwrap().fingerprint(), Fingerprint::Right);
        assert_eq!(signed.bytes[20..plain.bytes.len()], plain.bytes[20..]);
    }
}

#[test]
fn a_change_request_is_answered_from_the_socket_it_asks_for() {
    let mut server = server(here());
    let all = [A, A2, B, B2];
    for (local, asked_at) in Local::ALL.into_iter().zip(all) {
        for (wanted, index) in [(Change::NONE, 0), (Change::PORT, 1), (Change::IP, 2), (Change::BOTH, 3)] {
            let sent = ask_from(&mut server, ms(0), local, SOURCE, &change(wanted)).unwrap();
            let from = at(all[local.index() ^ index]);
            assert_eq!((sent.from, sent.to), (from, at(SOURCE)), "{asked_at} {wanted:?}");
            assert_eq!(found(&sent, AttributeType::RESPONSE_ORIGIN), Some(from));
            assert_eq!(found(&sent, AttributeType::OTHER_ADDRESS), Some(at(all[local.index() ^ 3])));
            assert_eq!(found(&sent, AttributeType::MAPPED_ADDRESS), Some(at(SOURCE)));
            assert_eq!(found(&sent, AttributeType::XOR_MAPPED_ADDRESS), Some(at(SOURCE)));
        }
    }
}

#[test]
fn what_a_server_cannot_change_it_does_not_understand() {
    let two_ports = Layout { second_port: Some(3479), ..Layout::single(at(A)) };
    for (layout, wanted, from) in [
        (Layout::single(at(A)), Change::NONE, Some(A)),
        (Layout::single(at(A)), Change::PORT, None),
        (Layout::single(at(A)), Change::IP, None),
        (two_ports, Change::PORT, Some(A2)),
        (two_ports, Change::BOTH, None),
    ] {
        let mut server = server(Config::new(layout));
        let sent = ask(&mut server, &change(wanted)).unwrap();
        match from {
            Some(from) => assert_eq!(sent.from, at(from)),
            None => {
                assert_eq!((code(&sent), sent.from), (420, at(A)));
                let message = Message::read(&sent.bytes).unwrap();
                assert_eq!(message.value(AttributeType::UNKNOWN_ATTRIBUTES), Some(&[0, 3][..]));
            }
        }
        assert_eq!(found(&sent, AttributeType::OTHER_ADDRESS), None);
    }
}

#[test]
fn a_client_of_rfc_3489_is_answered_in_its_own_language() {
    let mut server = server(here());
    let legacy = TransactionId::legacy([7; 16]);
    let plain = request(legacy, |_| {});
    let sent = ask(&mut server, &plain).unwrap();
    let message = Message::read(&sent.bytes).unwrap();
    assert_eq!(message.transaction_id(), legacy);
    let kinds: Vec<_> = message.attributes().map(|attribute| attribute.kind).collect();
    assert_eq!(kinds, [AttributeType::MAPPED_ADDRESS, AttributeType::SOURCE_ADDRESS, AttributeType::CHANGED_ADDRESS]);
    assert_eq!(found(&sent, AttributeType::MAPPED_ADDRESS), Some(at(SOURCE)));
    assert_eq!(found(&sent, AttributeType::SOURCE_ADDRESS), Some(at(A)));
    assert_eq!(found(&sent, AttributeType::CHANGED_ADDRESS), Some(at(B2)));
    let both = request(legacy, |writer| {
        writer.attribute(AttributeType::CHANGE_REQUEST, &Change::BOTH.value());
    });
    let sent = ask(&mut server, &both).unwrap();
    assert_eq!((sent.from, found(&sent, AttributeType::SOURCE_ADDRESS)), (at(B2), Some(at(B2))));
    let mut modern = self::server(Config { legacy: false, ..here() });
    assert_eq!(ask(&mut modern, &plain), Err(Silence::Legacy));
}

#[test]
fn response_port_leads_to_another_port_of_the_asker_and_response_address_to_nobody_else() {
    let mut server = server(here());
    let with = |kind, value: &[u8]| {
        request(id(), |writer| {
            writer.attribute(kind, value);
        })
    };
    let sent = ask(&mut server, &with(AttributeType::RESPONSE_PORT, &[0x13, 0x88])).unwrap();
    assert_eq!((sent.to, sent.from), (at("203.0.113.7:5000"), at(A)));
    assert_eq!(found(&sent, AttributeType::XOR_MAPPED_ADDRESS), Some(at(SOURCE)));
    for bad in [&[0, 0][..], &[1], &[1, 2, 3]] {
        let sent = ask(&mut server, &with(AttributeType::RESPONSE_PORT, bad)).unwrap();
        assert_eq!((code(&sent), sent.to), (400, at(SOURCE)));
    }
    for (address, to, refused) in
        [("203.0.113.7:5000", "203.0.113.7:5000", false), ("203.0.113.8:5000", SOURCE, true), (A, SOURCE, true)]
    {
        let mut value = [0; address::MAX];
        let len = address::write(at(address), &mut value);
        let sent = ask(&mut server, &with(AttributeType::RESPONSE_ADDRESS, &value[..len])).unwrap();
        assert_eq!(sent.to, at(to));
        assert_eq!(Message::read(&sent.bytes).unwrap().class() == Class::Error, refused);
    }
}

#[test]
fn padding_is_answered_with_as_much_as_was_sent() {
    let mut server = server(here());
    for padding in [4, 40, 100, 500, 1_400] {
        let padded = request(id(), |writer| {
            writer.zeros(AttributeType::PADDING, padding);
        });
        let sent = ask(&mut server, &padded).unwrap();
        assert!(sent.bytes.len() <= padded.len().max(68), "{padding}: {} for {}", sent.bytes.len(), padded.len());
        if padding > 100 {
            assert_eq!(sent.bytes.len(), padded.len());
        }
    }
    let signed = request(id(), |writer| {
        writer.zeros(AttributeType::PADDING, 1_500).fingerprint();
    });
    let sent = ask(&mut server, &signed).unwrap();
    assert_eq!(sent.bytes.len(), signed.len(), "with what follows the padding");
    let mut small = [0; 1_000];
    let reaction = server.datagram(ms(0), Local::FIRST, at(SOURCE), &signed, &mut small);
    assert!(matches!(reaction, Reaction::Send { len: 1_000, .. }), "as much as there is room for: {reaction:?}");
    let both = request(id(), |writer| {
        writer.zeros(AttributeType::PADDING, 100).attribute(AttributeType::RESPONSE_PORT, &[0x13, 0x88]);
    });
    assert_eq!(code(&ask(&mut server, &both).unwrap()), 400);
}

#[test]
fn what_must_be_understood_and_is_not_is_named() {
    let mut server = server(here());
    let strange = request(id(), |writer| {
        writer
            .attribute(AttributeType(0x0024), &[0; 4])
            .attribute(AttributeType(0x8055), &[])
            .attribute(AttributeType(0x7fff), &[]);
    });
    let sent = ask(&mut server, &strange).unwrap();
    assert_eq!(code(&sent), 420);
    let message = Message::read(&sent.bytes).unwrap();
    assert_eq!(message.value(AttributeType::UNKNOWN_ATTRIBUTES), Some(&[0, 0x24, 0x7f, 0xff][..]));
}

#[test]
fn garbage_responses_and_other_methods_get_nothing() {
    let mut server = server(here());
    let typed = |class, method| {
        let mut out = [0; 20];
        Writer::new(&mut out, class, method, id()).finish().unwrap();
        out.to_vec()
    };
    let mut damaged = request(id(), |writer| {
        writer.fingerprint();
    });
    *damaged.last_mut().unwrap() ^= 1;
    for (bytes, silence) in [
        (vec![], Silence::Malformed),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Silence::Malformed),
        (vec![0; 1_200], Silence::Malformed),
        (request(id(), |_| {})[..19].to_vec(), Silence::Malformed),
        (typed(Class::Success, Method::BINDING), Silence::NotRequest),
        (typed(Class::Error, Method::BINDING), Silence::NotRequest),
        (typed(Class::Indication, Method::BINDING), Silence::NotRequest),
        (typed(Class::Request, Method(3)), Silence::Method),
        (typed(Class::Request, Method::SHARED_SECRET), Silence::Method),
        (damaged, Silence::Damaged),
    ] {
        assert_eq!(ask(&mut server, &bytes), Err(silence), "{bytes:?}");
    }
    let plain = request(id(), |_| {});
    assert_eq!(ask_from(&mut server, ms(0), Local::FIRST, "203.0.113.7:0", &plain), Err(Silence::Source));
}

#[test]
fn what_a_server_answers_another_does_not_answer() {
    let mut server = server(here());
    for bytes in [request(id(), |_| {}), change(Change::BOTH)] {
        let sent = ask(&mut server, &bytes).unwrap();
        assert_eq!(ask(&mut server, &sent.bytes), Err(Silence::NotRequest));
    }
}

#[test]
fn who_asks_too_often_gets_nothing_and_others_do() {
    let mut server = server(Config { limit: RateLimit { per_minute: 60, burst: 3 }, ..here() });
    let bytes = [request(id(), |_| {}), change(Change::BOTH)];
    for n in 0..3 {
        assert!(ask(&mut server, &bytes[n % 2]).is_ok());
    }
    assert_eq!(ask(&mut server, &bytes[0]), Err(Silence::Limited));
    assert_eq!(ask(&mut server, &bytes[1]), Err(Silence::Limited));
    assert!(ask_from(&mut server, ms(0), Local::FIRST, "203.0.113.8:40000", &bytes[0]).is_ok());
    assert!(ask_from(&mut server, ms(1_001), Local::FIRST, SOURCE, &bytes[0]).is_ok());
}

#[test]
fn a_flood_in_somebody_s_name_sends_him_a_fiftieth_of_it() {
    let mut server = server(here());
    let (mut bytes_in, mut bytes_out) = (0, 0);
    for n in 0..200_000_u64 {
        let bytes = if n % 2 == 0 { request(id(), |_| {}) } else { change(Change::BOTH) };
        bytes_in += bytes.len();
        // Twenty thousand a second, from any port: what is limited is the address.
        let source = format!("203.0.113.7:{}", 1 + n % 65_535);
        let sent = ask_from(&mut server, Instant::from_nanos(n * 50_000), Local::FIRST, &source, &bytes);
        bytes_out += sent.map_or(0, |sent| sent.bytes.len());
    }
    assert!(bytes_out > 0 && bytes_out * 50 < bytes_in, "{bytes_out} for {bytes_in}");
}

#[test]
fn nobody_gets_more_than_he_sent_or_a_small_answer() {
    let mut accounts = Accounts::new("a realm of twenty by").unwrap();
    accounts.add("ann", "secret");
    let calls = CallPolicy::Proven(RateLimit::NONE);
    let v6 = Layout {
        ip: "2001:db8::1".parse().unwrap(),
        port: 3478,
        second_port: Some(3479),
        second: Second::Here("2001:db8::2".parse().unwrap()),
    };
    let limit = RateLimit::NONE;
    let configs = [
        Config { limit, calls, ..here() },
        Config { limit, calls, ..Config::new(v6) },
        Config { limit, calls, accounts: Some(accounts), ..Config::new(v6) },
    ];
    for (at, config) in configs.into_iter().enumerate() {
        let mut server = server(config);
        for seed in 0..2_000 {
            let mut rng = Rng::from_seed(seed);
            let bytes = any_request(&mut rng);
            let source = if at == 0 { SOURCE } else { "[2001:db8:7::9]:40000" };
            let local = Local::ALL[rng.below(4) as usize];
            if let Ok(sent) = ask_from(&mut server, ms(0), local, source, &bytes) {
                let most = bytes.len().max(SMALL);
                assert!(sent.bytes.len() <= most, "seed {seed}: {} for {}", sent.bytes.len(), bytes.len());
                assert_eq!(sent.to.ip(), source.parse::<SocketAddr>().unwrap().ip(), "seed {seed}");
                assert!(Message::read(&sent.bytes).is_ok(), "seed {seed}");
            }
        }
    }
}

/// A request with any of the attributes a server looks at, right or wrong.
fn any_request(rng: &mut Rng) -> Vec<u8> {
    const KINDS: [AttributeType; 12] = [
        AttributeType::CHANGE_REQUEST,
        AttributeType::RESPONSE_PORT,
        AttributeType::RESPONSE_ADDRESS,
        AttributeType::PADDING,
        AttributeType::CALL_BACK,
        AttributeType::CALL_BACK_NONCE,
        AttributeType::USERNAME,
        AttributeType::REALM,
        AttributeType::NONCE,
        AttributeType::PASSWORD_ALGORITHM,
        AttributeType::SOFTWARE,
        AttributeType(0x0024),
    ];
    let id = if rng.chance(0.2) { TransactionId::legacy([5; 16]) } else { id() };
    let mut values: Vec<(AttributeType, Vec<u8>)> = Vec::new();
    for _ in 0..rng.below(6) {
        let kind = KINDS[rng.below(KINDS.len() as u64) as usize];
        let call = CallRequest { protocol: Protocol::Udp, change: Change::BOTH, port: 1, token: [1; 8] };
        let value = match rng.below(4) {
            0 => vec![rng.next_u64() as u8; rng.below(60) as usize],
            1 => call.value().to_vec(),
            _ => vec![0, 0, 0, rng.next_u64() as u8],
        };
        values.push((kind, value));
    }
    request(id, |writer| {
        for (kind, value) in &values {
            writer.attribute(*kind, value);
        }
        if rng.chance(0.2) {
            writer.integrity(&Key::short_term("secret"));
        }
        if rng.chance(0.2) {
            writer.fingerprint();
        }
    })
}

/// The client of this crate against the server, until it is done.
fn talk(server: &mut Server, request: Request) -> Result<Box<client::Answer>, client::Failure> {
    let mut asker = client::Client::new(5);
    let id = asker.ask(ms(0), request);
    for step in 1..100 {
        while let Some(output) = asker.poll_output() {
            match output {
                client::Output::Done { request, answer } if request == id => return answer,
                client::Output::Transmit { socket, bytes, .. } => {
                    if let Ok(sent) = ask(server, &bytes) {
                        let input = client::Input::Datagram { socket, from: sent.from, bytes: sent.bytes };
                        asker.handle_input(ms(step), input);
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        let at = asker.poll_timeout().unwrap().at;
        asker.handle_input(at, client::Input::Timeout);
    }
    panic!("no end");
}

#[test]
fn client_and_server_agree_on_long_term_credentials() {
    let mut accounts = Accounts::new("example.org").unwrap();
    accounts.add("bob", "hunter2");
    accounts.add("ann", "secret");
    let mut server = server(Config { accounts: Some(accounts), ..here() });
    for (name, password, right) in [("ann", "secret", true), ("ann", "Secret", false), ("eve", "secret", false)] {
        let credentials = Credentials { name: name.into(), password: password.into(), kind: CredentialKind::LongTerm };
        let request = Request { credentials: Some(credentials), ..Request::binding(at(A), SocketId(1)) };
        match talk(&mut server, request) {
            Ok(answer) => assert!(right && answer.is_authentic && answer.mapped == at(SOURCE)),
            Err(client::Failure::Refused { code: 401, .. }) => assert!(!right, "{name}"),
            Err(other) => panic!("{other:?}"),
        }
    }
    let refused = talk(&mut server, Request::binding(at(A), SocketId(1)));
    assert!(matches!(refused, Err(client::Failure::Refused { code: 401, .. })));
}

#[test]
fn a_client_of_rfc_5389_is_known_by_md5_and_its_nonce_gets_old() {
    let mut accounts = Accounts::new("example.org").unwrap();
    accounts.add("ann", "secret");
    let mut server = server(Config { accounts: Some(accounts), ..here() });
    let challenge = ask(&mut server, &request(id(), |_| {})).unwrap();
    assert_eq!(code(&challenge), 401);
    let nonce = Message::read(&challenge.bytes).unwrap().value(AttributeType::NONCE).unwrap().to_vec();
    let key = Key::long_term(PasswordAlgorithm::Md5, "ann", "example.org", "secret");
    let signed = |nonce: &[u8]| {
        request(id(), |writer| {
            writer
                .attribute(AttributeType::USERNAME, b"ann")
                .attribute(AttributeType::REALM, b"example.org")
                .attribute(AttributeType::NONCE, nonce)
                .integrity(&key);
        })
    };
    let sent = ask(&mut server, &signed(&nonce)).unwrap();
    let message = Message::read(&sent.bytes).unwrap();
    assert_eq!((message.class(), message.integrity(&key)), (Class::Success, Integrity::Right));
    let late = ask_from(&mut server, ms(601_000), Local::FIRST, SOURCE, &signed(&nonce)).unwrap();
    assert_eq!(code(&late), 438);
    let elsewhere = ask_from(&mut server, ms(0), Local::FIRST, "203.0.113.7:1", &signed(&nonce)).unwrap();
    assert_eq!(code(&elsewhere), 438, "a nonce is of one source");
    let bare = request(id(), |writer| {
        writer.attribute(AttributeType::USERNAME, b"ann").integrity(&key);
    });
    assert_eq!(code(&ask(&mut server, &bare).unwrap()), 400);
}

#[test]
fn two_hosts_are_one_server() {
    let key = PartnerKey::new("a key of enough bytes");
    let limit = RateLimit::NONE;
    let host_a = Config { partner: key.clone(), limit, ..Config::new(layout(Second::Partner(at(B).ip()))) };
    let layout_b = Layout { ip: at(B).ip(), second: Second::Partner(at(A).ip()), ..host_a.layout };
    let host_b = Config { partner: key, limit, ..Config::new(layout_b) };
    let (mut host_a, mut host_b) = (server(host_a), server(host_b));

    let near = ask(&mut host_a, &change(Change::PORT)).unwrap();
    assert_eq!((near.from, near.to), (at(A2), at(SOURCE)));

    for (wanted, from) in [(Change::IP, B), (Change::BOTH, B2)] {
        let order = ask(&mut host_a, &change(wanted)).unwrap();
        assert_eq!((order.from, order.to), (at(A), at(B)), "the partner is asked");
        let sent = ask_from(&mut host_b, ms(0), Local::FIRST, A, &order.bytes).unwrap();
        assert_eq!((sent.from, sent.to), (at(from), at(SOURCE)));
        assert_eq!(found(&sent, AttributeType::XOR_MAPPED_ADDRESS), Some(at(SOURCE)));
        assert_eq!(found(&sent, AttributeType::RESPONSE_ORIGIN), Some(at(from)));
        assert_eq!(found(&sent, AttributeType::OTHER_ADDRESS), Some(at(B2)));

        let mut again = |source, now, bytes: &[u8]| ask_from(&mut host_b, now, Local::FIRST, source, bytes);
        assert_eq!(again(A, ms(1), &order.bytes), Err(Silence::Partner), "once");
        assert_eq!(again(SOURCE, ms(1), &order.bytes), Err(Silence::NotRequest), "only from the partner");
        for bit in 0..order.bytes.len() * 8 {
            let mut forged = order.bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(again(A, ms(1), &forged).is_err(), "bit {bit}");
        }
    }
    let old = ask(&mut host_a, &change(Change::IP)).unwrap();
    assert_eq!(ask_from(&mut host_b, ms(30_001), Local::FIRST, A, &old.bytes), Err(Silence::Partner), "late");
    // Orders may overtake one another.
    let orders: Vec<Sent> = (0..10).map(|_| ask(&mut host_a, &change(Change::IP)).unwrap()).collect();
    for order in orders.iter().rev() {
        assert!(ask_from(&mut host_b, ms(2), Local::FIRST, A, &order.bytes).is_ok());
    }
}

#[test]
fn padding_of_an_answer_that_a_partner_sends_is_cut_to_what_an_order_carries() {
    let config = |ip: &str, partner: &str| {
        let layout = Layout { ip: at(ip).ip(), ..layout(Second::Partner(at(partner).ip())) };
        Config { partner: PartnerKey::new("a key of enough bytes"), ..Config::new(layout) }
    };
    let (mut host_a, mut host_b) = (server(config(A, B)), server(config(B, A)));
    for padding in [100, 900, 1_000, 1_400] {
        let padded = request(id(), |writer| {
            writer.attribute(AttributeType::CHANGE_REQUEST, &Change::BOTH.value());
            writer.zeros(AttributeType::PADDING, padding);
        });
        let order = ask(&mut host_a, &padded).unwrap();
        let sent = ask_from(&mut host_b, ms(0), Local::FIRST, A, &order.bytes).unwrap();
        assert_eq!(sent.to, at(SOURCE), "{padding}");
        assert!(sent.bytes.len() >= usize::from(padding).min(1_000), "{padding}: {}", sent.bytes.len());
        assert!(sent.bytes.len() <= padded.len().min(1_024), "{padding}: {}", sent.bytes.len());
    }
}

#[test]
fn a_partner_with_another_key_is_not_obeyed() {
    let with = |text: &str, layout| server(Config { partner: PartnerKey::new(text), ..Config::new(layout) });
    let layout_a = layout(Second::Partner(at(B).ip()));
    let layout_b = Layout { ip: at(B).ip(), second: Second::Partner(at(A).ip()), ..layout_a };
    let mut host_a = with("the key of host one", layout_a);
    let mut host_b = with("the key of host two", layout_b);
    let order = ask(&mut host_a, &change(Change::IP)).unwrap();
    assert_eq!(ask_from(&mut host_b, ms(0), Local::FIRST, A, &order.bytes), Err(Silence::Partner));
    assert!(PartnerKey::new("short").is_none());
}

/// A request for a call, with this nonce.
fn call_me(request_: CallRequest, nonce: Option<&[u8]>) -> Vec<u8> {
    request(id(), |writer| {
        writer.attribute(AttributeType::CALL_BACK, &request_.value());
        if let Some(nonce) = nonce {
            writer.attribute(AttributeType::CALL_BACK_NONCE, nonce);
        }
    })
}

#[test]
fn an_asker_is_called_who_has_shown_that_the_address_is_his() {
    let calls = CallPolicy::Proven(RateLimit { per_minute: 1, burst: 1 });
    let mut server = server(Config { calls, ..here() });
    let wanted = CallRequest { protocol: Protocol::Udp, change: Change::BOTH, port: 51_820, token: *b"12345678" };
    let mut out = [0; 2_048];
    let mut ask = |source: &str, bytes: &[u8]| match server.datagram(ms(0), Local::FIRST, at(source), bytes, &mut out) {
        Reaction::Send { len, call, .. } => {
            let message = Message::read(&out[..len]).unwrap();
            let result = CallResult::read(message.value(AttributeType::CALL_BACK_RESULT).unwrap()).unwrap().0;
            (result, message.value(AttributeType::CALL_BACK_NONCE).map(<[u8]>::to_vec), call)
        }
        Reaction::Silence(silence) => panic!("{silence:?}"),
    };
    let (result, nonce, call) = ask(SOURCE, &call_me(wanted, None));
    assert_eq!((result, call), (CallResult::NonceWanted, None));
    let nonce = nonce.unwrap();
    let (result, _, call) = ask("203.0.113.8:40000", &call_me(wanted, Some(&nonce)));
    assert_eq!((result, call), (CallResult::NonceWanted, None), "somebody else's nonce");
    let (result, _, call) = ask(SOURCE, &call_me(wanted, Some(&nonce)));
    let call = call.unwrap();
    assert_eq!((result, call.asker, call.request), (CallResult::Calling, at(SOURCE), wanted));
    assert_eq!(call.from, Local::FIRST.changed(Change::BOTH));
    let (result, _, call) = ask(SOURCE, &call_me(wanted, Some(&nonce)));
    assert_eq!((result, call), (CallResult::TooOften, None));
}

#[test]
fn a_server_that_calls_nobody_says_so() {
    let mut server = server(here());
    let wanted = CallRequest { protocol: Protocol::Tcp, change: Change::NONE, port: 80, token: [0; 8] };
    let sent = ask(&mut server, &call_me(wanted, None)).unwrap();
    let message = Message::read(&sent.bytes).unwrap();
    let result = CallResult::read(message.value(AttributeType::CALL_BACK_RESULT).unwrap());
    assert_eq!(result.map(|(result, ..)| result), Some(CallResult::NotOffered));
}

#[test]
fn a_connection_proves_its_source_and_has_one_way_back() {
    let calls = CallPolicy::Proven(RateLimit::CALLS);
    let mut server = server(Config { calls, ..here() });
    let mut out = [0; 2_048];
    let wanted = CallRequest { protocol: Protocol::Tcp, change: Change::NONE, port: 80, token: [0; 8] };
    let reaction = server.message(ms(0), Local::FIRST, at(SOURCE), &call_me(wanted, None), &mut out);
    assert!(matches!(reaction, Reaction::Send { call: Some(_), .. }), "{reaction:?}");
    let reaction = server.message(ms(0), Local::FIRST, at(SOURCE), &change(Change::PORT), &mut out);
    let Reaction::Send { from, to, len, call: None } = reaction else { panic!("{reaction:?}") };
    let sent = Sent { from: at(A), to, bytes: out[..len].to_vec() };
    assert_eq!((from, to, code(&sent)), (Local::FIRST, at(SOURCE), 400));
}

#[test]
fn no_bytes_make_it_panic() {
    let mut accounts = Accounts::new("r").unwrap();
    accounts.add("u", "p");
    let calls = CallPolicy::Proven(RateLimit::NONE);
    let limit = RateLimit::NONE;
    let partner = PartnerKey::new("a key of enough bytes");
    let with_partner = Config { partner, limit, calls, ..Config::new(layout(Second::Partner(at(B).ip()))) };
    let with_accounts = Config { accounts: Some(accounts), limit, calls, ..here() };
    for config in [with_partner, with_accounts] {
        let mut server = server(config);
        for seed in 0..5_000 {
            let mut rng = Rng::from_seed(seed);
            let mut bytes = any_request(&mut rng);
            for _ in 0..rng.below(4) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = rng.next_u64() as u8;
            }
            bytes.truncate(rng.below(bytes.len() as u64 + 40) as usize);
            let source = if rng.chance(0.5) { SOURCE } else { B };
            let mut out = vec![0; rng.below(300) as usize];
            let _ = server.datagram(ms(seed), Local::FIRST, at(source), &bytes, &mut out);
            let _ = server.message(ms(seed), Local::FIRST, at(source), &bytes, &mut out);
        }
    }
}
