//! Numbered datagrams through the tunnel, and what became of each.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pinhole_netns::Host;

use super::until;

/// Bytes of a datagram: no keepalive, question or echo request is as long.
pub const SIZE: usize = 1_000;
/// The time between two datagrams.
const PACE: Duration = Duration::from_millis(5);
/// What has not come this long after the last was sent will not come. Only where the last is lost is it waited for.
const STRAGGLERS: Duration = Duration::from_secs(5);

/// Datagrams from one host to another, one every 5 ms, until it is finished or dropped.
#[derive(Debug)]
pub struct Stream {
    log: Arc<Mutex<Log>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What became of the datagrams so far.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// When each was sent, and when it arrived first.
    pub packets: Vec<(Instant, Option<Instant>)>,
}

impl Stream {
    /// Starts to send from `from` to the tunnel address `target` of `to`.
    pub fn start(from: &Host, to: &Host, target: Ipv4Addr) -> Self {
        let receiver = to.run(|| UdpSocket::bind((target, 0))).expect("a thread").expect("it has its tunnel address");
        let target = receiver.local_addr().expect("bound");
        receiver.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let sender = from.run(|| UdpSocket::bind("0.0.0.0:0")).expect("a thread").expect("a socket");
        let (log, stop) = (Arc::new(Mutex::new(Log::default())), Arc::new(AtomicBool::new(false)));
        let threads = vec![
            {
                let (log, stop) = (Arc::clone(&log), Arc::clone(&stop));
                std::thread::spawn(move || send(&sender, target, &log, &stop))
            },
            {
                let (log, stop) = (Arc::clone(&log), Arc::clone(&stop));
                std::thread::spawn(move || receive(&receiver, &log, &stop))
            },
        ];
        Self { log, stop, threads }
    }

    /// What became of the datagrams so far.
    pub fn log(&self) -> Log {
        self.log.lock().expect("no thread panics").clone()
    }

    /// Waits until a datagram arrives that was sent after `moment`; says how long after `moment` it arrived.
    ///
    /// # Panics
    /// When none does within the usual patience.
    pub fn resumed_after(&self, moment: Instant) -> Duration {
        let arrived = || {
            let log = self.log.lock().expect("no thread panics");
            let later = log.packets.iter().rev().take_while(|(sent, _)| *sent > moment);
            later.filter_map(|(_, arrived)| *arrived).min()
        };
        until("a datagram through the tunnel", arrived).duration_since(moment)
    }

    /// Lets `count` more datagrams be sent.
    pub fn go_on(&self, count: usize) {
        let aim = self.log.lock().expect("no thread panics").packets.len() + count;
        until("more datagrams", || (self.log.lock().expect("no thread panics").packets.len() >= aim).then_some(()));
    }

    /// Stops, waits for stragglers, and tells what became of all.
    pub fn finish(mut self) -> Log {
        self.end();
        self.log()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().expect("a thread"));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.end();
    }
}

impl Log {
    /// The numbers of those that did not arrive.
    pub fn lost(&self) -> Vec<usize> {
        let missing = self.packets.iter().enumerate().filter(|(_, (_, arrived))| arrived.is_none());
        missing.map(|(number, _)| number).collect()
    }

    /// How many arrived.
    pub fn arrived(&self) -> usize {
        self.packets.len() - self.lost().len()
    }
}

fn send(socket: &UdpSocket, target: SocketAddr, log: &Mutex<Log>, stop: &AtomicBool) {
    let start = Instant::now();
    for number in 0u32.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        // Noted before it is sent, so that it can be found when it arrives.
        log.lock().expect("no thread panics").packets.push((Instant::now(), None));
        let mut message = [0; SIZE];
        message[..4].copy_from_slice(&number.to_be_bytes());
        // A refusal (no route for a moment) is a lost datagram.
        let _ = socket.send_to(&message, target);
        std::thread::sleep((start + PACE * (number + 1)).saturating_duration_since(Instant::now()));
    }
}

fn receive(socket: &UdpSocket, log: &Mutex<Log>, stop: &AtomicBool) {
    let mut buffer = [0; 2 * SIZE];
    let mut since_stop = None;
    loop {
        let received = socket.recv(&mut buffer);
        let mut log = log.lock().expect("no thread panics");
        if let Ok(SIZE) = received {
            let number = u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
            let slot = &mut log.packets[number as usize].1;
            slot.get_or_insert_with(Instant::now);
        }
        if stop.load(Ordering::Relaxed) {
            let since = *since_stop.get_or_insert_with(Instant::now);
            let all = log.packets.last().is_some_and(|(_, arrived)| arrived.is_some());
            if all && received.is_err() || since.elapsed() > STRAGGLERS {
                return;
            }
        }
    }
}

/// Sends one datagram through the tunnel and back, again and again until it works; says how long after `begin` it was back.
pub fn first_echo(from: &Host, to: &Host, target: Ipv4Addr, begin: Instant) -> Duration {
    let far = to.run(|| UdpSocket::bind((target, 0))).expect("a thread").expect("it has its tunnel address");
    let near = from.run(|| UdpSocket::bind("0.0.0.0:0")).expect("a thread").expect("a socket");
    let at = far.local_addr().expect("bound");
    let short = Some(Duration::from_millis(10));
    near.set_read_timeout(short).expect("a timeout");
    far.set_nonblocking(true).expect("a socket");
    let mut buffer = [0; 2 * SIZE];
    until("an echo through the tunnel", || {
        let _ = near.send_to(&[7; SIZE], at);
        while let Ok((length, sender)) = far.recv_from(&mut buffer) {
            let _ = far.send_to(&buffer[..length], sender);
        }
        near.recv(&mut buffer).ok().filter(|length| *length == SIZE).map(|_| begin.elapsed())
    })
}
