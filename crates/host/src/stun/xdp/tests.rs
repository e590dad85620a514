//! Programs at real interfaces: a server in a namespace, asked over a cable.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use super::{Behind, Refusal, State, Which, Wish};
use crate::bpf::AttachMode;
use crate::namespace::{Namespace, privilege};
use crate::netlink::Message;
use crate::netlink::route::{self, address, link};
use crate::stun::{Config, Counter, Server, Site};

/// How long something that must come may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Two hosts with a cable between them: `eth0` of each, 10.9.0.1 and 10.9.0.2.
struct Stage {
    client: Namespace,
    server: Namespace,
    runtime: Runtime,
}

impl Stage {
    /// `None`, said loudly, where this process may not do what is needed.
    fn new() -> Option<Self> {
        let may_load = super::memory().is_ok();
        if !privilege::can_make_namespaces() || !may_load {
            eprintln!("SKIP: XDP in namespaces needs root; run the tests with sudo");
            return None;
        }
        let [client, server] = ["xdp-c", "xdp-s"].map(|name| Namespace::create(name).expect("a namespace"));
        let peer = client.net();
        let add = || link::add_veth(&mut route::open()?, "eth0", "eth0", Some(peer));
        server.run(add).expect("a thread").expect("a pair");
        for (host, net) in [(&client, "10.9.0.1/24"), (&server, "10.9.0.2/24")] {
            let up = || {
                let mut socket = route::open()?;
                let index = link::find(&mut socket, "eth0")?.index;
                link::set(&mut socket, index, &link::Change { up: Some(true), ..Default::default() })?;
                address::add(&mut socket, index, net.parse().expect("a network"))
            };
            host.run(up).expect("a thread").expect("a configured link");
        }
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        Some(Self { client, server, runtime })
    }

    /// A server at this address, with these wishes.
    fn serve(&self, at: &str, wishes: &[(&str, Option<AttachMode>)]) -> Server {
        let named = |name: &str| match name {
            "auto" => Which::All,
            name => Which::Named(name.to_owned()),
        };
        let xdp = wishes.iter().map(|&(name, mode)| Wish { interface: named(name), mode }).collect();
        let at: SocketAddr = at.parse().expect("an address");
        let config = Config { shards: 1, tcp: false, xdp, ..Config::new(vec![Site::from(at)], [5; 32]) };
        let bind = || {
            let _runtime = self.runtime.enter();
            Server::bind(&config)
        };
        self.server.run(bind).expect("a thread").expect("a server")
    }

    /// Has it look at the interfaces: their names, and who answers there.
    fn follow(&self, server: &mut Server) -> Vec<(String, State)> {
        let reports = self.server.run(|| server.follow_interfaces()).expect("a thread");
        reports.into_iter().map(|report| (report.interface, report.state)).collect()
    }

    /// A socket of the client's whose datagrams have no checksum: the kernel would leave it to hardware that a veth has not.
    fn socket(&self) -> UdpSocket {
        let socket = self.client.run(|| UdpSocket::bind("10.9.0.1:0")).expect("a thread").expect("a socket");
        let yes: libc::c_int = 1;
        // SAFETY: the option's value is one int, whose address and size are given.
        let failed = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_NO_CHECK,
                std::ptr::from_ref(&yes).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        assert_eq!(failed, 0, "it has no checksum");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        socket
    }

    /// Asks plainly, and has an answer.
    fn ask(&self, at: &str) {
        let socket = self.socket();
        socket.send_to(b"\0\x01\0\0\x21\x12\xa4\x42transaction!", at).expect("a route");
        let mut answer = [0; 128];
        let (length, from) = socket.recv_from(&mut answer).expect("an answer");
        assert_eq!((length, from.to_string().as_str(), &answer[8..20]), (32, at, &b"transaction!"[..]));
    }

    fn change_server(
        &self,
        change: impl FnOnce(&mut crate::netlink::Socket, u32) -> Result<(), crate::netlink::Error> + Send,
    ) {
        let run = || {
            let mut socket = route::open()?;
            let index = link::find(&mut socket, "eth0")?.index;
            change(&mut socket, index)
        };
        self.server.run(run).expect("a thread").expect("a change");
    }
}

fn by_xdp(server: &Server) -> u64 {
    server.counters().of(Counter::SentByXdp)
}

fn generic(behind: Behind) -> Vec<(String, State)> {
    vec![("eth0".to_owned(), State::Generic(behind))]
}

#[test]
fn addresses_and_the_interface_s_own_are_followed() {
    let Some(stage) = Stage::new() else { return };
    let mut server = stage.serve("0.0.0.0:3478", &[("auto", None)]);
    assert_eq!(stage.follow(&mut server), generic(Behind::Veth));
    assert_eq!(stage.follow(&mut server), [], "nothing is news twice");
    stage.ask("10.9.0.2:3478");
    assert_eq!(by_xdp(&server), 1);
    let counters = server.counters();
    let of = |counter| counters.of(counter);
    assert_eq!((of(Counter::UdpReceived), of(Counter::Sent)), (1, 1));
    assert_eq!((of(Counter::UdpBytesIn), of(Counter::UdpBytesOut)), (20, 32));

    // Another address: until it is looked at, the socket answers there.
    stage.change_server(|socket, index| address::add(socket, index, "10.9.0.3/24".parse().expect("a network")));
    stage.ask("10.9.0.3:3478");
    assert_eq!(by_xdp(&server), 1);
    assert_eq!(stage.follow(&mut server), []);
    stage.ask("10.9.0.3:3478");
    assert_eq!(by_xdp(&server), 2);

    // Another Ethernet address, of which the neighbour is told: the same.
    stage.server.set("net/ipv4/conf/all/arp_notify", "1").expect("every kernel has it");
    let ethernet = [0x02, 0x12, 0x34, 0x56, 0x78, 0x9a];
    stage.change_server(|socket, index| {
        let mut fixed = [0; 16];
        fixed[4..8].copy_from_slice(&index.to_ne_bytes());
        let message = Message::new(libc::RTM_NEWLINK, 0).fixed(&fixed).attr(libc::IFLA_ADDRESS, &ethernet);
        socket.request(message).map(drop)
    });
    stage.follow(&mut server);
    stage.ask("10.9.0.3:3478");
    assert_eq!(by_xdp(&server), 3);

    // An address that goes is served no more, and the last one takes the program along.
    for net in ["10.9.0.3/24", "10.9.0.2/24"] {
        stage.change_server(|socket, index| address::delete(socket, index, net.parse().expect("a network")));
    }
    let none = vec![("auto".to_owned(), State::Sockets(Refusal::NoneFits))];
    assert_eq!(stage.follow(&mut server), none);
    assert_eq!(by_xdp(&server), 3, "what was counted stays");
    stage.change_server(|socket, index| address::add(socket, index, "10.9.0.2/24".parse().expect("a network")));
    assert_eq!(stage.follow(&mut server), generic(Behind::Veth));
    stage.ask("10.9.0.2:3478");
    assert_eq!(by_xdp(&server), 4);
}

#[test]
fn an_interface_that_goes_and_comes_again_has_a_program_again() {
    let Some(stage) = Stage::new() else { return };
    let mut server = stage.serve("0.0.0.0:3478", &[("eth0", None), ("eth7", None), ("lo", None)]);
    let missing = |name: &str| (name.to_owned(), State::Sockets(Refusal::Missing));
    let mut expected = generic(Behind::Veth);
    expected.extend([missing("eth7"), ("lo".to_owned(), State::Sockets(Refusal::NotEthernet))]);
    assert_eq!(stage.follow(&mut server), expected);
    stage.change_server(link::delete);
    assert_eq!(stage.follow(&mut server), [missing("eth0")]);
    let peer = stage.client.net();
    let add = || link::add_veth(&mut route::open()?, "eth0", "eth0", Some(peer));
    stage.server.run(add).expect("a thread").expect("a pair");
    let none = State::Sockets(Refusal::NoAddress);
    assert_eq!(stage.follow(&mut server), [("eth0".to_owned(), none)]);
    stage.change_server(|socket, index| address::add(socket, index, "10.9.0.2/24".parse().expect("a network")));
    assert_eq!(stage.follow(&mut server), generic(Behind::Veth));
}

#[test]
fn a_program_of_somebody_else_is_left_alone() {
    let Some(stage) = Stage::new() else { return };
    let mut first = stage.serve("10.9.0.2:3478", &[("eth0", Some(AttachMode::Generic))]);
    assert_eq!(stage.follow(&mut first), generic(Behind::Asked));
    let taken = vec![("eth0".to_owned(), State::Sockets(Refusal::Taken))];
    for mode in [None, Some(AttachMode::Generic), Some(AttachMode::Native)] {
        let mut second = stage.serve("10.9.0.2:0", &[("eth0", mode)]);
        assert_eq!(stage.follow(&mut second), taken, "{mode:?}");
    }
    stage.ask("10.9.0.2:3478");
    assert_eq!(by_xdp(&first), 1);
    drop(first);
    let mut second = stage.serve("10.9.0.2:0", &[("eth0", None)]);
    // The kernel takes a program away a moment after its last descriptor.
    let begun = Instant::now();
    let mut last = taken;
    while last != generic(Behind::Veth) {
        let news = stage.follow(&mut second);
        last = if news.is_empty() { last } else { news };
        assert!(begun.elapsed() < PATIENCE, "{last:?}");
    }
}

#[test]
fn a_server_with_accounts_has_no_program() {
    let Some(stage) = Stage::new() else { return };
    let config = Config {
        accounts: pinhole_stun::server::accounts::Accounts::new("test"),
        xdp: vec![Wish { interface: Which::All, mode: None }],
        ..Config::new(vec![Site::from(SocketAddr::from(([0, 0, 0, 0], 3_478)))], [5; 32])
    };
    let bind = || {
        let _runtime = stage.runtime.enter();
        Server::bind(&config)
    };
    let mut server = stage.server.run(bind).expect("a thread").expect("a server");
    assert_eq!(stage.follow(&mut server), []);
}
