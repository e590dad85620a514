//! Our engine as a real router: a thread between two TUN devices, and beside the outer one a host's own address, if it shares
//! that.
//!
//! The model: the kernel on either side routes packets into its TUN device and takes what comes out of it for what a
//! neighbour sent. In between there is nothing but a [`Plane`] and the monotonic clock. A read takes up to 64 KiB of one
//! flow where the devices have segmentation offload, and the engine is asked once for all of it.
//!
//! It ends with its handle, and the devices with it.

mod listed;
mod pages;
mod plane;
mod raw;

use std::io;
use std::net::Ipv4Addr;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant as Moment;

use pinhole_netfilter::Packet;
use pinhole_netfilter::behaviour::Side;
use pinhole_sansio::Instant;
use pinhole_wire::offload::VnetHdr;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::tun::{READ_LEN, Tun};
pub use listed::Translation;
use pages::Pages;
pub use plane::{Plane, Traffic};
use raw::Raw;

/// How many packets one side may send before the other is looked at.
const BURST: usize = 64;

/// A running router; dropping it stops the thread and takes the devices away.
#[derive(Debug)]
pub struct Gateway {
    plane: Arc<Mutex<Plane>>,
    raw: Option<Arc<Raw>>,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    epoch: Moment,
}

impl Gateway {
    /// Starts to carry packets between two devices, which have the same offload.
    ///
    /// # Errors
    /// `InvalidInput` if only one of the devices has offload; when there is no thread or no descriptor for it.
    pub fn start(plane: Plane, inside: Tun, outside: Tun) -> io::Result<Self> {
        Self::carry(plane, [inside, outside], None)
    }

    /// The same where the outer address is this host's own, of which the gateway has some ports: what has no ports (ICMP and
    /// fragments) leaves as if the host had sent it, and ICMP to the address is heard whatever way it comes. In the network
    /// namespace of the calling thread.
    ///
    /// # Errors
    /// As [`start`](Self::start); `PermissionDenied` without CAP_NET_RAW.
    pub fn start_beside_host(plane: Plane, inside: Tun, outside: Tun, address: Ipv4Addr) -> io::Result<Self> {
        Self::carry(plane, [inside, outside], Some(Raw::open(address)?))
    }

    fn carry(plane: Plane, tuns: [Tun; 2], raw: Option<Raw>) -> io::Result<Self> {
        let [inside, outside] = &tuns;
        if (inside.has_offload(), inside.has_udp_offload()) != (outside.has_offload(), outside.has_udp_offload()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "one device has offload and the other has not"));
        }
        let plane = Arc::new(Mutex::new(plane));
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let raw = raw.map(Arc::new);
        let epoch = Moment::now();
        let mut carrier = Carrier {
            plane: Arc::clone(&plane),
            tuns,
            raw: raw.clone(),
            epoch,
            buffer: vec![0; READ_LEN],
            packet: Packet::default(),
            pages: Pages::default(),
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("gateway".into()).spawn(move || carrier.run(&stopped))?;
        Ok(Self { plane, raw, stop, thread: Some(thread), epoch })
    }

    /// Whether packets are carried. Not any more once a device has been deleted.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// The time as the engine has it.
    pub fn now(&self) -> Instant {
        since(self.epoch)
    }

    /// The outside has another address instead of the one that it had: see [`Plane::readdress`].
    ///
    /// # Errors
    /// If the new one is not this host's, and should be.
    pub fn readdress(&self, old: Ipv4Addr, new: Ipv4Addr, seed: u64) -> io::Result<()> {
        if let Some(raw) = &self.raw {
            raw.listen(new)?;
        }
        self.plane().readdress(self.now(), old, new, seed);
        Ok(())
    }

    /// The engine, to look into. No packet is carried while it is held.
    pub fn plane(&self) -> MutexGuard<'_, Plane> {
        lock(&self.plane)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread has.
struct Carrier {
    plane: Arc<Mutex<Plane>>,
    tuns: [Tun; 2],
    raw: Option<Arc<Raw>>,
    epoch: Moment,
    buffer: Vec<u8>,
    packet: Packet,
    pages: Pages,
}

impl Carrier {
    /// Waits for packets, the engine's next deadline, or the end.
    fn run(&mut self, stop: &OwnedFd) {
        // The kernel may otherwise wake a thread 50 us late to save power.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let mut deadline: Option<Instant> = None;
        loop {
            let timeout = deadline.map(|at| timespec(at.since(self.now())));
            let [inside, outside] = &self.tuns;
            let watch = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
            // Without a raw socket, the end is watched twice.
            let raw = self.raw.as_ref().map_or(stop.as_fd(), |raw| raw.as_fd());
            let mut polled = [watch(inside.as_fd()), watch(outside.as_fd()), watch(raw), watch(stop.as_fd())];
            match poll(&mut polled, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
            let [from_inside, from_outside, heard, stopped] = polled.map(|fd| !fd.revents().is_empty());
            if stopped {
                return;
            }
            if heard {
                self.listen();
            }
            for (side, ready) in [(Side::Inside, from_inside), (Side::Outside, from_outside)] {
                if ready && self.carry(side).is_err() {
                    // The device was deleted from under us: there is nothing left to carry.
                    return;
                }
            }
            deadline = self.pass_time();
        }
    }

    /// Takes what a side has sent through the engine.
    fn carry(&mut self, from: Side) -> io::Result<()> {
        let now = self.now();
        let mut plane = lock(&self.plane);
        for _ in 0..BURST {
            let Some((vnet, bytes)) = self.tuns[index(from)].read(&mut self.buffer)? else { break };
            self.packet.mark = 0;
            self.packet.bytes.clear();
            self.packet.bytes.extend_from_slice(bytes);
            if let Some(to) = plane.process(now, from, &vnet, &mut self.packet) {
                send(&self.tuns, self.raw.as_deref(), to, &vnet, &self.packet.bytes);
            }
            while let Some((to, bytes)) = plane.poll_output() {
                send(&self.tuns, self.raw.as_deref(), to, &VnetHdr::default(), &bytes);
            }
        }
        Ok(())
    }

    /// Takes what was heard of ICMP through the engine. Whatever that does not know is the host's.
    fn listen(&mut self) {
        let now = self.now();
        let Some(raw) = self.raw.as_deref() else { return };
        let mut plane = lock(&self.plane);
        for _ in 0..BURST {
            // An error is about one packet, and has been taken from the socket with this.
            let Ok(Some(bytes)) = raw.receive(&mut self.buffer) else { break };
            self.packet.mark = 0;
            self.packet.bytes.clear();
            self.packet.bytes.extend_from_slice(bytes);
            if let Some(to) = plane.process(now, Side::Outside, &VnetHdr::default(), &mut self.packet) {
                send(&self.tuns, Some(raw), to, &VnetHdr::default(), &self.packet.bytes);
            }
        }
    }

    /// Tells the engine the time; returns when it wants to know it again.
    fn pass_time(&mut self) -> Option<Instant> {
        let now = self.now();
        let mut plane = lock(&self.plane);
        if plane.poll_timeout().is_some_and(|at| at <= now) {
            plane.handle_timeout(now);
            if let Some(router) = plane.router() {
                self.pages.ask(router.memory());
            }
        }
        while let Some((to, bytes)) = plane.poll_output() {
            send(&self.tuns, self.raw.as_deref(), to, &VnetHdr::default(), &bytes);
        }
        plane.poll_timeout()
    }

    fn now(&self) -> Instant {
        since(self.epoch)
    }
}

/// Sends a packet to a side. An interface that is down, or a full queue, loses it as a cable would.
fn send(tuns: &[Tun; 2], raw: Option<&Raw>, to: Side, vnet: &VnetHdr, packet: &[u8]) {
    let _ = match raw {
        Some(raw) if to == Side::Outside && Raw::is_for(packet) => raw.send(packet),
        Some(_) | None => tuns[index(to)].write_with(vnet, packet),
    };
}

fn since(epoch: Moment) -> Instant {
    Instant::from_nanos(u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

fn lock(plane: &Mutex<Plane>) -> MutexGuard<'_, Plane> {
    // A panic elsewhere leaves an engine that is whole: it is changed by its own methods only.
    plane.lock().unwrap_or_else(PoisonError::into_inner)
}

const fn index(side: Side) -> usize {
    match side {
        Side::Inside => 0,
        Side::Outside => 1,
    }
}

fn timespec(duration: std::time::Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: duration.subsec_nanos().into() }
}
