//! A WireGuard device that is only a UAPI socket: it answers every request with the peers it was given.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use pinhole_host::namespace::Namespace;

/// A peer as the device lists it.
#[derive(Clone, Debug)]
pub struct Peer {
    pub key: [u8; 32],
    pub endpoint: Option<String>,
    pub allowed: Vec<String>,
}

impl Peer {
    /// The peer whose key is made of `n`.
    pub fn new(n: u16, endpoint: &str, allowed: &[&str]) -> Self {
        let [high, low] = n.to_be_bytes();
        let mut key = [0x5a; 32];
        key[..2].copy_from_slice(&[high, low]);
        key[31] = low;
        Self::with_key(key, endpoint, allowed)
    }

    pub fn with_key(key: [u8; 32], endpoint: &str, allowed: &[&str]) -> Self {
        let endpoint = (!endpoint.is_empty()).then(|| endpoint.to_owned());
        Self { key, endpoint, allowed: allowed.iter().map(|&net| net.to_owned()).collect() }
    }

    /// The first label of its names: padded base32, in lower case.
    pub fn label(&self) -> String {
        base32(&self.key)
    }
}

/// RFC 4648 base32 with padding, in lower case, independent of the code under test.
fn base32(bytes: &[u8]) -> String {
    let bits = |at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
    let digit = |group: usize| (0..5).fold(0, |value, bit| value << 1 | usize::from(bits(group * 5 + bit)));
    let digits = (bytes.len() * 8).div_ceil(5);
    let mut text: String = (0..digits).map(|at| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[digit(at)])).collect();
    while !text.len().is_multiple_of(8) {
        text.push('=');
    }
    text
}

/// See the module. It ends when dropped.
pub struct Device {
    state: Arc<State>,
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
}

struct State {
    reply: Mutex<String>,
    reads: AtomicUsize,
    stop: AtomicBool,
    /// Requests are taken and not answered.
    silent: AtomicBool,
}

/// The private key of every fake device.
pub const PRIVATE_KEY: [u8; 32] = [0x48; 32];

impl Device {
    /// Starts a device in `namespace`.
    pub fn start(namespace: &Namespace, name: &str, peers: &[Peer]) -> Self {
        let inside = PathBuf::from(format!("/run/wireguard/{name}.sock"));
        let bind = || {
            std::fs::create_dir_all("/run/wireguard")?;
            UnixListener::bind(&inside)
        };
        let listener = namespace.run(bind).expect("a thread").expect("a socket");
        let state = Arc::new(State {
            reply: Mutex::new(reply(peers)),
            reads: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            silent: AtomicBool::new(false),
        });
        let served = Arc::clone(&state);
        let thread = std::thread::spawn(move || serve(&listener, &served));
        Self { state, path: namespace.path(&inside), thread: Some(thread) }
    }

    /// Gives it other peers.
    pub fn set(&self, peers: &[Peer]) {
        *self.state.reply.lock().expect("no panic") = reply(peers);
    }

    /// Makes it take requests without answering, as a stopped process does.
    pub fn silence(&self, silent: bool) {
        self.state.silent.store(silent, Ordering::Release);
    }

    /// How often it was read.
    pub fn reads(&self) -> usize {
        self.state.reads.load(Ordering::Acquire)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Release);
        // Wakes the thread.
        let _ = UnixStream::connect(&self.path);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

fn serve(listener: &UnixListener, state: &State) {
    let mut unanswered = Vec::new();
    for stream in listener.incoming().flatten() {
        if state.stop.load(Ordering::Acquire) {
            return;
        }
        let mut request = BufReader::new(&stream).lines().map_while(Result::ok);
        if !request.any(|line| line.is_empty()) {
            continue;
        }
        state.reads.fetch_add(1, Ordering::AcqRel);
        if state.silent.load(Ordering::Acquire) {
            unanswered.push(stream);
            continue;
        }
        let reply = state.reply.lock().expect("no panic").clone();
        // Who hung up needs no answer.
        let _ = (&stream).write_all(reply.as_bytes());
    }
}

/// The answer to `get=1` (wireguard.com/xplatform).
fn reply(peers: &[Peer]) -> String {
    let mut text = format!("private_key={}\nlisten_port=51820\n", hex(&PRIVATE_KEY));
    for peer in peers {
        let _ = writeln!(text, "public_key={}", hex(&peer.key));
        if let Some(endpoint) = &peer.endpoint {
            let _ = writeln!(text, "endpoint={endpoint}");
        }
        peer.allowed.iter().for_each(|net| {
            let _ = writeln!(text, "allowed_ip={net}");
        });
    }
    text + "errno=0\n\n"
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
