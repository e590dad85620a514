//! STUN: any bytes as a message and to a server, and a client among servers that lie.

use std::collections::BTreeMap;

use core::net::SocketAddr;
use core::time::Duration;

use pinhole_sansio::{Instant, Machine, conformance};
use pinhole_stun::behaviour::Change;
use pinhole_stun::client::{
    Client, CredentialKind, Credentials, Expect, Input, Output, Request, RequestId, Schedule, SocketId,
};
use pinhole_stun::credentials::{Key, PasswordAlgorithm};
use pinhole_stun::nonce::Features;
use pinhole_stun::server::limit::RateLimit;
use pinhole_stun::server::{
    CallPolicy, Clock, Config, Layout, Local, Reaction, SMALL, Second, Server, accounts::Accounts, partner::PartnerKey,
};
use pinhole_stun::{AttributeType, Class, ErrorCode, Message, Method, TransactionId, Writer, address, error, stream};

use crate::Choices;

/// Any bytes as a message, and as the choices of one whose form is right.
pub(crate) fn messages(bytes: &[u8]) {
    message(bytes);
    message(&shaped(&mut Choices::new(bytes)));
}

/// A message with attributes that somebody looks at, and any values.
fn shaped(choices: &mut Choices<'_>) -> Vec<u8> {
    const TYPES: [u16; 20] = [
        0x0001, 0x0002, 0x0003, 0x0006, 0x0008, 0x0009, 0x000a, 0x0014, 0x0015, 0x001c, 0x001d, 0x001e, 0x0020, 0x0026,
        0x0027, 0x8002, 0x8023, 0x8028, 0xe3c0, 0xe3c1,
    ];
    let mut out = [0; 2_048];
    let mut random = [0; 16];
    random[..4].copy_from_slice(if choices.rarely(4) { &[1, 2, 3, 4] } else { &pinhole_stun::MAGIC_COOKIE });
    let class = *choices.one_of(&[Class::Request, Class::Success, Class::Error, Class::Indication]);
    let mut writer = Writer::new(&mut out, class, Method::BINDING, TransactionId(random));
    for _ in 0..choices.below(8) {
        let length = *choices.one_of(&[0, 1, 4, 8, 12, 16, 20, 32, 100]);
        writer.attribute(AttributeType(*choices.one_of(&TYPES)), choices.bytes(length));
    }
    if choices.rarely(3) {
        writer.integrity(&Key::long_term(PasswordAlgorithm::Md5, "u", "realm", "p"));
    }
    if choices.rarely(3) {
        writer.fingerprint();
    }
    let len = writer.finish().expect("it fits");
    out[..len].to_vec()
}

/// Bytes as a message, as the beginning of a stream, and as what a server receives.
fn message(bytes: &[u8]) {
    let _ = stream::next(bytes);
    if let Ok(message) = Message::read(bytes) {
        assert_eq!(stream::next(bytes), Ok(stream::Next::Message(bytes.len())));
        written_again(&message);
        for attribute in message.attributes() {
            values(attribute.value, &message);
        }
        let _ = (message.fingerprint(), message.integrity(&Key::short_term("x")), format!("{message:?}"));
    }
    for second in [Second::Missing, Second::Here(ip("192.0.2.2")), Second::Partner(ip("192.0.2.2"))] {
        for accounts in [false, true] {
            serve(bytes, second, accounts);
        }
    }
}

/// What counts in a message can be written, and reads the same.
fn written_again(message: &Message<'_>) {
    let mut out = vec![0; message.as_bytes().len() + 8];
    let mut writer = Writer::new(&mut out, message.class(), message.method(), message.transaction_id());
    for attribute in message.attributes() {
        writer.attribute(attribute.kind, attribute.value);
    }
    let len = writer.finish().expect("what fitted fits");
    let again = Message::read(&out[..len]).expect("what was written can be read");
    let plain = |message: &Message<'_>| -> Vec<_> {
        message.attributes().map(|attribute| (attribute.kind, attribute.value.to_vec())).collect()
    };
    assert_eq!(plain(&again), plain(message));
}

/// A value read as whatever it may be.
fn values(value: &[u8], message: &Message<'_>) {
    let id = message.transaction_id();
    if let Some(read) = address::read(value) {
        let mut out = [0; address::MAX];
        let len = address::write(read, &mut out);
        assert_eq!(address::read(&out[..len]).map(|read| read.ip().to_canonical()), Some(read.ip().to_canonical()));
        let xored = address::read_xor(value, &id).expect("the same form");
        assert_eq!(xored.port() ^ read.port(), u16::from_be_bytes([id.0[0], id.0[1]]));
    }
    let _ = (ErrorCode::read(value), error::read_unknown(value).count(), Features::read(value), Change::read(value));
    let _ = (PasswordAlgorithm::read(value), PasswordAlgorithm::read_list(value).map(Iterator::count));
}

/// What a server does with any bytes: never more than came or a small answer, and to nobody but who asked or the partner.
fn serve(bytes: &[u8], second: Second, accounts: bool) {
    let layout = Layout { ip: ip("192.0.2.1"), port: 3478, second_port: Some(3479), second };
    let mut known = Accounts::new("realm").expect("a short realm");
    known.add("u", "p");
    let config = Config {
        partner: PartnerKey::new("sixteen bytes and"),
        limit: RateLimit::NONE,
        calls: CallPolicy::Proven(RateLimit::CALLS),
        accounts: accounts.then_some(known),
        ..Config::new(layout)
    };
    let mut server = Server::new(config, [3; 32], 5, Clock { at: Instant::EPOCH, unix_ms: 0 });
    let mut out = [0; 4_096];
    for source in ["203.0.113.9:4000", "192.0.2.2:3478", "[2001:db8::1]:9"] {
        let source: SocketAddr = source.parse().expect("an address");
        if let Reaction::Send { to, len, .. } = server.datagram(Instant::EPOCH, Local::FIRST, source, bytes, &mut out) {
            let is_order = matches!(second, Second::Partner(_)) && to == "192.0.2.2:3478".parse().expect("an address");
            assert!(to.ip() == source.ip() || is_order);
            assert!(is_order || len <= bytes.len().max(SMALL), "{len} for {}", bytes.len());
            assert!(Message::read(&out[..len]).is_ok());
        }
        let _ = server.message(Instant::EPOCH, Local::FIRST, source, bytes, &mut out);
    }
}

fn ip(text: &str) -> core::net::IpAddr {
    text.parse().expect("an address")
}

/// Where servers are, and where they answer from.
const PLACES: [&str; 4] = ["192.0.2.1:3478", "192.0.2.2:3479", "[2001:db8::1]:3478", "203.0.113.9:1"];

/// A client under requests, lies, losses and waits: each request ends once, and answers come from where they may.
pub(crate) fn client(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut world = World::default();
    let mut client = Client::new(u64::from(choices.word()));
    while !choices.is_over() {
        match choices.below(5) {
            0 => world.ask(&mut client, &mut choices),
            1 | 2 => world.answer(&mut client, &mut choices),
            3 => {
                let next = client.poll_timeout().map(|deadline| deadline.at);
                world.now = next.filter(|_| choices.rarely(2)).unwrap_or(world.now).max(world.now);
                world.now += Duration::from_millis(u64::from(choices.word()) / 16);
                client.handle_input(world.now, Input::Timeout);
            }
            _ => world.interfere(&mut client, &mut choices),
        }
        world.drain(&mut client);
        let due = client.poll_timeout().is_some_and(|deadline| deadline.at <= world.now);
        if due {
            client.handle_input(world.now, Input::Timeout);
            world.drain(&mut client);
        } else {
            conformance::spurious_timeout_does_nothing(&mut client, world.now);
        }
    }
    // Left alone, every request comes to its end.
    while let Some(deadline) = client.poll_timeout() {
        world.now = deadline.at.max(world.now);
        client.handle_input(world.now, Input::Timeout);
        world.drain(&mut client);
    }
    assert!(world.open.is_empty(), "{:?} never ended", world.open);
}

#[derive(Default)]
struct World {
    now: Instant,
    /// Requests without an end, and where their answers may come from; `None`: not known, after a redirection.
    open: BTreeMap<RequestId, Expect>,
    /// What was sent, and by a stream or not.
    sent: Vec<(RequestId, SocketAddr, Vec<u8>, bool)>,
}

impl World {
    fn ask(&mut self, client: &mut Client, choices: &mut Choices<'_>) {
        let server: SocketAddr = choices.one_of(&PLACES).parse().expect("an address");
        let expect = match choices.below(3) {
            0 => Expect::Server,
            1 => Expect::Anywhere,
            _ => Expect::Exactly(choices.one_of(&PLACES).parse().expect("an address")),
        };
        let kind = if choices.rarely(2) { CredentialKind::ShortTerm } else { CredentialKind::LongTerm };
        let credentials = Credentials { name: "u".into(), password: "p".into(), kind };
        let mut request = Request {
            expect,
            change: if choices.rarely(2) { Change::BOTH } else { Change::NONE },
            padding: choices.word() / 64,
            fingerprint: choices.rarely(2),
            credentials: choices.rarely(2).then_some(credentials),
            schedule: Schedule::IMPATIENT,
            ..Request::binding(server, SocketId(1))
        };
        if choices.rarely(4) {
            request = request.by_stream();
        }
        let id = client.ask(self.now, request);
        self.open.insert(id, expect);
    }

    /// Answers something that was sent: rightly, wrongly, or with a challenge, changed on its way or not.
    fn answer(&mut self, client: &mut Client, choices: &mut Choices<'_>) {
        if self.sent.is_empty() {
            return;
        }
        let (request, server, sent, by_stream) = &self.sent[choices.below(self.sent.len())];
        let mut bytes = respond(&Message::read(sent).expect("the client sends STUN"), choices);
        choices.mutate(&mut bytes);
        let from = if choices.rarely(4) { choices.one_of(&PLACES).parse().expect("an address") } else { *server };
        let input = match by_stream {
            true => Input::Message { request: *request, bytes },
            false => Input::Datagram { socket: SocketId(1), from, bytes },
        };
        client.handle_input(self.now, input);
    }

    fn interfere(&mut self, client: &mut Client, choices: &mut Choices<'_>) {
        let Some((request, from, ..)) = self.sent.last() else { return };
        let (request, from) = (*request, *from);
        match choices.below(4) {
            0 => {
                client.cancel(request);
                self.open.remove(&request);
            }
            1 => client.handle_input(self.now, Input::Closed { request }),
            _ => {
                let bytes = choices.bytes(60).to_vec();
                client.handle_input(self.now, Input::Datagram { socket: SocketId(1), from, bytes });
            }
        }
    }

    fn drain(&mut self, client: &mut Client) {
        for output in conformance::drain(client) {
            match output {
                Output::Transmit { request, server, bytes, .. } => {
                    assert!(self.open.contains_key(&request));
                    self.sent.push((request, server, bytes, false));
                }
                Output::Stream { request, server, bytes } => {
                    assert!(self.open.contains_key(&request));
                    self.sent.push((request, server, bytes, true));
                }
                Output::Stray { request, .. } => assert!(self.open.contains_key(&request)),
                Output::Done { request, answer } => {
                    let expect = self.open.remove(&request).expect("a request ends once");
                    let Ok(answer) = answer else { continue };
                    match expect {
                        Expect::Server => assert_eq!(answer.from, answer.server),
                        // By a stream it can only come from the server itself.
                        Expect::Exactly(from) => assert!(answer.from == from || answer.from == answer.server),
                        Expect::Anywhere => {}
                    }
                }
            }
        }
        let kept = self.sent.len().saturating_sub(50);
        self.sent.drain(..kept);
    }
}

fn respond(request: &Message<'_>, choices: &mut Choices<'_>) -> Vec<u8> {
    let mut out = [0; 2_048];
    let class = if choices.rarely(2) { Class::Error } else { Class::Success };
    let mut writer = Writer::new(&mut out, class, Method::BINDING, request.transaction_id());
    if class == Class::Error {
        writer.error(ErrorCode::standard(*choices.one_of(&[300, 400, 401, 420, 438, 500])));
    }
    for _ in 0..choices.below(5) {
        match choices.below(6) {
            0 => writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, "203.0.113.1:7".parse().expect("an address")),
            1 => writer.address(AttributeType::ALTERNATE_SERVER, choices.one_of(&PLACES).parse().expect("an address")),
            2 => writer.attribute(AttributeType::REALM, b"realm").attribute(AttributeType::NONCE, b"nonce"),
            3 => {
                let nonce = Features { password_algorithms: true, username_anonymity: choices.rarely(2) }.prefix();
                writer.attribute(AttributeType::REALM, b"realm").attribute(AttributeType::NONCE, &nonce);
                writer.attribute(AttributeType::PASSWORD_ALGORITHMS, &[0, 2, 0, 0])
            }
            4 => writer.integrity(&Key::long_term(PasswordAlgorithm::Md5, "u", "realm", "p")),
            _ => writer.attribute(AttributeType(choices.word()), choices.bytes(9)),
        };
    }
    if choices.rarely(2) {
        writer.fingerprint();
    }
    let len = writer.finish().expect("it fits");
    out[..len].to_vec()
}
