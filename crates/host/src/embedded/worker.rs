//! The thread of a device: waits on everything at once and runs each batch to its end.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::time::SystemTime;

use pinhole_sansio::{Duration, Instant};
use pinhole_tunnel::{Engine, Entropy, Outbox};
use pinhole_wg::uapi::{self, Request};
use pinhole_wg::{Device, DeviceUpdate, Key};
use pinhole_wire::offload::{Coalescer, Split};
use rustix::event::{EventfdFlags, epoll, eventfd};
use socket2::Socket;

use super::Error;
use super::adopted::Adopted;
use super::uapi::{Client, Listener};
use crate::tun::{READ_LEN, Tun};
use crate::udp::{self, Batch, Family, Udp};

/// Packets (of up to 64 KiB) read from the TUN device before anything else gets its turn.
const TUN_TURN: usize = 32;
/// Batches received from one socket before anything else gets its turn.
const UDP_TURN: usize = 4;
/// Bytes that may wait in the outbox before they are sent: while they are still in the cache.
const OUTBOX_BYTES: usize = 64 << 10;
/// Clients of the UAPI socket at one time.
const MAX_CLIENTS: usize = 64;

/// What the owner asks for.
pub(super) enum Command {
    /// Change the device.
    Apply(Box<DeviceUpdate>, SyncSender<io::Result<()>>),
    /// Send to an endpoint of a peer by this socket.
    Adopt { peer: Key, remote: SocketAddr, socket: Socket, reply: SyncSender<io::Result<()>> },
    /// Close that socket.
    Release(Key),
    /// Tell its state.
    Dump(SyncSender<Device>),
    /// End.
    Stop,
}

/// The owner's end: a queue, and an event that wakes the thread.
#[derive(Debug)]
pub(super) struct Commands {
    queue: Sender<Command>,
    wake: OwnedFd,
}

/// The thread's end.
pub(super) struct Requests {
    queue: Receiver<Command>,
    wake: OwnedFd,
}

impl Commands {
    pub(super) fn new() -> io::Result<(Self, Requests)> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (sender, receiver) = channel();
        let requests = Requests { queue: receiver, wake: wake.try_clone()? };
        Ok((Self { queue: sender, wake }, requests))
    }

    pub(super) fn send(&self, command: Command) -> Result<(), Error> {
        self.queue.send(command).map_err(|_| Error::Ended)?;
        rustix::io::write(&self.wake, &1u64.to_ne_bytes()).map_err(|_| Error::Ended)?;
        Ok(())
    }
}

/// What an epoll event is about. Clients are numbered by descriptor, above these.
const TOKEN_TUN: u64 = 0;
const TOKEN_V4: u64 = 1;
const TOKEN_V6: u64 = 2;
const TOKEN_LISTENER: u64 = 3;
const TOKEN_WAKE: u64 = 4;
const TOKEN_CLIENTS: u64 = 16;
/// Adopted sockets, too, far above.
const TOKEN_ADOPTED: u64 = 1 << 32;

/// The device.
pub(super) struct Worker {
    engine: Engine,
    clock: Clock,
    tun: Tun,
    udp: Udp,
    adopted: Adopted,
    requests: Requests,
    listener: Option<Listener>,
    clients: HashMap<RawFd, Client>,
    epoll: OwnedFd,
    outbox: Outbox,
    coalescer: Coalescer,
}

/// The buffers of the thread. The socket batch holds pointers into itself and so cannot change threads.
struct Buffers {
    tun: Vec<u8>,
    batch: Batch,
    vectors: Vec<libc::iovec>,
}

/// Which UDP socket has something.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// One of the device's own.
    Own(Family),
    /// An adopted one.
    Adopted(RawFd),
}

/// What the loop does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Continue,
    Stop,
}

impl Worker {
    pub(super) fn new(
        tun: Tun,
        udp: Udp,
        listener: Option<Listener>,
        requests: Requests,
        mtu: u16,
    ) -> Result<Self, Error> {
        let entropy: Entropy = Box::new(|bytes| {
            super::fill_random(bytes).expect("getrandom(2) does not fail once the kernel has gathered randomness");
        });
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let failed = |error: rustix::io::Errno| Error::Io("wait on descriptors", error.into());
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
        let coalescer = Coalescer::new(tun.has_udp_offload());
        let worker = Self {
            engine: Engine::new(entropy, wall, mtu),
            clock: Clock::start(),
            tun,
            udp,
            adopted: Adopted::default(),
            requests,
            listener,
            clients: HashMap::new(),
            epoll,
            outbox: Outbox::new(),
            coalescer,
        };
        worker.watch(worker.tun.as_fd(), TOKEN_TUN).map_err(failed)?;
        worker.watch(worker.requests.wake.as_fd(), TOKEN_WAKE).map_err(failed)?;
        if let Some(listener) = &worker.listener {
            worker.watch(listener.as_fd(), TOKEN_LISTENER).map_err(failed)?;
        }
        worker.watch_udp().map_err(failed)?;
        Ok(worker)
    }

    /// Changes the device; on an error nothing has changed.
    pub(super) fn apply(&mut self, update: &DeviceUpdate) -> io::Result<()> {
        if let Some(port) = update.listen_port.filter(|port| *port != self.udp.port()) {
            // 0 asks for any port, and there is one.
            let already = port == 0 && update.private_key.is_some() && self.engine.dump().listen_port != 0;
            if !already {
                self.rebind(port, update.fwmark)?;
            }
        }
        if let Some(mark) = update.fwmark {
            self.udp.set_mark(mark)?;
            self.adopted.set_mark(mark)?;
        }
        let now = self.clock.now();
        self.engine.apply(now, update, &mut self.outbox);
        if !self.adopted.is_empty() && (update.replace_peers || update.peers.iter().any(|peer| peer.remove)) {
            let device = self.engine.dump();
            self.adopted.retain(|peer| device.peers.iter().any(|one| one.public_key == *peer));
        }
        self.engine.set_listen_port(self.udp.port());
        self.flush();
        Ok(())
    }

    /// Runs until it is stopped or its interface is deleted.
    pub(super) fn run(mut self) -> Result<(), Error> {
        let mut buffers = Buffers {
            tun: vec![0; READ_LEN],
            batch: Batch::new(),
            vectors: Vec::with_capacity(libc::UIO_MAXIOV as usize),
        };
        let mut events = Vec::with_capacity(64);
        loop {
            events.clear();
            let timeout = self.engine.poll_timeout().map(|at| timespec(at.since(self.clock.now())));
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::Io("wait on descriptors", error.into())),
            }
            for event in &events {
                match self.serve(event.data.u64(), &mut buffers)? {
                    Flow::Continue => {}
                    Flow::Stop => return Ok(()),
                }
            }
            self.engine.handle_timeout(self.clock.now(), &mut self.outbox);
            self.flush();
        }
    }

    fn serve(&mut self, token: u64, buffers: &mut Buffers) -> Result<Flow, Error> {
        match token {
            TOKEN_TUN => self.serve_tun(buffers)?,
            TOKEN_V4 => self.serve_udp(Source::Own(Family::V4), buffers)?,
            TOKEN_V6 => self.serve_udp(Source::Own(Family::V6), buffers)?,
            adopted @ TOKEN_ADOPTED.. => {
                self.serve_udp(Source::Adopted((adopted - TOKEN_ADOPTED) as RawFd), buffers)?
            }
            TOKEN_LISTENER => self.accept(),
            TOKEN_WAKE => return Ok(self.serve_commands()),
            client => self.serve_client((client - TOKEN_CLIENTS) as RawFd),
        }
        Ok(Flow::Continue)
    }

    /// From the host to the peers.
    fn serve_tun(&mut self, buffers: &mut Buffers) -> Result<(), Error> {
        let now = self.clock.now();
        for _ in 0..TUN_TURN {
            match self.tun.read(&mut buffers.tun) {
                Ok(Some((vnet, packet))) => {
                    // The kernel makes no packet that is not one; if it did, there would be nobody to tell.
                    if let Ok(split) = Split::new(&vnet, packet) {
                        self.engine.send(now, &split, &mut self.outbox);
                    }
                }
                Ok(None) => break,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EBADFD) => return Err(Error::InterfaceGone(self.tun.name().into())),
                    Some(libc::EINTR) => {}
                    _ => return Err(Error::Io("read from the TUN device", error)),
                },
            }
            if self.outbox.len() >= OUTBOX_BYTES {
                self.flush();
            }
        }
        self.flush();
        Ok(())
    }

    /// From the peers to the host.
    fn serve_udp(&mut self, source: Source, buffers: &mut Buffers) -> Result<(), Error> {
        for _ in 0..UDP_TURN {
            let received = match source {
                Source::Own(family) => self.udp.receive(family, &mut buffers.batch),
                Source::Adopted(fd) => Ok(self.adopted.receive(fd, &mut buffers.batch)),
            };
            match received {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err(Error::Io("receive from the network", error)),
            }
            let now = self.clock.now();
            for index in 0..buffers.batch.len() {
                let Some(run) = buffers.batch.run(index) else { continue };
                let arena = buffers.batch.buffer();
                for start in (run.start..run.end).step_by(run.segment) {
                    let end = run.end.min(start + run.segment);
                    let packet = self.engine.receive(now, run.from, &mut arena[start..end], &mut self.outbox);
                    if let Some(packet) = packet {
                        self.coalescer.push(arena, start + packet.start..start + packet.end);
                    }
                }
            }
            self.deliver(buffers);
            self.flush();
        }
        Ok(())
    }

    fn deliver(&mut self, buffers: &mut Buffers) {
        let arena = buffers.batch.buffer();
        self.coalescer.finish(arena);
        for group in self.coalescer.groups() {
            if let Err(error) = self.tun.write(&group, arena, &mut buffers.vectors) {
                // An interface that is down takes nothing; that is no fault of ours.
                tracing::trace!(device = self.tun.name(), %error, "a packet was not taken by the host");
            }
        }
        self.coalescer.clear();
    }

    fn flush(&mut self) {
        for transmit in self.outbox.transmits() {
            let sent = match self.adopted.to(transmit.to) {
                Some(socket) => self.udp.send_by(socket, &transmit),
                None => self.udp.send(&transmit),
            };
            if let Err(error) = sent {
                // The network may be down for a while; WireGuard is used to losses and tries again.
                tracing::debug!(device = self.tun.name(), to = %transmit.to, %error, "not sent");
            }
        }
        self.outbox.clear();
    }

    fn serve_commands(&mut self) -> Flow {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.requests.wake, &mut count);
        loop {
            match self.requests.queue.try_recv() {
                // Whoever asked may have gone.
                Ok(Command::Apply(update, reply)) => drop(reply.try_send(self.apply(&update))),
                Ok(Command::Adopt { peer, remote, socket, reply }) => {
                    drop(reply.try_send(self.adopt(peer, remote, socket)));
                }
                Ok(Command::Release(peer)) => self.adopted.retain(|one| *one != peer),
                Ok(Command::Dump(reply)) => drop(reply.try_send(self.engine.dump())),
                Ok(Command::Stop) => return Flow::Stop,
                Err(_) => return Flow::Continue,
            }
        }
    }

    fn accept(&mut self) {
        while let Some(client) = self.listener.as_ref().and_then(Listener::accept) {
            let fd = client.as_fd().as_raw_fd();
            if self.clients.len() < MAX_CLIENTS && self.watch(client.as_fd(), TOKEN_CLIENTS + fd as u64).is_ok() {
                self.clients.insert(fd, client);
            }
        }
    }

    fn serve_client(&mut self, fd: RawFd) {
        let Some(mut client) = self.clients.remove(&fd) else { return };
        if client.handle(|request| self.answer(request)) {
            let write = if client.is_idle() { epoll::EventFlags::empty() } else { epoll::EventFlags::OUT };
            let token = epoll::EventData::new_u64(TOKEN_CLIENTS + fd as u64);
            if epoll::modify(&self.epoll, client.as_fd(), token, epoll::EventFlags::IN | write).is_ok() {
                self.clients.insert(fd, client);
            }
        }
    }

    fn answer(&mut self, request: &str) -> String {
        match uapi::parse_request(request) {
            Ok(Request::Get) => uapi::format_get_reply(&self.engine.dump(), 0),
            Ok(Request::Set(update)) => match self.apply(&update) {
                Ok(()) => uapi::format_reply(0),
                Err(error) => uapi::format_reply(error.raw_os_error().unwrap_or(libc::EIO)),
            },
            Err(refusal) => {
                tracing::warn!(device = self.tun.name(), reason = %refusal.reason, "a UAPI request was refused");
                uapi::format_reply(refusal.errno)
            }
        }
    }

    fn rebind(&mut self, port: u16, mark: Option<u32>) -> io::Result<()> {
        let udp = Udp::bind(port)?;
        udp.set_mark(mark.unwrap_or_else(|| self.engine.dump().fwmark))?;
        // Closing the old ones takes them off the list.
        self.udp = udp;
        Ok(self.watch_udp()?)
    }

    fn adopt(&mut self, peer: Key, remote: SocketAddr, socket: Socket) -> io::Result<()> {
        let device = self.engine.dump();
        if !device.peers.iter().any(|one| one.public_key == peer) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the device has no such peer"));
        }
        udp::tune(&socket)?;
        socket.set_mark(device.fwmark)?;
        self.watch(socket.as_fd(), TOKEN_ADOPTED + socket.as_raw_fd() as u64)?;
        self.adopted.insert(peer, remote, socket);
        Ok(())
    }

    fn watch_udp(&self) -> rustix::io::Result<()> {
        self.udp.descriptors().try_for_each(|(family, fd)| {
            self.watch(
                fd,
                match family {
                    Family::V4 => TOKEN_V4,
                    Family::V6 => TOKEN_V6,
                },
            )
        })
    }

    fn watch(&self, fd: BorrowedFd<'_>, token: u64) -> rustix::io::Result<()> {
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token), epoll::EventFlags::IN)
    }
}

/// Time since the device started, including what the machine slept: sessions age while it does.
struct Clock {
    start: Duration,
}

impl Clock {
    fn start() -> Self {
        Self { start: boot_time() }
    }

    fn now(&self) -> Instant {
        Instant::EPOCH + (boot_time() - self.start)
    }
}

fn boot_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn timespec(duration: Duration) -> rustix::event::Timespec {
    rustix::event::Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: duration.subsec_nanos().into() }
}
