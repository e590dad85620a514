//! `pinhole stun serve --xdp`: the answers of the program and of the sockets are the same, and nothing is left of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;

use pinhole_host::bpf::{Assembler, AttachMode, Map, Program, Reg, XdpLink, action};
use pinhole_host::namespace::Namespace;
use pinhole_host::netlink::route::{self, link};
use pinhole_netns::Signal;
use pinhole_sansio::Rng;
use pinhole_stun::{AttributeType, Class, Method, TransactionId, Writer};
use serde_json::Value;

use crate::support::pinhole::{BINARY, Ended, Pinhole, run};
use crate::support::ready::{find, ready, skip, skip_for_want_of};
use crate::support::{PATIENCE, until};

/// Requests that both ways are compared by.
const REQUESTS: u32 = 300;
/// Those before their answers are taken: none is to be lost for want of room.
const AT_ONCE: u32 = 15;

/// Two hosts with a cable between them, `eth0` of each: 10.9.0.1 and 10.9.0.2, 2001:db8:9::1 and ::2.
struct Stage {
    client: Namespace,
    server: Namespace,
}

impl Stage {
    /// `None`, said loudly, where this process may not do what is needed.
    fn new(name: &str) -> Option<Self> {
        if !ready(&["ip", "ethtool"]) {
            return None;
        }
        let [client, server] = ["c", "s"].map(|who| Namespace::create(&format!("{name}-{who}")).expect("a namespace"));
        let stage = Self { client, server };
        if Map::memory("test", 8).is_err() {
            skip("eBPF programs need root (or CAP_BPF and CAP_NET_ADMIN); run the tests with sudo");
            return None;
        }
        let server = stage.server.pid();
        command(&stage.client, &format!("ip link add eth0 type veth peer name eth0 netns {server}"));
        for (host, number) in [(&stage.client, 1), (&stage.server, 2)] {
            command(host, &format!("ip addr add 10.9.0.{number}/24 dev eth0"));
            command(host, &format!("ip addr add 2001:db8:9::{number}/64 dev eth0 nodad"));
            command(host, "ip link set eth0 up");
        }
        // What the hardware that a veth has not would do: whole checksums, as those of a packet that has crossed the Internet.
        command(&stage.client, "ethtool -K eth0 tx off");
        Some(stage)
    }

    /// A server at 10.9.0.2:3478 and other addresses: what it said of XDP first.
    fn serve(&self, args: &str) -> (Pinhole, Option<Value>) {
        let mut command = Command::new(BINARY);
        command.args(["stun", "serve", "--json", "--threads", "1", "--rate-limit", "0"]).args(args.split_whitespace());
        self.server.enter(&mut command);
        let mut server = Pinhole::spawn("stun", &mut command);
        let wanted = if args.contains("--xdp") { "xdp" } else { "serving" };
        let event = server.wait_for("what it serves", |event| event["event"] == wanted);
        (server, (wanted == "xdp").then_some(event))
    }

    fn socket(&self, at: &str) -> UdpSocket {
        let socket = self.client.run(|| UdpSocket::bind(at)).expect("a thread").expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        socket
    }

    /// Has the client's end take what is sent by the other end's driver: a veth does that if it has a program itself.
    fn take_native_frames(&self) -> XdpLink {
        let mut code = Assembler::new();
        code.mov(Reg::R0, action::PASS).exit();
        let program = Program::load("test", &code.finish()).expect("a program");
        let attach = || {
            let index = link::find(&mut route::open().expect("a socket"), "eth0").expect("the link").index;
            XdpLink::attach(&program, index, AttachMode::Native).expect("there is none yet")
        };
        self.client.run(attach).expect("a thread")
    }

    /// The server's interface in words.
    fn interface(&self) -> String {
        command(&self.server, "ip -details link show dev eth0")
    }

    fn without_program(&self) {
        until("an interface without a program", || (!self.interface().contains("xdp")).then_some(()));
    }
}

fn command(host: &Namespace, line: &str) -> String {
    let mut words = line.split_whitespace();
    let program = find(words.next().expect("a program")).expect("it is there");
    let mut command = Command::new(program);
    host.enter(command.args(words));
    let Ended { code, stderr, stdout } = run(&mut command);
    assert_eq!(code, Some(0), "{line}: {stderr}");
    stdout
}

/// How many answers the program has sent, when the server is told to end.
fn ends(mut server: Pinhole) -> u64 {
    server.signal(Signal::INT);
    let counters = server.wait_for("the counters", |event| event["event"] == "counters");
    assert!(server.terminate().0.success());
    counters["sent_by_xdp"].as_u64().expect("a count")
}

/// A request of one of many kinds, and whether it is a plain one.
fn request(rng: &mut Rng, number: u32) -> (Vec<u8>, bool) {
    let mut id = [0; 12];
    id[..8].copy_from_slice(&rng.next_u64().to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    let mut out = vec![0; 4_096];
    let mut writer = Writer::new(&mut out, Class::Request, Method::BINDING, TransactionId::new(id));
    let kind = rng.below(8);
    match kind {
        0 => drop(writer.attribute(AttributeType::SOFTWARE, b"a client")),
        // CHANGE-REQUEST: from the other port.
        1 => drop(writer.attribute(AttributeType::CHANGE_REQUEST, &[0, 0, 0, 2])),
        // An attribute that must be understood and is not: an error.
        2 => drop(writer.attribute(AttributeType(0x7f00), &[1, 2, 3, 4])),
        // Two fragments.
        3 => drop(writer.attribute(AttributeType::PADDING, &[0; 2_000])),
        _ => {}
    }
    let length = writer.finish().expect("there is room");
    out.truncate(length);
    match kind {
        // A client of RFC 3489, and garbage.
        4 => out[4..8].copy_from_slice(&[1, 2, 3, 4]),
        5 => out[1] ^= 0x80,
        _ => {}
    }
    (out, kind > 5)
}

/// Answers by their number.
type Answers = BTreeMap<u32, Vec<u8>>;

/// Asks all kinds of things, and has what is answered, by transaction. How many were plain.
fn ask_everything(socket: &UdpSocket, server: &str) -> (Answers, u64) {
    let mut rng = Rng::from_seed(9);
    let mut plain = BTreeSet::new();
    let mut answers = Answers::new();
    for number in 0..REQUESTS {
        let (bytes, is_plain) = request(&mut rng, number);
        socket.send_to(&bytes, server).expect("a route");
        plain.extend(is_plain.then_some(number));
        if number % AT_ONCE == 0 || number + 1 == REQUESTS {
            take_answers(socket, server, number, &plain, &mut answers);
        }
    }
    (answers, plain.len() as u64)
}

/// Takes all answers to what was asked so far. The sockets answer in order, so they are done when they answer one more question,
/// which goes to them; a program may answer earlier or later than they, but answers everything plain.
fn take_answers(socket: &UdpSocket, server: &str, number: u32, plain: &BTreeSet<u32>, answers: &mut Answers) {
    let mut marker = *b"transact----";
    marker[8..].copy_from_slice(&number.to_be_bytes());
    let request = [b"\0\x01\0\x08\x21\x12\xa4\x42", &marker[..], b"\x80\x22\0\x04test"].concat();
    socket.send_to(&request, server).expect("a route");
    let mut buffer = [0; 4_096];
    let mut marked = false;
    while !marked || !plain.iter().all(|number| answers.contains_key(number)) {
        let (length, _) = socket.recv_from(&mut buffer).expect("an answer");
        let bytes = &buffer[..length];
        if bytes[8..20] == marker {
            marked = true;
        } else {
            let number = u32::from_be_bytes(bytes[16..20].try_into().expect("four bytes"));
            assert_eq!(answers.insert(number, bytes.to_vec()), None, "one answer to number {number}");
        }
    }
}

#[track_caller]
fn assert_same(left: &Answers, right: &Answers, how: &str) {
    for number in 0..REQUESTS {
        assert_eq!(left.get(&number), right.get(&number), "number {number}, {how}");
    }
}

#[test]
fn every_answer_is_that_of_the_sockets_and_the_plain_ones_are_the_programs() {
    let Some(stage) = Stage::new("xdp-same") else { return };
    let _native = stage.take_native_frames();
    let behaviour = "--listen 10.9.0.2 --second 10.9.0.3";
    command(&stage.server, "ip addr add 10.9.0.3/24 dev eth0");
    for (args, from, to) in [
        ("--listen 10.9.0.2", "10.9.0.1:7000", "10.9.0.2:3478"),
        (behaviour, "10.9.0.1:7000", "10.9.0.2:3478"),
        ("--listen 2001:db8:9::2", "[2001:db8:9::1]:7000", "[2001:db8:9::2]:3478"),
    ] {
        let (server, _) = stage.serve(args);
        let (by_sockets, _) = ask_everything(&stage.socket(from), to);
        assert_eq!(ends(server), 0);
        for mode in ["generic", "native"] {
            let (server, event) = stage.serve(&format!("{args} --xdp eth0:{mode}"));
            let event = event.expect("what it says of XDP");
            assert_eq!((&event["interface"], &event["mode"]), (&"eth0".into(), &mode.into()), "{event}");
            let (by_both, plain) = ask_everything(&stage.socket(from), to);
            assert_same(&by_both, &by_sockets, &format!("{args}, {mode}"));
            assert_eq!(ends(server), plain, "{args}, {mode}");
            stage.without_program();
        }
    }
}

#[test]
fn clients_of_others_and_ours_are_answered() {
    let Some(stage) = Stage::new("xdp-ask") else { return };
    command(&stage.server, "ip addr add 10.9.0.3/24 dev eth0");
    let (server, event) = stage.serve("--listen 10.9.0.2 --second 10.9.0.3 --xdp auto");
    let event = event.expect("what it says of XDP");
    assert_eq!((&event["interface"], &event["mode"]), (&"eth0".into(), &"generic".into()), "{event}");
    assert!(event["why"].as_str().expect("a reason").contains("veth"), "{event}");
    let ask = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        stage.client.enter(command.args(args));
        run(&mut command)
    };
    let ours = ask(BINARY, &["stun", "query", "10.9.0.2"]);
    assert_eq!(ours.code, Some(0), "{}", ours.stderr);
    assert!(ours.stdout.contains("says 10.9.0.2:3478"), "{}", ours.stdout);
    match find("turnutils_stunclient") {
        None => skip_for_want_of("coturn"),
        Some(path) => {
            let Ended { stdout, stderr, .. } = ask(&path.display().to_string(), &["10.9.0.2"]);
            for answer in ["RFC 5780 response 1", "RFC 5780 response 2", "RFC 5780 response 3"] {
                assert!(stdout.contains(answer), "no {answer}: {stdout}{stderr}");
            }
        }
    }
    match find("stun") {
        None => skip_for_want_of("stun-client"),
        Some(path) => {
            let Ended { stdout, stderr, .. } = ask(&path.display().to_string(), &["10.9.0.2:3478"]);
            assert!((stdout.clone() + &stderr).contains("Primary: Open"), "{stdout}{stderr}");
        }
    }
    assert!(ends(server) > 0, "ours and coturn's ask plainly");
}

#[test]
fn nothing_is_left_of_it_and_connections_on_the_interface_live_on() {
    let Some(stage) = Stage::new("xdp-left") else { return };
    let listener = stage.server.run(|| TcpListener::bind("10.9.0.2:80")).expect("a thread").expect("a listener");
    let mut client = stage.client.run(|| TcpStream::connect("10.9.0.2:80")).expect("a thread").expect("a connection");
    let (mut other, _) = listener.accept().expect("a connection");
    for stream in [&client, &other] {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    }
    let mut talk = |text: &[u8; 5]| {
        let mut heard = [0; 5];
        client.write_all(text).and_then(|()| other.read_exact(&mut heard)).expect("there");
        assert_eq!(&heard, text);
        other.write_all(text).and_then(|()| client.read_exact(&mut heard)).expect("and back");
        assert_eq!(&heard, text);
    };
    talk(b"one..");
    let _native = stage.take_native_frames();
    let before = stage.interface();
    for mode in ["native", "generic"] {
        let (server, _) = stage.serve(&format!("--xdp eth0:{mode}"));
        assert!(stage.interface().contains("xdp"), "{}", stage.interface());
        talk(b"two..");
        ends(server);
        stage.without_program();
        talk(b"three");
        let (server, _) = stage.serve(&format!("--xdp eth0:{mode}"));
        assert!(stage.interface().contains("xdp"), "{}", stage.interface());
        server.kill();
        stage.without_program();
        talk(b"four.");
    }
    assert_eq!(stage.interface(), before, "the interface is as it was");
}

#[test]
fn what_is_not_possible_is_said_in_a_line_and_the_sockets_answer() {
    let Some(stage) = Stage::new("xdp-less") else { return };
    let socket = stage.socket("10.9.0.1:0");
    let mut number = 0;
    let mut is_answered = || {
        number += 1;
        let id = format!("transact{number:04}");
        socket.send_to(&[b"\0\x01\0\0\x21\x12\xa4\x42", id.as_bytes()].concat(), "10.9.0.2:3478").expect("a route");
        let mut answer = [0; 128];
        let (length, _) = socket.recv_from(&mut answer).expect("an answer");
        assert_eq!((length, &answer[8..20]), (32, id.as_bytes()));
    };
    for (xdp, says) in [("eth7", "there is no such interface"), ("lo", "no Ethernet frames")] {
        let (server, event) = stage.serve(&format!("--xdp {xdp}"));
        let event = event.expect("what it says of XDP");
        assert_eq!(event["mode"], "none", "{event}");
        assert!(event["why"].as_str().is_some_and(|why| why.contains(says)), "{event}");
        is_answered();
        assert_eq!(ends(server), 0);
    }
    // Another program is there.
    let (first, _) = stage.serve("--listen 10.9.0.2:4000 --xdp eth0");
    let (server, event) = stage.serve("--xdp eth0");
    let event = event.expect("what it says of XDP");
    assert!(event["why"].as_str().is_some_and(|why| why.contains("another XDP program")), "{event}");
    is_answered();
    assert_eq!((ends(server), ends(first)), (0, 0));
    // Root without the capabilities.
    let Some(setpriv) = find("setpriv") else { return skip_for_want_of("setpriv") };
    let mut command = Command::new(setpriv);
    command.args(["--bounding-set", "-all", BINARY, "stun", "serve", "--json", "--xdp", "auto", "--threads", "1"]);
    stage.server.enter(&mut command);
    let mut server = Pinhole::spawn("stun", &mut command);
    let event = server.wait_for("what it says of XDP", |event| event["event"] == "xdp");
    assert!(event["why"].as_str().is_some_and(|why| why.contains("CAP_BPF and CAP_NET_ADMIN")), "{event}");
    is_answered();
}

#[test]
fn the_generator_of_frames_measures_it() {
    let Some(stage) = Stage::new("xdp-flood") else { return };
    for host in [&stage.client, &stage.server] {
        command(host, "ethtool -K eth0 gro on");
    }
    for (server, at) in [("--xdp eth0:native", "10.9.0.2"), ("", "10.9.0.2"), ("--xdp eth0:native", "[2001:db8:9::2]")]
    {
        let (server, _) = stage.serve(&format!("--no-tcp --listen {at} {server}"));
        let mut command = Command::new(BINARY);
        command.args(["stun", "bench", at, "--flood", "eth0", "--seconds", "0.3", "--json"]);
        stage.client.enter(&mut command);
        let ended = run(&mut command);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let said: Value = serde_json::from_str(&ended.stdout).expect("an object");
        assert!(said["answers"].as_u64() > Some(100), "{said}");
        assert!(said["answers"].as_u64() <= said["sent"].as_u64(), "{said}");
        drop(server);
        stage.without_program();
    }
}

#[test]
fn users_and_xdp_exclude_each_other() {
    let ended = run(Command::new(BINARY).args(["stun", "serve", "--users", "/nowhere", "--xdp", "eth0"]));
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let ended = run(Command::new(BINARY).args(["stun", "serve", "--xdp", "eth0:fast"]));
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("expected native or generic"), "{}", ended.stderr);
}
