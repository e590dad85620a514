//! Queries that the owner of the server answers: those with the option it asked for, and, if it wants them, misses.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use pinhole_dns::answers::{Answers, Asker, CookieJar, Outcome, Query, Transport};
use pinhole_dns::edns::cookie::Cookies;
use pinhole_dns::edns::{self, MAX_UDP};
use pinhole_dns::message::MAX_MESSAGE;
use tokio::sync::oneshot;

use super::counters::{Counter, Counters, Tally};
use crate::batch::send_from;

/// A query that waits for its answer.
#[derive(Debug)]
pub struct SlowQuery {
    /// Who asks.
    pub source: SocketAddr,
    /// The address it was asked at.
    pub local: SocketAddr,
    /// What carried the query.
    pub transport: Transport,
    /// True if the source is proven: by TCP, by a cookie, or by where the query came in.
    pub verified: bool,
    /// Why it is here.
    pub reason: SlowReason,
    /// The query.
    pub message: Vec<u8>,
    /// How to answer. Dropped unused, it sends the answer of the compiled data.
    pub reply: Reply,
    pub(super) cookies: Option<Arc<Cookies>>,
}

/// Why a query is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowReason {
    /// It carries the EDNS option that [`Answers::escalating`] names.
    Escalated,
    /// The compiled data has nothing: the data may be behind.
    Miss,
}

impl SlowQuery {
    /// What a COOKIE option in the answer holds: every answer to a query with a cookie has one (RFC 7873 §5.2.3), also one
    /// that the owner of the server writes.
    pub fn cookie(&self) -> Option<Vec<u8>> {
        let query = Query::read(&self.message).ok()?;
        let jar = jar(self.cookies.as_deref()?, self.source.ip());
        let full = jar.cookies.answer(query.opt()?.option(edns::COOKIE)?, jar.client, jar.unix_seconds)?;
        Some(full.to_vec())
    }

    /// Answers from `answers`, with `option` in the OPT record if the query has one.
    pub fn answer(self, answers: &Answers, option: Option<(u16, &[u8])>) {
        let room = match self.transport {
            Transport::Udp => usize::from(MAX_UDP),
            Transport::Tcp => MAX_MESSAGE,
        };
        let mut out = vec![0; room];
        let cookies = self.cookies.as_deref().map(|cookies| jar(cookies, self.source.ip()));
        let asker = Asker { transport: self.transport, verified: self.verified, cookies, option };
        match answers.answer(&self.message, &asker, &mut out) {
            Outcome::Reply(len) | Outcome::Miss(len) | Outcome::Escalate(len) => {
                out.truncate(len);
                self.reply.send(out);
            }
            Outcome::Drop(_) => {}
        }
    }
}

/// What checking and making a cookie for `client` takes, now.
pub(super) fn jar(cookies: &Cookies, client: IpAddr) -> CookieJar<'_> {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Cookie time is the clock modulo 2^32 (RFC 9018 §4.3).
    CookieJar { cookies, client, unix_seconds: unix.as_secs() as u32 }
}

/// The way back to who asked.
#[derive(Debug)]
pub struct Reply {
    /// Sent if nothing else is.
    fallback: Option<Vec<u8>>,
    way: Option<Way>,
}

/// What the reply goes through.
#[derive(Debug)]
pub(super) enum Way {
    /// The socket the query came in on, the address to send from if the socket has several, the client.
    Udp { socket: Arc<OwnedFd>, local: Option<IpAddr>, to: SocketAddr, tally: Arc<Tally> },
    /// The task of the connection.
    Tcp(oneshot::Sender<Vec<u8>>),
}

impl Reply {
    pub(super) fn new(way: Way, fallback: Vec<u8>) -> Self {
        Self { fallback: Some(fallback), way: Some(way) }
    }

    /// Sends `response`.
    pub fn send(mut self, response: Vec<u8>) {
        self.deliver(response);
    }

    /// Sends `response` by UDP and keeps the way open, so that it can be sent again if it may have been lost. By TCP nothing
    /// is lost: there only the first counts.
    pub fn send_again(&mut self, response: &[u8]) {
        self.fallback = None;
        match &self.way {
            Some(Way::Udp { socket, local, to, tally }) => transmit(socket, *local, *to, tally, response),
            Some(Way::Tcp(_)) => self.deliver(response.to_vec()),
            None => {}
        }
    }

    /// Sends nothing: the client has asked again, and that question is answered instead.
    pub fn discard(mut self) {
        self.fallback = None;
    }

    fn deliver(&mut self, response: Vec<u8>) {
        match self.way.take() {
            Some(Way::Udp { socket, local, to, tally }) => transmit(&socket, local, to, &tally, &response),
            // A connection that has gone needs no answer.
            Some(Way::Tcp(task)) => drop(task.send(response)),
            None => {}
        }
    }
}

fn transmit(socket: &OwnedFd, local: Option<IpAddr>, to: SocketAddr, tally: &Tally, response: &[u8]) {
    match send_from(socket.as_fd(), local, to, response) {
        Ok(()) => {
            let mut counted = Counters::default();
            counted.reply(response);
            tally.take(&mut counted);
        }
        Err(_) => tally.add(Counter::SendFailed),
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let (Some(_), Some(fallback)) = (&self.way, self.fallback.take()) {
            self.deliver(fallback);
        }
    }
}
