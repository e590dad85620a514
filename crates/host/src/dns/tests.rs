//! The server and the resolver on loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use pinhole_dns::answers::{Answers, Transport};
use pinhole_dns::client::{self, Ask, Failure, Schedule};
use pinhole_dns::message::{Edns, Header, Message, Question};
use pinhole_dns::policy::{Access, RateLimit};
use pinhole_dns::zone::Zone;
use pinhole_dns::{Name, RData, Rcode, Type};

use super::{Config, Counter, Exchanger, Listen, Resolver, Server, SlowReason};

/// A bound for what must happen: far beyond what it takes.
const PATIENCE: Duration = Duration::from_secs(10);

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// A zone `z` in which `a.z` has this address and `many.z` enough of them to be truncated.
fn answers(last: u8) -> Arc<Answers> {
    let origin = name("z");
    let mut zone = Zone::new(origin.clone(), Zone::soa_for(&origin, u32::from(last)), 5);
    zone.add(name("a.z"), 0, RData::A([192, 0, 2, last].into())).unwrap();
    for index in 0..=255 {
        zone.add(name("many.z"), 0, RData::A([10, 0, 0, index].into())).unwrap();
    }
    Arc::new(Answers::compile(&[zone]).escalating(65_001))
}

fn query(owner: &str, option: Option<u16>) -> Vec<u8> {
    let question = Question { name: name(owner), qtype: Type::A, qclass: 1 };
    let edns = option.map(|code| Edns { udp_size: 1232, ttl: 0, options: vec![(code, b"?".to_vec())] });
    Message { header: Header { id: 77, ..Header::default() }, questions: vec![question], edns, ..Message::default() }
        .encode()
}

fn listen(address: &str) -> Vec<Listen> {
    vec![Listen::from(address.parse::<SocketAddr>().unwrap())]
}

/// Asks by UDP; `None` if there is no answer after a while.
fn ask_udp(server: SocketAddr, query: &[u8]) -> Option<Message> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    // Connected: an answer from another address than the one asked does not arrive.
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send(query).unwrap();
    let mut buffer = [0; 2_000];
    let len = socket.recv(&mut buffer).ok()?;
    Some(Message::decode(&buffer[..len]).unwrap())
}

fn address_of(message: &Message) -> u8 {
    let RData::A(address) = message.answers[0].data else { panic!("{message:?}") };
    address.octets()[3]
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::time::timeout(PATIENCE * 2, tokio::task::spawn_blocking(work)).await.expect("in time").unwrap()
}

#[tokio::test]
async fn what_was_published_last_is_answered_from_every_address_that_was_asked() {
    let listen = [listen("127.0.0.1:0"), listen("0.0.0.0:0"), listen("[::1]:0"), listen("[::]:0")].concat();
    let config = Config { listen, shards: 2, ..Config::default() };
    let (server, _slow) = Server::bind(config, answers(1)).unwrap();
    let port = |index: usize| server.addresses()[index].port();
    // 127.0.0.9 is asked through the wildcard: the answer must come from there and not from 127.0.0.1.
    let asked: Vec<SocketAddr> = vec![
        ([127, 0, 0, 1], port(0)).into(),
        ([127, 0, 0, 9], port(1)).into(),
        SocketAddr::new("::1".parse().unwrap(), port(2)),
        SocketAddr::new("::1".parse().unwrap(), port(3)),
    ];
    for last in [1, 2] {
        server.publish(answers(last));
        for &address in &asked {
            let message = blocking(move || ask_udp(address, &query("a.z", None))).await.expect("an answer");
            assert_eq!(address_of(&message), last, "{address}");
        }
    }
    let counters = server.counters();
    assert_eq!((counters.of(Counter::UdpReceived), counters.of(Counter::Replied)), (8, 8));
    tokio::time::timeout(PATIENCE, server.stop()).await.expect("a stop");
}

#[tokio::test]
async fn many_queries_at_once_are_all_answered() {
    let config = Config { listen: listen("127.0.0.1:0"), shards: 1, ..Config::default() };
    let (server, _slow) = Server::bind(config, answers(1)).unwrap();
    let address = server.addresses()[0];
    let seen = blocking(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        for id in 0..200u16 {
            let mut query = query(if id % 2 == 0 { "a.z" } else { "none.z" }, None);
            query[..2].copy_from_slice(&id.to_be_bytes());
            socket.send_to(&query, address).unwrap();
        }
        let mut seen = std::collections::BTreeSet::new();
        let mut buffer = [0; 2_000];
        while seen.len() < 200 {
            let (len, _) = socket.recv_from(&mut buffer).unwrap();
            let message = Message::decode(&buffer[..len]).unwrap();
            let expected = if message.header.id.is_multiple_of(2) { Rcode::NOERROR } else { Rcode::NXDOMAIN };
            assert_eq!(message.rcode(), expected);
            seen.insert(message.header.id);
        }
        seen.len()
    })
    .await;
    assert_eq!(seen, 200);
    assert_eq!(server.counters().of(Counter::NxDomain), 100);
}

#[tokio::test]
async fn tcp_answers_queries_in_a_row_and_in_pieces() {
    let config = Config { listen: listen("127.0.0.1:0"), shards: 1, ..Config::default() };
    let (server, _slow) = Server::bind(config, answers(1)).unwrap();
    let address = server.addresses()[0];
    let framed = |owner: &str| {
        let query = query(owner, None);
        [&(query.len() as u16).to_be_bytes()[..], &query].concat()
    };
    let bytes = [framed("many.z"), framed("a.z"), framed("none.z")].concat();
    let got = blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        bytes.chunks(7).for_each(|piece| stream.write_all(piece).unwrap());
        let mut read = || {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut message).unwrap();
            Message::decode(&message).unwrap()
        };
        [read(), read(), read()].map(|message| (message.answers.len(), message.rcode(), message.header.has(Header::TC)))
    })
    .await;
    assert_eq!(got, [(256, Rcode::NOERROR, false), (1, Rcode::NOERROR, false), (0, Rcode::NXDOMAIN, false)]);
}

#[tokio::test]
async fn connections_are_bounded_and_closed_by_a_stop() {
    let config = Config { listen: listen("127.0.0.1:0"), shards: 1, connections: 1, ..Config::default() };
    let (server, _slow) = Server::bind(config, answers(1)).unwrap();
    let address = server.addresses()[0];
    let (held, refused) = blocking(move || {
        let held = TcpStream::connect(address).unwrap();
        let mut second = TcpStream::connect(address).unwrap();
        second.set_read_timeout(Some(PATIENCE)).unwrap();
        (held, second.read(&mut [0; 1]).unwrap_or(0))
    })
    .await;
    assert_eq!(refused, 0, "the second connection is closed");
    assert_eq!(server.counters().of(Counter::ConnectionsRefused), 1);
    tokio::time::timeout(PATIENCE, server.stop()).await.expect("a stop");
    let ended = blocking(move || {
        held.set_read_timeout(Some(PATIENCE)).unwrap();
        (&held).read(&mut [0; 1]).unwrap_or(0)
    })
    .await;
    assert_eq!(ended, 0);
}

#[tokio::test]
async fn a_slow_query_is_answered_by_the_owner_by_either_transport() {
    for address in ["127.0.0.1:0", "0.0.0.0:0"] {
        let config = Config { listen: listen(address), shards: 1, slow_on_miss: true, ..Config::default() };
        let (server, mut slow) = Server::bind(config, answers(1)).unwrap();
        let at: SocketAddr = ([127, 0, 0, 3], server.addresses()[0].port()).into();
        let at = if address.starts_with("127") { server.addresses()[0] } else { at };
        let owner = tokio::spawn(async move {
            let mut seen = Vec::new();
            while let Some(query) = slow.recv().await {
                seen.push((query.reason, query.transport, query.local, query.verified));
                query.answer(&answers(9), Some((65_001, b"hello")));
                if seen.len() == 3 {
                    break;
                }
            }
            seen
        });
        let (escalated, miss) = blocking(move || {
            (ask_udp(at, &query("a.z", Some(65_001))).unwrap(), ask_udp(at, &query("none.z", None)).unwrap())
        })
        .await;
        assert_eq!((address_of(&escalated), escalated.option(65_001)), (9, Some(&b"hello"[..])));
        assert_eq!(miss.rcode(), Rcode::NXDOMAIN);
        let by_tcp = blocking(move || {
            let mut stream = TcpStream::connect(at).unwrap();
            let query = query("a.z", Some(65_001));
            stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], &query].concat()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut message).unwrap();
            Message::decode(&message).unwrap()
        })
        .await;
        assert_eq!(address_of(&by_tcp), 9);
        let seen = owner.await.unwrap();
        assert_eq!(
            seen,
            [
                (SlowReason::Escalated, Transport::Udp, at, true),
                (SlowReason::Miss, Transport::Udp, at, true),
                (SlowReason::Escalated, Transport::Tcp, at, true),
            ]
        );
    }
}

#[tokio::test]
async fn without_an_owner_who_answers_the_data_does() {
    let config = Config { listen: listen("127.0.0.1:0"), shards: 1, slow_queue: 1, ..Config::default() };
    let (server, slow) = Server::bind(config, answers(1)).unwrap();
    let address = server.addresses()[0];
    // The first fills the channel and waits in it; the second finds it full; dropping the channel answers the first.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(&query("a.z", Some(65_001)), address).unwrap();
    let second = blocking(move || ask_udp(address, &query("a.z", Some(65_001)))).await.expect("an answer");
    assert_eq!(address_of(&second), 1);
    drop(slow);
    let first = blocking(move || socket.recv(&mut [0; 2_000]).unwrap()).await;
    assert!(first > 12);
    let counters = server.counters();
    assert_eq!((counters.of(Counter::Slow), counters.of(Counter::SlowFull)), (1, 1));
}

#[tokio::test]
async fn access_and_garbage_are_counted_and_answered_as_they_deserve() {
    let mut config = Config { listen: listen("0.0.0.0:0"), shards: 1, ..Config::default() };
    config.access.rules =
        vec![("127.0.0.2/32".parse().unwrap(), Access::Refuse), ("127.0.0.3/32".parse().unwrap(), Access::Drop)];
    let (server, _slow) = Server::bind(config, answers(1)).unwrap();
    let port = server.addresses()[0].port();
    let refused = blocking(move || {
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        for source in ["127.0.0.3:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.2:0"] {
            let socket = UdpSocket::bind(source).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut response = query("a.z", None);
            response[2] |= 0x80;
            match source {
                "127.0.0.1:0" => drop((socket.send_to(&[1, 2, 3], to), socket.send_to(&response, to))),
                _ => drop(socket.send_to(&query("a.z", None), to)),
            }
            if source == "127.0.0.2:0" {
                let mut buffer = [0; 512];
                let len = socket.recv(&mut buffer).unwrap();
                return Message::decode(&buffer[..len]).unwrap().rcode();
            }
        }
        unreachable!()
    })
    .await;
    assert_eq!(refused, Rcode::REFUSED);
    // One socket and one thread: what was sent before the answered query has been seen.
    let counters = server.counters();
    let counted = [Counter::DropAccess, Counter::DropShort, Counter::DropResponse, Counter::Refused];
    assert_eq!(counted.map(|counter| counters.of(counter)), [1, 2, 2, 1]);
}

#[tokio::test]
async fn a_taken_port_is_named_with_what_to_do() {
    let config = |address: SocketAddr| Config { listen: vec![address.into()], shards: 2, ..Config::default() };
    let (server, _slow) = Server::bind(config("127.0.0.1:0".parse().unwrap()), answers(1)).unwrap();
    let address = server.addresses()[0];
    let error = Server::bind(config(address), answers(1)).unwrap_err().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("ss -lnup"), "{error}");
    server.stop().await;
    let again = Server::bind(config(address), answers(1));
    assert!(again.is_ok(), "a stopped server leaves its port: {again:?}");
    let error = Server::bind(config("203.0.113.77:5399".parse().unwrap()), answers(1)).unwrap_err().to_string();
    assert!(error.contains("no interface"), "{error}");
}

#[tokio::test]
async fn a_stop_leaves_no_descriptor_open() {
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    // Other tests run beside this one, and end: only a growth that repeats with each round, and stays, counts.
    let start = count();
    for _ in 0..50 {
        let config = Config { listen: listen("127.0.0.1:0"), shards: 2, ..Config::default() };
        let (server, _slow) = Server::bind(config, answers(1)).unwrap();
        tokio::time::timeout(PATIENCE, server.stop()).await.expect("a stop");
    }
    let begun = std::time::Instant::now();
    while count() >= start + 50 {
        assert!(begun.elapsed() < PATIENCE * 3, "{} descriptors, {start} before", count());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn resolver(schedule: Schedule) -> Resolver {
    Resolver::new(client::Config { schedule, ..client::Config::default() }, 7)
}

fn ask(owner: &str, servers: &[SocketAddr]) -> Ask {
    Ask { name: name(owner), qtype: Type::A, options: Vec::new(), servers: servers.to_vec(), schedule: None }
}

#[tokio::test]
async fn the_resolver_gets_answers_by_udp_and_truncated_ones_by_tcp() {
    let config = Config { listen: [listen("127.0.0.1:0"), listen("[::1]:0")].concat(), shards: 1, ..Config::default() };
    let (server, _slow) = Server::bind(config, answers(5)).unwrap();
    let mut resolver = resolver(Schedule::CONVENTIONAL);
    for address in server.addresses() {
        let message = resolver.ask(ask("a.z", &[*address])).await.unwrap();
        assert_eq!(address_of(&message), 5);
        let message = resolver.ask(ask("many.z", &[*address])).await.unwrap();
        assert_eq!((message.answers.len(), message.header.has(Header::TC)), (256, false));
        assert_eq!(resolver.ask(ask("none.z", &[*address])).await.unwrap().rcode(), Rcode::NXDOMAIN);
    }
    assert_eq!(server.counters().of(Counter::TcpReceived), 2);
}

#[tokio::test]
async fn the_resolver_goes_on_to_the_next_server_and_gives_up_in_time() {
    let config = Config { listen: listen("127.0.0.1:0"), shards: 1, ..Config::default() };
    let (server, _slow) = Server::bind(config, answers(5)).unwrap();
    let patient = Schedule { first: Duration::from_millis(100), longest: PATIENCE, attempts: 8 };
    let quick = Schedule { first: Duration::from_millis(20), longest: Duration::from_millis(20), attempts: 3 };
    // A bound socket that nobody reads is a server that does not answer.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = [silent.local_addr().unwrap()];
    let message = resolver(patient).ask(ask("a.z", &[silent[0], server.addresses()[0]])).await.unwrap();
    assert_eq!(address_of(&message), 5);
    assert_eq!(resolver(quick).ask(ask("a.z", &silent)).await, Err(Failure::TimedOut));
}

#[tokio::test]
async fn the_exchanger_closes_the_sockets_of_a_question_that_is_done() {
    let mut exchanger = Exchanger::new();
    let mut machine = client::Client::new(client::Config::default(), 3);
    let now = pinhole_sansio::Instant::EPOCH;
    let question = machine.ask(now, ask("a.z", &["127.0.0.1:9".parse().unwrap()]));
    while let Some(output) = pinhole_sansio::Machine::poll_output(&mut machine) {
        assert!(exchanger.carry_out(output).is_none());
    }
    assert!(!exchanger.is_idle());
    exchanger.forget(question);
    assert!(exchanger.is_idle());
}

#[tokio::test]
async fn a_rate_limit_does_not_concern_loopback() {
    let rate = Some(RateLimit { per_second: 1, burst: 1, slip: 1 });
    let config = Config { listen: listen("127.0.0.1:0"), shards: 1, rate, ..Config::default() };
    let (server, _slow) = Server::bind(config, answers(1)).unwrap();
    let address = server.addresses()[0];
    for _ in 0..5 {
        let message = blocking(move || ask_udp(address, &query("a.z", None))).await.unwrap();
        assert!(!message.header.has(Header::TC));
    }
}
