//! Binding, publishing and stopping.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use pinhole_dns::answers::Answers;
use pinhole_dns::edns::cookie::Cookies;
use pinhole_dns::policy::{AccessList, RateLimit, RateLimiter};
use socket2::{Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};

use super::counters::{Counters, Tally};
use super::published::Published;
use super::shard::{Shard, Shared};
use super::slow::SlowQuery;
use super::tcp::Acceptor;
use crate::bound::{Place, more_shards, open};

/// How often a free port is looked for that is free by UDP and TCP.
const PORT_ATTEMPTS: usize = 16;

/// Where to listen, by UDP and TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address and port; port 0 for any that is free by both. The wildcard serves all addresses of its family and
    /// answers from the one that was asked.
    pub address: SocketAddr,
    /// Only what comes in through this interface (`SO_BINDTODEVICE`).
    pub device: Option<String>,
    /// The source of all that comes in here is proven, because the way in proves it: a WireGuard interface does.
    pub verified: bool,
    /// Another server of this program has the port at the wildcard, and was bound before this one.
    pub beside_wildcard: bool,
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self { address, device: None, verified: false, beside_wildcard: false }
    }
}

/// What a server is to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: Vec<Listen>,
    /// Threads and UDP sockets per address; 0 for one per processor.
    pub shards: usize,
    /// Who may ask.
    pub access: AccessList,
    /// How often unverified sources get answers; `None` for always.
    pub rate: Option<RateLimit>,
    /// The secret of DNS cookies; `None` for no cookies.
    pub cookies: Option<[u8; 16]>,
    /// Queries that miss go to the owner of the server too, not only those with the option it asked for.
    pub slow_on_miss: bool,
    /// How many queries may wait for the owner of the server.
    pub slow_queue: usize,
    /// How many TCP connections there may be.
    pub connections: usize,
    /// Hides from clients which of their networks share a bucket; any random number.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            shards: 0,
            access: AccessList::default(),
            rate: Some(RateLimit::default()),
            cookies: None,
            slow_on_miss: false,
            slow_queue: 256,
            connections: 256,
            seed: 0,
        }
    }
}

/// Why the server cannot listen.
#[derive(Debug)]
pub struct BindError {
    /// Where.
    pub listen: Listen,
    /// "UDP" or "TCP".
    pub protocol: &'static str,
    /// What the kernel said.
    pub source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { listen, protocol, source } = self;
        let (address, port) = (listen.address, listen.address.port());
        write!(f, "cannot answer DNS at {address} ({protocol}): ")?;
        let flag = if *protocol == "UDP" { 'u' } else { 't' };
        match source.raw_os_error() {
            Some(libc::EADDRINUSE) => write!(
                f,
                "another program has the port; `ss -ln{flag}p sport = :{port}` names it: stop it, or listen at another \
                 address or port"
            ),
            Some(libc::EACCES) => write!(
                f,
                "ports below 1024 need a permission: run as root, or give the program CAP_NET_BIND_SERVICE, or listen at a \
                 higher port"
            ),
            Some(libc::EADDRNOTAVAIL) => {
                write!(f, "no interface of this host has that address; is the tunnel or network up?")
            }
            Some(libc::EPERM | libc::ENODEV) => {
                let device = listen.device.as_deref().unwrap_or("?");
                write!(f, "cannot bind to the interface {device}: {source}; does it exist, and may we (CAP_NET_RAW)?")
            }
            _ => write!(f, "{source}"),
        }
    }
}

/// What the kernel said is told by `Display`, in better words, and is no source beside it.
impl std::error::Error for BindError {}

/// A running server. Stops when dropped; [`stop`](Self::stop) also waits for its tasks.
#[derive(Debug)]
pub struct Server {
    published: Arc<Published>,
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    tallies: Vec<Arc<Tally>>,
    sockets: Vec<Arc<OwnedFd>>,
    threads: Vec<JoinHandle<()>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Server {
    /// Listens and answers from `answers` until something else is published. The receiver yields what the owner is to
    /// answer; when it is dropped, all is answered from the data.
    ///
    /// The sockets belong to the network namespace of the calling thread. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`] for the first address that cannot be listened at; nothing is left listening then.
    pub fn bind(config: Config, answers: Arc<Answers>) -> Result<(Self, mpsc::Receiver<SlowQuery>), BindError> {
        let (slow, slow_queries) = mpsc::channel(config.slow_queue.max(1));
        let shared = Arc::new(Shared {
            access: config.access,
            cookies: config.cookies.map(|secret| Arc::new(Cookies::new(secret))),
            limiter: config.rate.map(|limit| Mutex::new(RateLimiter::new(limit, config.seed))),
            slow_on_miss: config.slow_on_miss,
            slow,
            epoch: std::time::Instant::now(),
            stop: AtomicBool::new(false),
        });
        let shards = match config.shards {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            shards => shards,
        };
        let (stop, stopped) = watch::channel(false);
        let mut server = Self {
            published: Arc::new(Published::new(answers)),
            shared,
            addresses: Vec::new(),
            tallies: Vec::new(),
            sockets: Vec::new(),
            threads: Vec::new(),
            tasks: Vec::new(),
            stop,
        };
        let room = Arc::new(Semaphore::new(config.connections));
        for listen in &config.listen {
            let failed = |protocol| move |source| BindError { listen: listen.clone(), protocol, source };
            let (address, udp, tcp) = bind_both(listen, shards)?;
            for (index, socket) in udp.into_iter().enumerate() {
                server.start_shard(socket, address, listen.verified, index).map_err(failed("UDP"))?;
            }
            let tally = Arc::new(Tally::default());
            server.tallies.push(Arc::clone(&tally));
            let acceptor = Acceptor {
                shared: Arc::clone(&server.shared),
                published: Arc::clone(&server.published),
                tally,
                listener: TcpListener::from_std(tcp.into()).map_err(failed("TCP"))?,
                room: Arc::clone(&room),
            };
            server.tasks.push(tokio::spawn(acceptor.run(stopped.clone())));
            server.addresses.push(address);
        }
        Ok((server, slow_queries))
    }

    fn start_shard(&mut self, socket: Socket, local: SocketAddr, verified: bool, index: usize) -> io::Result<()> {
        let (socket, tally) = (Arc::new(OwnedFd::from(socket)), Arc::new(Tally::default()));
        let shard = Shard {
            shared: Arc::clone(&self.shared),
            socket: Arc::clone(&socket),
            local,
            verified,
            answers: self.published.reader(),
            tally: Arc::clone(&tally),
        };
        let thread = std::thread::Builder::new().name(format!("dns-{index}")).spawn(move || shard.run())?;
        self.threads.push(thread);
        self.sockets.push(socket);
        self.tallies.push(tally);
        Ok(())
    }

    /// Answers from `answers` from now on.
    pub fn publish(&self, answers: Arc<Answers>) {
        self.published.publish(answers);
    }

    /// Where it listens, in the order of the configuration, with the ports it got.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What it has done so far.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        self.tallies.iter().for_each(|tally| tally.read_into(&mut sum));
        sum
    }

    /// Stops answering, closes all connections and waits until that is done.
    pub async fn stop(mut self) {
        self.signal();
        for task in std::mem::take(&mut self.tasks) {
            // A task that panicked has nothing left to stop.
            drop(task.await);
        }
    }

    /// Tells threads and tasks to end.
    fn signal(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.stop.send_replace(true);
        for socket in &self.sockets {
            // SAFETY: the descriptor is ours and open. An unconnected UDP socket answers ENOTCONN and wakes its readers all
            // the same (net/ipv4/af_inet.c inet_shutdown), which is what this is for.
            unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) };
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal();
        for thread in self.threads.drain(..) {
            // A thread that panicked has ended too.
            drop(thread.join());
        }
    }
}

/// Binds the UDP sockets and the TCP listener of one address.
fn bind_both(listen: &Listen, shards: usize) -> Result<(SocketAddr, Vec<Socket>, Socket), BindError> {
    let failed = |protocol| move |source| BindError { listen: listen.clone(), protocol, source };
    for attempt in 1.. {
        let first = open(place(listen, listen.address), Type::DGRAM).map_err(failed("UDP"))?;
        let address = first.local_addr().map_err(failed("UDP"))?.as_socket().unwrap_or(listen.address);
        let tcp = match open(place(listen, address), Type::STREAM) {
            Ok(tcp) => tcp,
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && listen.address.port() == 0
                    && attempt < PORT_ATTEMPTS =>
            {
                continue;
            }
            Err(error) => return Err(failed("TCP")(error)),
        };
        let udp = more_shards(place(listen, address), first, shards).map_err(failed("UDP"))?;
        if address.ip().is_unspecified() {
            // The port is ours now at every address: from here on our own sockets may share it.
            udp[0].set_reuse_port(true).map_err(failed("UDP"))?;
            tcp.set_reuse_port(true).map_err(failed("TCP"))?;
        }
        return Ok((address, udp, tcp));
    }
    Err(failed("TCP")(io::ErrorKind::AddrInUse.into()))
}

fn place(listen: &Listen, address: SocketAddr) -> Place<'_> {
    Place { address, device: listen.device.as_deref(), beside_another: listen.beside_wildcard }
}
