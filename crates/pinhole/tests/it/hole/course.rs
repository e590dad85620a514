//! One side's course of an attempt on a real host: the machine, its sockets, and the hole that WireGuard is given.

use std::net::SocketAddr;
use std::time::{Duration, Instant as Moment};

use pinhole_host::extra::Sockets;
use pinhole_host::handover::{Handover, Hole};
use pinhole_host::own_port::OwnPort;
use pinhole_host::probe::Route;
use pinhole_netns::Host;
use pinhole_sansio::{Instant, Machine};
use pinhole_traversal::spray::{Input, Output, Reason, Settings, Spray, Via};
use pinhole_wg::Key;

use crate::support::plan::{DEVICE, PORT};

/// How an attempt ended.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The peer's endpoint for WireGuard, or why there is none.
    pub(super) direct: Result<SocketAddr, Reason>,
    /// The hole that WireGuard has been given, if it needed one.
    pub(super) handover: Option<Handover>,
    /// Probes that were sent.
    pub(super) probes: u32,
    /// From the beginning to the way.
    pub(super) took: Duration,
}

/// What happens next.
enum Next {
    Input(Input),
    Over,
}

/// Runs an attempt on `host` to its end: until the way is known, and what the peer may still have to be told has been.
pub(super) fn run(host: &Host, peer: Key, settings: &Settings) -> Outcome {
    let attempt = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(drive(peer, settings))
    };
    host.run(attempt).expect("a thread")
}

async fn drive(peer: Key, settings: &Settings) -> Outcome {
    let began = Moment::now();
    let now = || Instant::EPOCH + began.elapsed();
    let (route, remote) = (Route::default(), settings.remote.endpoint);
    let own = OwnPort::open(&route, PORT).expect("a raw socket");
    let (mut extra, mut handover, mut found) = (None::<Sockets>, None, None);
    let mut spray = Spray::new(now(), settings.clone());
    loop {
        while let Some(output) = spray.poll_output() {
            match output {
                Output::Open { sockets } => {
                    let opened = extra.insert(Sockets::open(sockets, remote, &route).expect("sockets"));
                    spray.handle_input(now(), Input::Opened { sockets: opened.len() });
                }
                Output::Transmit { via: Via::Own, to, ttl, bytes } => own.send(to, ttl, &bytes).expect("it leaves"),
                Output::Transmit { via: Via::Extra(number), to, ttl, bytes } => {
                    let extra = extra.as_ref().expect("they are open");
                    extra.send(number, to, ttl, &bytes).expect("it leaves");
                }
                Output::HandOver { via, remote } => {
                    let Via::Extra(number) = via else { panic!("WireGuard's own port is handed to WireGuard") };
                    let punched = extra.as_ref().expect("they are open").port(number).expect("bound");
                    let hole = Hole { own: PORT, punched, remote };
                    handover = Some(Handover::install(DEVICE, &peer, hole).expect("it is handed over"));
                    spray.handle_input(now(), Input::HandedOver);
                }
                Output::Direct { remote, .. } => {
                    found = Some((remote, began.elapsed()));
                    extra = None;
                }
                Output::GaveUp(reason) => {
                    let probes = spray.counters().probes;
                    return Outcome { direct: Err(reason), handover: None, probes, took: began.elapsed() };
                }
            }
        }
        match next(&own, extra.as_ref(), &spray, began, found.is_some()).await {
            Next::Input(input) => spray.handle_input(now(), input),
            Next::Over => {
                let (remote, took) = found.expect("it goes on until there is a way");
                return Outcome { direct: Ok(remote), handover, probes: spray.counters().probes, took };
            }
        }
    }
}

async fn next(own: &OwnPort, extra: Option<&Sockets>, spray: &Spray, began: Moment, is_found: bool) -> Next {
    /// How long the peer may repeat its last word.
    const LAST_WORDS: Duration = Duration::from_secs(1);
    let by_extra = async {
        match extra {
            Some(extra) => extra.recv().await.expect("a socket"),
            None => std::future::pending().await,
        }
    };
    let due = async {
        match spray.poll_timeout() {
            Some(deadline) => tokio::time::sleep_until((began + deadline.at.since(Instant::EPOCH)).into()).await,
            None => std::future::pending().await,
        }
    };
    let last = async {
        match is_found {
            true => tokio::time::sleep(LAST_WORDS).await,
            false => std::future::pending().await,
        }
    };
    tokio::select! {
        received = own.recv() => {
            let (from, bytes) = received.expect("a raw socket");
            Next::Input(Input::Received { via: Via::Own, from, bytes })
        }
        (number, from, bytes) = by_extra => Next::Input(Input::Received { via: Via::Extra(number), from, bytes }),
        () = due => Next::Input(Input::Timeout),
        () = last => Next::Over,
    }
}
