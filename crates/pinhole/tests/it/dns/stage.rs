//! Where the tests play: a server with a public side and a tunnel side, a client on both, and the registry on the server.

use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use pinhole_host::namespace::Namespace;
use pinhole_host::netlink::Error;
use pinhole_host::netlink::route::{self, address, link};

use super::device::{Device, Peer};
use super::wire::Client;
use crate::support::ready::{find, ready, skip_for_want_of};

/// The bound of every wait; each ends at once when what it waits for is there.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The server's public address and its tunnel address, and the client's.
pub const PUBLIC: &str = "192.0.2.1";
pub const TUNNEL: &str = "10.0.0.254";
pub const CLIENT: &str = "192.0.2.2";
pub const PEER: &str = "10.0.0.1";

/// Two hosts joined twice: `wan0` to `eth0`, the Internet, and `wg0` to `tun0`, which stands for the tunnel.
pub struct Stage {
    pub server: Namespace,
    pub client: Namespace,
}

/// A stage; none where the test has been run elsewhere, or cannot be run and that has been said.
pub fn stage() -> Option<Stage> {
    if !ready(&[]) {
        return None;
    }
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let host = |role: &str| Namespace::create(&format!("dns-{role}{number}")).expect("a namespace");
    let stage = Stage { server: host("srv"), client: host("cli") };
    for namespace in [&stage.server, &stage.client] {
        // Duplicate address detection takes a second.
        for setting in ["net/ipv6/conf/default/accept_dad", "net/ipv6/conf/all/accept_dad"] {
            let _ = namespace.set(setting, "0");
        }
    }
    stage.join(("wan0", &["192.0.2.1/24", "2001:db8::1/64"]), ("eth0", &["192.0.2.2/24", "2001:db8::2/64"]));
    stage.join(("wg0", &["10.0.0.254/24", "fd00::254/64"]), ("tun0", &["10.0.0.1/24", "fd00::1/64"]));
    Some(stage)
}

impl Stage {
    fn join(&self, (left, left_nets): (&str, &[&str]), (right, right_nets): (&str, &[&str])) {
        let make = || link::add_veth(&mut route::open()?, left, right, Some(self.client.net()));
        self.server.run(make).expect("a thread").expect("a pair of links");
        for (namespace, name, nets) in [(&self.server, left, left_nets), (&self.client, right, right_nets)] {
            let configure = || -> Result<(), Error> {
                let mut socket = route::open()?;
                let index = link::find(&mut socket, name)?.index;
                link::set(&mut socket, index, &link::Change { up: Some(true), ..Default::default() })?;
                nets.iter().try_for_each(|net| address::add(&mut socket, index, net.parse().expect("a network")))
            };
            namespace.run(configure).expect("a thread").expect("the link is configured");
        }
    }

    /// A fake device on the server.
    pub fn device(&self, name: &str, peers: &[Peer]) -> Device {
        Device::start(&self.server, name, peers)
    }

    /// Starts a registry and waits until it listens at `places` addresses.
    pub fn registry(&self, args: &[&str], places: usize) -> Registry {
        let registry = self.start(args);
        until("the registry listens", || {
            assert!(registry.is_running(), "the registry ended: {}", registry.errors());
            (registry.output().matches("\"listening\"").count() >= places).then_some(())
        });
        registry
    }

    /// Starts a registry and does not wait.
    pub fn start(&self, args: &[&str]) -> Registry {
        Registry::start(&self.server, args)
    }

    /// A registry of `example.com.` and `wg0`, listening at `PUBLIC` port 53, to be asked from the client as a stranger.
    pub fn public_registry(&self, args: &[&str]) -> (Registry, Client) {
        let common = ["--zone", "example.com.", "--device", "wg0", "--listen", PUBLIC];
        let more = args.iter().filter(|arg| **arg == "--listen").count();
        let registry = self.registry(&[&common, args].concat(), 1 + more);
        (registry, self.ask_from(&self.client, PUBLIC))
    }

    /// A registry as it is by default, to be asked from the client through the tunnel: as a proven peer.
    pub fn private_registry(&self, args: &[&str]) -> (Registry, Client) {
        // The tunnel has an IPv4 and an IPv6 address.
        let registry = self.registry(&[&["--zone", "example.com.", "--device", "wg0"], args].concat(), 2);
        (registry, self.ask_from(&self.client, TUNNEL))
    }

    /// Asks the server at `address`, port 53, from one of the hosts.
    pub fn ask_from(&self, namespace: &Namespace, address: &str) -> Client {
        let server = SocketAddr::new(address.parse().expect("an address"), 53);
        let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let connect = || {
            let udp = UdpSocket::bind((any, 0))?;
            udp.connect(server)?;
            std::io::Result::Ok(udp)
        };
        Client::new(namespace.run(connect).expect("a thread").expect("a socket"), server)
    }

    /// Connects to `server` by TCP from the client.
    pub fn connect(&self, server: &str) -> std::io::Result<TcpStream> {
        let server = SocketAddr::new(server.parse().expect("an address"), 53);
        let stream = self.client.run(|| TcpStream::connect_timeout(&server, PATIENCE)).expect("a thread")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Runs a program on the client to its end; what it printed. `None` and a loud reason where there is no such program.
    pub fn tool(&self, program: &str, args: &[&str]) -> Option<String> {
        let Some(path) = find(program) else {
            skip_for_want_of(program);
            return None;
        };
        let mut command = Command::new(path);
        command.args(args).stdin(Stdio::null());
        self.client.enter(&mut command);
        let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
        Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }
}

/// A running `pinhole registry`. Dropping it ends it as a person would, and fails the test if it does not end well.
pub struct Registry {
    child: Mutex<Child>,
    output: Arc<Mutex<String>>,
    errors: Arc<Mutex<String>>,
}

impl Registry {
    fn start(namespace: &Namespace, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pinhole"));
        command.arg("registry").args(args).arg("--json");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        namespace.enter(&mut command);
        let mut child = command.spawn().expect("pinhole starts");
        let output = collect(child.stdout.take().expect("its output"));
        let errors = collect(child.stderr.take().expect("its errors"));
        Self { child: Mutex::new(child), output, errors }
    }

    pub fn is_running(&self) -> bool {
        self.child.lock().expect("no panic").try_wait().expect("its state").is_none()
    }

    /// The events it has printed.
    pub fn output(&self) -> String {
        self.output.lock().expect("no panic").clone()
    }

    /// What it has said on standard error.
    pub fn errors(&self) -> String {
        self.errors.lock().expect("no panic").clone()
    }

    /// Its resident memory, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let pid = self.child.lock().expect("no panic").id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let child = self.child.get_mut().expect("no panic");
        if child.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        if let Some(pid) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let status = child.wait();
        let errors = self.errors.lock().map(|errors| errors.clone()).unwrap_or_default();
        assert!(status.is_ok_and(|status| status.success()) || thread::panicking(), "it stops cleanly: {errors}");
        assert!(!errors.contains("panicked") || thread::panicking(), "{errors}");
    }
}

/// Gathers what comes out of a pipe.
fn collect(pipe: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let gathered = Arc::clone(&text);
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            gathered.lock().expect("no panic").push_str(&(line + "\n"));
        }
    });
    text
}

/// Waits for something that nothing announces.
pub fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        match check() {
            Some(value) => return value,
            None => assert!(start.elapsed() < PATIENCE, "{what}: never"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}
