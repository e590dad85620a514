//! The server on loopback, where 127.0.0.0/8 has all the addresses one may want.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use pinhole_stun::behaviour::Change;
use pinhole_stun::server::call::{CallRequest, CallResult, Protocol};
use pinhole_stun::server::limit::RateLimit;
use pinhole_stun::server::partner::PartnerKey;
use pinhole_stun::server::{CallPolicy, Layout};
use pinhole_stun::{AttributeType, Class, Message, Method, TransactionId, Writer, address};

use super::{Config, Counter, SecondIp, Server, Site};

/// How long something that must come may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long nothing is waited for.
const SILENCE: Duration = Duration::from_millis(200);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn site(first: &str, second_ip: SecondIp) -> Site {
    Site { ip: ip(first), port: 0, second_port: Some(0), second_ip, public: [None; 2] }
}

fn config(sites: Vec<Site>) -> Config {
    Config { shards: 2, limit: RateLimit::NONE, ..Config::new(sites, [5; 32]) }
}

fn request(fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = vec![0; 2_000];
    let mut writer = Writer::new(&mut out, Class::Request, Method::BINDING, TransactionId::new([7; 12]));
    fill(&mut writer);
    let len = writer.finish().unwrap();
    out[..len].to_vec()
}

fn changed(change: Change) -> Vec<u8> {
    request(|writer| {
        writer.attribute(AttributeType::CHANGE_REQUEST, &change.value());
    })
}

/// A client's socket at an address that only it has.
fn socket(at: &str) -> UdpSocket {
    let socket = UdpSocket::bind((at, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> (SocketAddr, Vec<u8>) {
    let mut bytes = vec![0; 2_000];
    let (len, from) = socket.recv_from(&mut bytes).expect("an answer");
    bytes.truncate(len);
    (from, bytes)
}

fn ask(socket: &UdpSocket, server: SocketAddr, bytes: &[u8]) -> (SocketAddr, Vec<u8>) {
    socket.send_to(bytes, server).unwrap();
    receive(socket)
}

fn mapped(bytes: &[u8]) -> SocketAddr {
    let message = Message::read(bytes).unwrap();
    let value = message.value(AttributeType::XOR_MAPPED_ADDRESS).unwrap();
    address::read_xor(value, &message.transaction_id()).unwrap()
}

fn plain(bytes: &[u8], kind: AttributeType) -> SocketAddr {
    address::read(Message::read(bytes).unwrap().value(kind).unwrap()).unwrap()
}

#[tokio::test]
async fn answers_come_from_the_address_and_port_that_were_asked_for() {
    let server = Server::bind(&config(vec![site("127.0.11.1", SecondIp::Here(ip("127.0.11.2")))])).unwrap();
    let layout = server.layouts()[0];
    let [p, q] = [layout.port, layout.second_port.unwrap()];
    assert_ne!(p, q);
    let client = socket("127.0.11.9");
    let at = |text: &str, port| SocketAddr::new(ip(text), port);
    for (asked, other) in [(at("127.0.11.1", p), at("127.0.11.2", q)), (at("127.0.11.2", q), at("127.0.11.1", p))] {
        for change in [Change::NONE, Change::PORT, Change::IP, Change::BOTH] {
            let (from, bytes) = ask(&client, asked, &changed(change));
            let expected = SocketAddr::new(
                if change.ip { other.ip() } else { asked.ip() },
                if change.port { other.port() } else { asked.port() },
            );
            assert_eq!((from, mapped(&bytes)), (expected, client.local_addr().unwrap()));
            assert_eq!(plain(&bytes, AttributeType::RESPONSE_ORIGIN), expected);
            assert_eq!(plain(&bytes, AttributeType::OTHER_ADDRESS), other);
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn an_answer_may_go_to_another_port_of_the_asker() {
    let server = Server::bind(&config(vec![site("127.0.12.1", SecondIp::Missing)])).unwrap();
    let (client, listener) = (socket("127.0.12.9"), socket("127.0.12.9"));
    let port = listener.local_addr().unwrap().port();
    let bytes = request(|writer| {
        writer.attribute(AttributeType::RESPONSE_PORT, &port.to_be_bytes());
    });
    client.send_to(&bytes, server.addresses()[0]).unwrap();
    let (from, bytes) = receive(&listener);
    assert_eq!((from, mapped(&bytes)), (server.addresses()[0], client.local_addr().unwrap()));
}

#[tokio::test]
async fn the_wildcard_answers_from_the_address_that_was_asked() {
    let server = Server::bind(&config(vec![site("0.0.0.0", SecondIp::Missing)])).unwrap();
    let layout = server.layouts()[0];
    let client = socket("127.0.13.9");
    for asked in ["127.0.13.1", "127.0.13.2"] {
        for (change, port) in [(Change::NONE, layout.port), (Change::PORT, layout.second_port.unwrap())] {
            let (from, bytes) = ask(&client, SocketAddr::new(ip(asked), layout.port), &changed(change));
            assert_eq!((from, mapped(&bytes)), (SocketAddr::new(ip(asked), port), client.local_addr().unwrap()));
        }
    }
}

#[tokio::test]
async fn two_hosts_answer_for_each_other() {
    let key = PartnerKey::new("a key of enough bytes");
    let with = |sites| Config { partner: key.clone(), ..config(sites) };
    let first = Server::bind(&with(vec![site("127.0.14.1", SecondIp::Partner(ip("127.0.14.2")))])).unwrap();
    let layout = first.layouts()[0];
    let second = Site {
        port: layout.port,
        second_port: layout.second_port,
        ..site("127.0.14.2", SecondIp::Partner(ip("127.0.14.1")))
    };
    let second = Server::bind(&with(vec![second])).unwrap();
    let client = socket("127.0.14.9");
    let at = |text: &str, port| SocketAddr::new(ip(text), port);
    let (p, q) = (layout.port, layout.second_port.unwrap());
    for (asked, change, from) in [
        (at("127.0.14.1", p), Change::IP, at("127.0.14.2", p)),
        (at("127.0.14.1", p), Change::BOTH, at("127.0.14.2", q)),
        (at("127.0.14.2", q), Change::BOTH, at("127.0.14.1", p)),
        (at("127.0.14.1", p), Change::PORT, at("127.0.14.1", q)),
    ] {
        let (found, bytes) = ask(&client, asked, &changed(change));
        assert_eq!((found, mapped(&bytes)), (from, client.local_addr().unwrap()), "{asked} {change:?}");
    }
    assert!(second.counters().of(Counter::Partner) >= 2);
}

#[tokio::test]
async fn garbage_is_not_answered_and_is_counted() {
    let server = Server::bind(&config(vec![site("127.0.15.1", SecondIp::Missing)])).unwrap();
    let client = socket("127.0.15.9");
    client.set_read_timeout(Some(SILENCE)).unwrap();
    for bytes in [&b""[..], b"x", &[0; 20], &[0xff; 1_500], &request(|_| {})[..19]] {
        client.send_to(bytes, server.addresses()[0]).unwrap();
    }
    assert!(client.recv_from(&mut [0; 100]).is_err(), "nothing comes");
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    ask(&client, server.addresses()[0], &request(|_| {}));
    let counted = server.counters();
    assert_eq!(counted.of(Counter::Malformed), 4, "{counted:?}");
    assert_eq!(
        (counted.of(Counter::NotRequest), counted.of(Counter::Sent)),
        (1, 1),
        "twenty zeros are a request for nothing"
    );
}

#[tokio::test]
async fn a_connection_is_answered_for_as_long_as_it_stays() {
    let server = Server::bind(&config(vec![site("127.0.16.1", SecondIp::Missing)])).unwrap();
    let address = server.addresses()[0];
    tokio::task::spawn_blocking(move || talk_by_a_connection(address)).await.unwrap();
    server.stop().await;
}

fn talk_by_a_connection(server: SocketAddr) {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let local = stream.local_addr().unwrap();
    let read = |stream: &mut TcpStream| {
        let mut bytes = [0; 32];
        stream.read_exact(&mut bytes).unwrap();
        mapped(&bytes)
    };
    for _ in 0..3 {
        stream.write_all(&request(|_| {})).unwrap();
        assert_eq!(read(&mut stream), local);
    }
    // Two at once, in pieces.
    let two = [request(|_| {}), request(|_| {})].concat();
    for piece in two.chunks(7) {
        stream.write_all(piece).unwrap();
    }
    assert_eq!([read(&mut stream), read(&mut stream)], [local; 2]);
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0, "what is no STUN ends it");
}

/// Asks to be called, with the nonce if one is wanted; how the last answer ended.
fn call_me(client: &UdpSocket, server: SocketAddr, wanted: CallRequest) -> CallResult {
    let mut nonce = None::<Vec<u8>>;
    for _ in 0..2 {
        let bytes = request(|writer| {
            writer.attribute(AttributeType::CALL_BACK, &wanted.value());
            if let Some(nonce) = &nonce {
                writer.attribute(AttributeType::CALL_BACK_NONCE, nonce);
            }
        });
        let (_, bytes) = ask(client, server, &bytes);
        let message = Message::read(&bytes).unwrap();
        nonce = message.value(AttributeType::CALL_BACK_NONCE).map(<[u8]>::to_vec);
        if nonce.is_none() {
            return CallResult::read(message.value(AttributeType::CALL_BACK_RESULT).unwrap()).unwrap().0;
        }
    }
    panic!("two nonces");
}

#[tokio::test]
async fn who_asks_is_called_back() {
    let calls = CallPolicy::Proven(RateLimit { per_minute: 1, burst: 3 });
    let site = site("127.0.17.1", SecondIp::Here(ip("127.0.17.2")));
    let server = Server::bind(&Config { calls, ..config(vec![site]) }).unwrap();
    let (address, layout) = (server.addresses()[0], server.layouts()[0]);
    tokio::task::spawn_blocking(move || be_called(address, layout)).await.unwrap();
    server.stop().await;
}

fn be_called(server: SocketAddr, layout: Layout) {
    let (client, udp) = (socket("127.0.17.9"), socket("127.0.17.9"));

    let request = CallRequest {
        protocol: Protocol::Udp,
        change: Change::BOTH,
        port: udp.local_addr().unwrap().port(),
        token: *b"a token!",
    };
    assert_eq!(call_me(&client, server, request), CallResult::Calling);
    let (from, bytes) = receive(&udp);
    assert_eq!(from, SocketAddr::new(ip("127.0.17.2"), layout.second_port.unwrap()));
    let message = Message::read(&bytes).unwrap();
    assert_eq!(message.value(AttributeType::CALL_BACK), Some(&request.value()[..]));

    let tcp = TcpListener::bind("127.0.17.9:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let request = CallRequest { protocol: Protocol::Tcp, change: Change::IP, port, ..request };
    assert_eq!(call_me(&client, server, request), CallResult::Calling);
    let (mut stream, from) = tcp.accept().unwrap();
    assert_eq!(from.ip(), ip("127.0.17.2"));
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(Message::read(&bytes).unwrap().value(AttributeType::CALL_BACK), Some(&request.value()[..]));
    let told = |client: &UdpSocket| {
        let (_, bytes) = receive(client);
        CallResult::read(Message::read(&bytes).unwrap().value(AttributeType::CALL_BACK_RESULT).unwrap()).unwrap().0
    };
    assert_eq!(told(&client), CallResult::Connected);

    drop((tcp, stream));
    assert_eq!(call_me(&client, server, request), CallResult::Calling);
    assert_eq!(told(&client), CallResult::Refused);
    assert_eq!(call_me(&client, server, request), CallResult::TooOften);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = UdpSocket::bind("127.0.18.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Server::bind(&config(vec![Site::from(address)])).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&address.to_string()) && text.contains("another program has the port"), "{text}");
    let error = Server::bind(&config(vec![Site::from("192.0.2.1:0".parse::<SocketAddr>().unwrap())])).unwrap_err();
    assert!(error.to_string().contains("no interface of this host has 192.0.2.1"), "{error}");
}
