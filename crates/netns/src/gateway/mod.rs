//! Our engine as a real router: a thread between two TUN devices.
//!
//! The model: the kernel on either side routes packets into its TUN device and takes what comes out of it for what a
//! neighbour sent. In between there is nothing but a [`Plane`] and the monotonic clock. A read takes up to 64 KiB of one
//! flow where the devices have segmentation offload, and the engine is asked once for all of it.
//!
//! It ends with its handle, and the devices with it.

mod crossing;
mod plane;

use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant as Moment;

use pinhole_host::tun::{READ_LEN, Tun};
use pinhole_netfilter::Packet;
use pinhole_netfilter::behaviour::Side;
use pinhole_sansio::Instant;
use pinhole_wire::offload::VnetHdr;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

pub use crossing::{Crossing, Offload};
pub use plane::Plane;

/// How many packets one side may send before the other is looked at.
const BURST: usize = 64;

/// A running router; dropping it stops the thread and takes the devices away.
#[derive(Debug)]
pub struct Gateway {
    plane: Arc<Mutex<Plane>>,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Starts to carry packets between two devices, which have the same offload.
    ///
    /// # Errors
    /// `InvalidInput` if only one of the devices has offload; when there is no thread or no descriptor for it.
    pub fn start(plane: Plane, inside: Tun, outside: Tun) -> io::Result<Self> {
        if (inside.has_offload(), inside.has_udp_offload()) != (outside.has_offload(), outside.has_udp_offload()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "one device has offload and the other has not"));
        }
        let plane = Arc::new(Mutex::new(plane));
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let mut carrier = Carrier {
            plane: Arc::clone(&plane),
            tuns: [inside, outside],
            epoch: Moment::now(),
            buffer: vec![0; READ_LEN],
            packet: Packet::default(),
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("gateway".into()).spawn(move || carrier.run(&stopped))?;
        Ok(Self { plane, stop, thread: Some(thread) })
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
    epoch: Moment,
    buffer: Vec<u8>,
    packet: Packet,
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
            let mut polled = [watch(inside.as_fd()), watch(outside.as_fd()), watch(stop.as_fd())];
            match poll(&mut polled, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
            let [from_inside, from_outside, stopped] = polled.map(|fd| !fd.revents().is_empty());
            if stopped {
                return;
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
            let to = plane.process(now, from, &vnet, &mut self.packet);
            if let Some(to) = to {
                send(&self.tuns[index(to)], &vnet, &self.packet.bytes);
            }
            while let Some((to, bytes)) = plane.poll_output() {
                send(&self.tuns[index(to)], &VnetHdr::default(), &bytes);
            }
        }
        Ok(())
    }

    /// Tells the engine the time; returns when it wants to know it again.
    fn pass_time(&mut self) -> Option<Instant> {
        let now = self.now();
        let mut plane = lock(&self.plane);
        if plane.poll_timeout().is_some_and(|at| at <= now) {
            plane.handle_timeout(now);
        }
        while let Some((to, bytes)) = plane.poll_output() {
            send(&self.tuns[index(to)], &VnetHdr::default(), &bytes);
        }
        plane.poll_timeout()
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// An interface that is down, or a full queue, loses the packet as a cable would.
fn send(tun: &Tun, vnet: &VnetHdr, packet: &[u8]) {
    let _ = tun.write_with(vnet, packet);
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
