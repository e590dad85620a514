//! Binding and stopping.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use pinhole_sansio::{Instant, Rng};
use pinhole_stun::server::accounts::Accounts;
use pinhole_stun::server::call::Calls;
use pinhole_stun::server::limit::RateLimit;
use pinhole_stun::server::partner::PartnerKey;
use pinhole_stun::server::{self as machine, CallPolicy, Clock, Layout, Local};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use super::calls::{self, Phone};
use super::counters::{Counters, Tally};
use super::shard::{Granted, Outlets, Shard, Shared};
use super::sites::{BindError, Bound, BoundAt, Site};
use super::tcp::{Acceptor, Desk, Room};
use super::tls::Tls;
use super::xdp::{self, Xdp};

/// Calls that may wait for the task that makes them.
const CALL_QUEUE: usize = 256;

/// What a server is to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it serves.
    pub sites: Vec<Site>,
    /// Serve by TCP too.
    pub tcp: bool,
    /// Serve by TLS too.
    pub tls: Option<Tls>,
    /// Threads and UDP sockets per address and port; 0 for one per processor.
    pub shards: usize,
    /// What is shared with the partners.
    pub partner: Option<PartnerKey>,
    /// Requests of a source; each thread counts for itself, and the kernel gives all of one source's port to one.
    pub limit: RateLimit,
    /// Whether askers are called back.
    pub calls: CallPolicy,
    /// Who has a password; nobody else then gets an answer.
    pub accounts: Option<Accounts>,
    /// Answer clients of RFC 3489.
    pub legacy: bool,
    /// How many connections there may be.
    pub connections: usize,
    /// Interfaces whose plain requests are answered before they reach a socket. Without effect where there are accounts.
    pub xdp: Vec<xdp::Wish>,
    /// Random: makes nonces, and hides which sources share a place in tables.
    pub secret: [u8; 32],
}

impl Config {
    /// A server for everyone, at these sites.
    pub fn new(sites: Vec<Site>, secret: [u8; 32]) -> Self {
        Self {
            sites,
            tcp: true,
            tls: None,
            shards: 0,
            partner: None,
            limit: RateLimit::REQUESTS,
            calls: CallPolicy::Never,
            accounts: None,
            legacy: true,
            connections: 4_096,
            xdp: Vec::new(),
            secret,
        }
    }

    fn machine(&self, layout: Layout) -> machine::Config {
        machine::Config {
            layout,
            partner: self.partner.clone(),
            limit: self.limit,
            calls: self.calls,
            accounts: self.accounts.clone(),
            legacy: self.legacy,
        }
    }
}

/// A running server. Stops when dropped; [`stop`](Self::stop) also waits for its tasks.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    layouts: Vec<Layout>,
    addresses: Vec<SocketAddr>,
    tls_addresses: Vec<SocketAddr>,
    /// First to go: nothing answers for sockets that are closed.
    xdp: Option<Xdp>,
    tallies: Vec<Arc<Tally>>,
    sockets: Vec<Arc<OwnedFd>>,
    threads: Vec<JoinHandle<()>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Server {
    /// Listens and answers.
    ///
    /// The sockets belong to the network namespace of the calling thread. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`] for the first address that cannot be listened at; nothing is left listening then.
    pub fn bind(config: &Config) -> Result<Self, BindError> {
        let shared = Arc::new(Shared { epoch: std::time::Instant::now(), stop: AtomicBool::new(false) });
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let clock = Clock { at: Instant::EPOCH, unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX) };
        let shards = match config.shards {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            shards => shards,
        };
        let (stop, stopped) = watch::channel(false);
        let (calls, granted) = mpsc::channel(CALL_QUEUE);
        let mut server = Self {
            shared,
            layouts: Vec::new(),
            addresses: Vec::new(),
            tls_addresses: Vec::new(),
            xdp: None,
            tallies: Vec::new(),
            sockets: Vec::new(),
            threads: Vec::new(),
            tasks: Vec::new(),
            stop,
        };
        let seed = config.secret.iter().fold(0, |seed: u64, byte| seed.rotate_left(8) ^ u64::from(*byte));
        let mut start =
            Start { config, clock, rng: Rng::from_seed(seed), room: Room::new(config.connections), calls, stopped };
        let mut phones = Vec::new();
        let mut answers = Vec::new();
        for site in &config.sites {
            let bound = site.bind(shards, config.tcp, config.tls.as_ref().map(|tls| tls.port))?;
            answers.extend(bound.at.iter().map(|at| (at.address, bound.layout.plain_answers(at.local))));
            phones.push(server.start_site(&mut start, bound)?);
        }
        if !config.xdp.is_empty() && config.accounts.is_none() {
            server.xdp = Some(Xdp::new(config.xdp.clone(), answers, config.limit, start.rng.next_u64()));
        }
        let task = calls::run(Arc::clone(&server.shared), phones, granted, start.stopped.clone());
        server.tasks.push(tokio::spawn(task));
        Ok(server)
    }

    fn start_site(&mut self, start: &mut Start<'_>, bound: Bound) -> Result<Phone, BindError> {
        let site = self.layouts.len();
        self.layouts.push(bound.layout);
        let mut outlets: Outlets = [const { None }; 4];
        let mut ips = [None; 2];
        let mut at = Vec::new();
        for BoundAt { local, address, udp, tcp } in bound.at {
            let udp: Vec<Arc<OwnedFd>> = udp.into_iter().map(|socket| Arc::new(socket.into())).collect();
            outlets[local.index()] = udp.first().cloned();
            ips[usize::from(local.second_ip)] = Some(address.ip()).filter(|ip: &IpAddr| !ip.is_unspecified());
            at.push((local, address, udp, tcp));
        }
        let outlets = Arc::new(outlets);
        for (local, address, udp, tcp) in at {
            self.addresses.push(address);
            let failed = |protocol| move |source| BindError { address, protocol, source };
            for socket in udp {
                let tally = Arc::new(Tally::default());
                let shard = Shard {
                    shared: Arc::clone(&self.shared),
                    socket: Arc::clone(&socket),
                    outlets: Arc::clone(&outlets),
                    site,
                    local,
                    address,
                    server: start.machine(bound.layout),
                    calls: start.calls.clone(),
                    tally: Arc::clone(&tally),
                };
                let thread = std::thread::Builder::new().name(format!("stun-{}", self.threads.len()));
                self.threads.push(thread.spawn(move || shard.run()).map_err(failed("UDP"))?);
                self.sockets.push(socket);
                self.tallies.push(tally);
            }
            let Some(listener) = tcp else { continue };
            let listener = TcpListener::from_std(listener.into()).map_err(failed("TCP"))?;
            self.start_listener(start, listener, site, local, bound.layout, None);
        }
        for (local, address, listener) in bound.tls {
            self.tls_addresses.push(address);
            let failed = |source| BindError { address, protocol: "TLS", source };
            let listener = TcpListener::from_std(listener.into()).map_err(failed)?;
            // There is no second port for TLS, and so no discovery: only the address is told.
            let seen = SocketAddr::new(bound.layout.address(local).ip(), address.port());
            let tls = start.config.tls.as_ref().map(|tls| tls.acceptor.clone());
            self.start_listener(start, listener, site, local, Layout::single(seen), tls);
        }
        Ok(Phone { outlets, ips, calls: Calls::new() })
    }

    fn start_listener(
        &mut self,
        start: &mut Start<'_>,
        listener: TcpListener,
        site: usize,
        local: Local,
        layout: Layout,
        tls: Option<TlsAcceptor>,
    ) {
        let tally = Arc::new(Tally::default());
        let desk = Desk {
            shared: Arc::clone(&self.shared),
            site,
            local,
            server: Mutex::new(start.machine(layout)),
            calls: start.calls.clone(),
            tally: Arc::clone(&tally),
        };
        let acceptor = Acceptor { desk: Arc::new(desk), listener, room: Arc::clone(&start.room), tls };
        self.tasks.push(tokio::spawn(acceptor.run(start.stopped.clone())));
        self.tallies.push(tally);
    }

    /// The sites as clients see them, in the order of the configuration, with the ports they got.
    pub fn layouts(&self) -> &[Layout] {
        &self.layouts
    }

    /// Where it listens, with the ports it got.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where it listens for TLS, with the ports it got.
    pub fn tls_addresses(&self) -> &[SocketAddr] {
        &self.tls_addresses
    }

    /// What it has done so far.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        self.tallies.iter().for_each(|tally| tally.read_into(&mut sum));
        if let Some(xdp) = &self.xdp {
            xdp.count(&mut sum);
        }
        sum
    }

    /// Has XDP programs where [`Config::xdp`] wants them, for the interfaces and addresses that there are now; to be called once,
    /// and whenever these have changed. What is news since the last time.
    pub fn follow_interfaces(&mut self) -> Vec<xdp::Report> {
        self.xdp.as_mut().map(Xdp::follow).unwrap_or_default()
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
    fn signal(&mut self) {
        self.xdp = None;
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

/// What all threads and tasks are started with.
struct Start<'a> {
    config: &'a Config,
    clock: Clock,
    rng: Rng,
    room: Arc<Room>,
    calls: mpsc::Sender<Granted>,
    stopped: watch::Receiver<bool>,
}

impl Start<'_> {
    fn machine(&mut self, layout: Layout) -> machine::Server {
        machine::Server::new(self.config.machine(layout), self.config.secret, self.rng.next_u64(), self.clock)
    }
}
