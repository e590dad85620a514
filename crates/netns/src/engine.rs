//! Drives the core in real time: one thread between the TUN devices and the core.

use std::fs::File;
use std::io::{self, BufWriter};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pinhole_host::gateway::Plane;
use pinhole_lab::{Core, Input, Ledger, Output, Port, Seen};
use pinhole_netfilter::Packet;
use pinhole_netfilter::behaviour::Side;
use pinhole_sansio::{Instant, Machine};
use pinhole_wire::offload::VnetHdr;
use pinhole_wire::pcap;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::tun::Tun;

/// The largest packet of a TUN device without offload.
const LARGEST_PACKET: usize = 65_536;
/// How many packets one site may send before the others are looked at.
const BURST: usize = 64;
/// How many observations may wait for a reader of the tap; what comes then is missing there.
const TAP_BACKLOG: usize = 65_536;

/// What the tap saw, as it happens.
///
/// A reader that falls [`TAP_BACKLOG`](self) observations behind loses some; the [`Ledger`] loses none.
pub type Tap = Receiver<Seen>;

/// The running Internet; dropping it stops the thread.
#[derive(Debug)]
pub(crate) struct Engine {
    shared: Arc<Shared>,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    epoch: std::time::Instant,
    epoch_unix: Duration,
}

/// What the thread and its owner both touch.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) core: Core,
    pub(crate) ledger: Ledger,
    taps: Vec<SyncSender<Seen>>,
    captures: Vec<(Port, pcap::Writer<BufWriter<File>>)>,
    /// Between each site's cable and the core, in the order of the core's ports.
    planes: Vec<Option<Plane>>,
}

impl Engine {
    /// Starts to carry packets between the sites' ends, in the order of the core's ports: the TUN device of each, and the
    /// router of ours behind it if it has one.
    pub(crate) fn start(core: Core, ends: Vec<(Tun, Option<Plane>)>) -> io::Result<Self> {
        let (tuns, planes): (Vec<Tun>, Vec<Option<Plane>>) = ends.into_iter().unzip();
        let state = State { core, ledger: Ledger::default(), taps: Vec::new(), captures: Vec::new(), planes };
        let epoch_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let shared = Arc::new(Shared { state: Mutex::new(state), epoch: std::time::Instant::now(), epoch_unix });
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let (inner, stopped) = (Arc::clone(&shared), Arc::clone(&stop));
        let run = move || carry(&inner, &tuns, &stopped);
        let thread = std::thread::Builder::new().name("internet".into()).spawn(run)?;
        Ok(Self { shared, stop, thread: Some(thread) })
    }

    /// The moment that the core calls [`Instant::EPOCH`].
    pub(crate) fn epoch(&self) -> std::time::Instant {
        self.shared.epoch
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    pub(crate) fn tap(&mut self) -> Tap {
        let (sender, receiver) = sync_channel(TAP_BACKLOG);
        self.taps.push(sender);
        receiver
    }

    pub(crate) fn capture(&mut self, port: Port, path: &Path) -> io::Result<()> {
        self.captures.push((port, pcap::Writer::new(BufWriter::new(File::create(path)?))?));
        Ok(())
    }

    /// Ends all captures; their files are complete then.
    pub(crate) fn finish_captures(&mut self) -> io::Result<()> {
        self.captures.drain(..).try_for_each(|(_, writer)| writer.finish().map(drop))
    }

    /// The router of ours at a port.
    pub(crate) fn plane(&self, port: Port) -> Option<&Plane> {
        self.planes.get(port.index()).and_then(Option::as_ref)
    }

    /// Puts another router in the place of the one at a port.
    pub(crate) fn set_plane(&mut self, port: Port, plane: Option<Plane>) {
        if let Some(place) = self.planes.get_mut(port.index()) {
            *place = plane;
        }
    }

    /// A packet crosses the router of ours at a port, if there is one; returns where it goes.
    fn cross(&mut self, now: Instant, port: Port, from: Side, bytes: Vec<u8>) -> Option<(Side, Vec<u8>)> {
        let Some(plane) = &mut self.planes[port.index()] else {
            let to = match from {
                Side::Inside => Side::Outside,
                Side::Outside => Side::Inside,
            };
            return Some((to, bytes));
        };
        let mut packet = Packet::from(bytes);
        plane.process(now, from, &VnetHdr::default(), &mut packet).map(|to| (to, packet.bytes))
    }

    /// The next packet that a router of ours sends beside those that it was asked about.
    fn poll_planes(&mut self) -> Option<(Port, Side, Vec<u8>)> {
        let ports = self.core.ports().zip(&mut self.planes);
        let mut outputs = ports.filter_map(|(port, plane)| Some((port, plane.as_mut()?.poll_output()?)));
        outputs.next().map(|(port, (to, bytes))| (port, to, bytes))
    }

    fn record(&mut self, at: Duration, port: Port, packet: &[u8]) {
        // A capture that cannot be written (a full disk) ends; the packets go on.
        self.captures.retain_mut(|(at_port, writer)| *at_port != port || writer.write(at, packet).is_ok());
    }

    fn see(&mut self, seen: Seen) {
        self.ledger.add(&seen);
        // A tap whose reader is gone is forgotten; one that is full misses this.
        self.taps.retain(|tap| !matches!(tap.try_send(seen), Err(std::sync::mpsc::TrySendError::Disconnected(_))));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves a core that is whole: it is changed by its own methods only.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Lets core and routers take one input, and carries out what they want.
    fn step(&self, input: Input, tuns: &[Tun]) -> Option<Instant> {
        let now = self.now();
        let wall = self.epoch_unix + Duration::from_nanos(now.as_nanos());
        let mut state = self.lock();
        let mut step = Step { now, wall, state: &mut state, tuns };
        match input {
            Input::Packet(port, packet) => {
                let crossed = step.state.cross(now, port, Side::Inside, packet);
                step.leave(port, crossed);
            }
            Input::Timeout => step.pass_time(),
        }
        step.drain();
        let deadlines = state.planes.iter().flatten().filter_map(Plane::poll_timeout);
        deadlines.chain(state.core.poll_timeout().map(|deadline| deadline.at)).min()
    }
}

/// What happens at one moment.
struct Step<'a> {
    now: Instant,
    wall: Duration,
    state: &'a mut State,
    tuns: &'a [Tun],
}

impl Step<'_> {
    fn pass_time(&mut self) {
        self.state.core.handle_input(self.now, Input::Timeout);
        let is_due = |plane: &&mut Plane| plane.poll_timeout().is_some_and(|at| at <= self.now);
        self.state.planes.iter_mut().flatten().filter(is_due).for_each(|plane| plane.handle_timeout(self.now));
    }

    /// Carries out what the core and the routers want until they want nothing more.
    fn drain(&mut self) {
        loop {
            while let Some(output) = self.state.core.poll_output() {
                match output {
                    Output::Seen(seen) => self.state.see(seen),
                    Output::Packet(port, packet) => {
                        self.state.record(self.wall, port, &packet);
                        let crossed = self.state.cross(self.now, port, Side::Outside, packet);
                        self.leave(port, crossed);
                    }
                }
            }
            let Some((port, to, packet)) = self.state.poll_planes() else { return };
            self.leave(port, Some((to, packet)));
        }
    }

    /// Lets a packet leave a site's router: into the site or into the Internet.
    fn leave(&mut self, port: Port, packet: Option<(Side, Vec<u8>)>) {
        match packet {
            Some((Side::Outside, packet)) => {
                self.state.record(self.wall, port, &packet);
                self.state.core.handle_input(self.now, Input::Packet(port, packet));
            }
            // An interface that is down, or a full queue, loses the packet as a cable would.
            Some((Side::Inside, packet)) => drop(self.tuns[port.index()].write(&packet)),
            None => {}
        }
    }
}

/// The thread: waits for packets, the next arrival or the end.
fn carry(shared: &Shared, tuns: &[Tun], stop: &OwnedFd) {
    // The kernel may otherwise wake a thread 50 us late to save power.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let ports: Vec<Port> = shared.lock().core.ports().collect();
    let mut buffer = vec![0; LARGEST_PACKET];
    let mut deadline: Option<Instant> = None;
    loop {
        let fds = tuns.iter().map(|tun| PollFd::from_borrowed_fd(tun.as_fd(), PollFlags::IN));
        let mut polled: Vec<PollFd<'_>> = fds.chain([PollFd::new(stop, PollFlags::IN)]).collect();
        let timeout = deadline.map(|at| at.since(shared.now())).map(timespec);
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready.last() == Some(&true) {
            return;
        }
        deadline = shared.step(Input::Timeout, tuns);
        for ((&port, tun), _) in ports.iter().zip(tuns).zip(&ready).filter(|(_, ready)| **ready) {
            for _ in 0..BURST {
                let Ok(Some(length)) = tun.read(&mut buffer) else { break };
                deadline = shared.step(Input::Packet(port, buffer[..length].to_vec()), tuns);
            }
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: duration.subsec_nanos().into() }
}
