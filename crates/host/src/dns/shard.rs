//! One UDP socket and the thread that answers from it.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pinhole_dns::answers::{Answers, Asker, Outcome, Query, Reason, Transport, Unanswerable};
use pinhole_dns::edns::cookie::Cookies;
use pinhole_dns::policy::{Access, AccessList, RateLimiter, Verdict};
use pinhole_sansio::Instant;
use tokio::sync::mpsc;

use super::counters::{Counter, Counters, Tally};
use super::published::Reader;
use super::slow::{Reply, SlowQuery, SlowReason, Way, jar};
use crate::batch::Batch;

/// What the UDP threads and the TCP tasks of a server share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) access: AccessList,
    pub(super) cookies: Option<Arc<Cookies>>,
    /// One for all sockets: the kernel spreads a network's questions over them.
    pub(super) limiter: Option<Mutex<RateLimiter>>,
    pub(super) slow_on_miss: bool,
    pub(super) slow: mpsc::Sender<SlowQuery>,
    /// What `now` counts from.
    pub(super) epoch: std::time::Instant,
    pub(super) stop: AtomicBool,
}

impl Shared {
    fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// What the rate limit says to an answer for an unverified source.
    fn limit(&self, now: Instant, source: IpAddr) -> Verdict {
        let Some(limiter) = &self.limiter else { return Verdict::Pass };
        limiter.lock().unwrap_or_else(PoisonError::into_inner).check(now, source)
    }
}

/// A socket's thread.
pub(super) struct Shard {
    pub(super) shared: Arc<Shared>,
    pub(super) socket: Arc<OwnedFd>,
    /// The address of the socket; the wildcard if it serves all.
    pub(super) local: SocketAddr,
    /// All that comes in here has a proven source.
    pub(super) verified: bool,
    pub(super) answers: Reader,
    pub(super) tally: Arc<Tally>,
}

impl Shard {
    /// Answers until the server stops.
    pub(super) fn run(mut self) {
        let mut batch = Batch::new(self.local.ip().is_unspecified());
        let mut counted = Counters::default();
        let socket = Arc::clone(&self.socket);
        loop {
            let received = batch.receive(socket.as_fd());
            if self.shared.stop.load(Ordering::Acquire) {
                break;
            }
            let count = match received {
                Ok(count) => count,
                Err(error) => {
                    // What a previous reply met on its way (ip(7) "asynchronous errors"); the next call is a new one.
                    tracing::debug!(%error, local = %self.local, "receiving DNS queries");
                    continue;
                }
            };
            let now = self.shared.now();
            // The borrow of the reader ends with the batch: new answers count from the next one on.
            let Self { shared, socket, local, verified, answers, tally } = &mut self;
            let answers = answers.current();
            let desk = Desk { shared, socket, local: *local, verified: *verified, answers, tally };
            for index in 0..count {
                counted.add(Counter::UdpReceived);
                if let Some(len) = desk.serve(&mut batch, index, now, &mut counted) {
                    counted.reply(&batch.message(index).1[..len]);
                    batch.reply(index, len);
                }
            }
            // Before sending: who has an answer finds it counted.
            self.tally.take(&mut counted);
            let failed = batch.send(self.socket.as_fd());
            (0..failed).for_each(|_| counted.add(Counter::SendFailed));
        }
    }
}

/// A shard while it works on one batch.
struct Desk<'a> {
    shared: &'a Shared,
    socket: &'a Arc<OwnedFd>,
    local: SocketAddr,
    verified: bool,
    answers: &'a Answers,
    tally: &'a Arc<Tally>,
}

impl Desk<'_> {
    /// Decides about one message; the length of the reply to send at once.
    fn serve(&self, batch: &mut Batch, index: usize, now: Instant, counted: &mut Counters) -> Option<usize> {
        let Some(source) = batch.source(index) else {
            counted.add(Counter::DropShort);
            return None;
        };
        let access = self.shared.access.access(source.ip());
        if access == Access::Drop {
            counted.add(Counter::DropAccess);
            return None;
        }
        // Packets with a loopback source from elsewhere are martians: the kernel lets none in.
        let verified = self.verified || source.ip().is_loopback();
        let destination = batch.destination(index);
        let cookies = self.shared.cookies.as_ref().map(|cookies| jar(cookies, source.ip()));
        let asker = Asker { transport: Transport::Udp, verified, cookies, option: None };
        let (message, out) = batch.message(index);
        let query = match Query::read(message) {
            Ok(query) => query,
            Err(unanswerable) => {
                // An error is an answer too; there is no shorter one to send in its place.
                let limited = matches!(unanswerable, Unanswerable::Error(_)) && !verified;
                if limited && self.shared.limit(now, source.ip()) != Verdict::Pass {
                    counted.add(Counter::DropRate);
                    return None;
                }
                return written(unanswerable.reply(message, out), counted);
            }
        };
        let asker = Asker { verified: asker.proven(&query), ..asker };
        let verdict = if asker.verified { Verdict::Pass } else { self.shared.limit(now, source.ip()) };
        let outcome = match verdict {
            Verdict::Drop => {
                counted.add(Counter::DropRate);
                return None;
            }
            Verdict::Slip => {
                counted.add(Counter::Slipped);
                query.truncated(&asker, out)
            }
            Verdict::Pass if access == Access::Refuse => query.refused(&asker, out),
            Verdict::Pass => self.answers.reply(&query, &asker, out),
        };
        let reason = slow_reason(outcome, self.shared);
        let len = written(outcome, counted)?;
        let Some(reason) = reason else { return Some(len) };
        let Ok(permit) = self.shared.slow.try_reserve() else {
            counted.add(Counter::SlowFull);
            return Some(len);
        };
        counted.add(Counter::Slow);
        let way =
            Way::Udp { socket: Arc::clone(self.socket), local: destination, to: source, tally: Arc::clone(self.tally) };
        permit.send(SlowQuery {
            source,
            local: SocketAddr::new(destination.unwrap_or(self.local.ip()), self.local.port()),
            transport: Transport::Udp,
            verified: asker.verified,
            reason,
            message: message.to_vec(),
            reply: Reply::new(way, out[..len].to_vec()),
            cookies: self.shared.cookies.clone(),
        });
        None
    }
}

/// The length of what was written, or nothing and the reason counted.
pub(super) fn written(outcome: Outcome, counted: &mut Counters) -> Option<usize> {
    match outcome {
        Outcome::Reply(len) | Outcome::Miss(len) | Outcome::Escalate(len) => return Some(len),
        Outcome::Drop(Reason::TooShort) => counted.add(Counter::DropShort),
        Outcome::Drop(Reason::Response) => counted.add(Counter::DropResponse),
        Outcome::Drop(Reason::NoRoom) => counted.add(Counter::SendFailed),
    }
    None
}

/// Why the owner of the server should see the query, if it should.
pub(super) fn slow_reason(outcome: Outcome, shared: &Shared) -> Option<SlowReason> {
    match outcome {
        Outcome::Escalate(_) => Some(SlowReason::Escalated),
        Outcome::Miss(_) if shared.slow_on_miss => Some(SlowReason::Miss),
        Outcome::Reply(_) | Outcome::Miss(_) | Outcome::Drop(_) => None,
    }
}
