//! One peer: its handshakes, sessions, queue and timers. The rules are those of Linux (drivers/net/wireguard: send.c,
//! receive.c, noise.c, timers.c), with liberties that every implementation bears:
//!
//! - Several initiations may be outstanding, and a response to any of them is taken. Linux keeps one, and forgets it when the
//!   other side's initiation crosses it, which costs both sides a timeout of 5 s; a puncher that sends an initiation every
//!   100 ms over a path of 300 ms would never hear the end of one.
//! - Several sessions may await their first packet, or receive what was sent before a later one took over, for the same
//!   reason.
//! - While there is no session, [copies](crate::copies) follow a handshake message.

use core::net::SocketAddr;
use std::collections::VecDeque;

use ipnet::IpNet;
use pinhole_sansio::{Duration, Instant};
use pinhole_wg::{Key, PresharedKey};
use pinhole_wire::offload::Split;
use pinhole_wire::wireguard::{COOKIE_REPLY_LEN, INITIATION_LEN, RESPONSE_LEN};

use crate::copies::Copies;
use crate::counters::Dropped;
use crate::noise::cookie::{self, COOKIE_LIFETIME, Mac};
use crate::noise::crypto::TAG_LEN;
use crate::noise::handshake::{self, Authentic, Initiated, Remote, Timestamp};
use crate::noise::session::{HEADER_LEN, Keys, OVERHEAD, OpenError, REJECT_AFTER, Session};
use crate::outbox::Outbox;
use crate::shared::{Core, PeerId};
use crate::timers::{KEEPALIVE_TIMEOUT, MAX_ATTEMPTS, REKEY_TIMEOUT, Timer, Timers};

/// Packets that wait for a session; the oldest go first (`MAX_STAGED_PACKETS`, drivers/net/wireguard/messages.h).
const MAX_STAGED: usize = 128;
/// Initiations that may be outstanding; the oldest go first. At one in 100 ms this covers a round trip of 1.6 s.
const MAX_INITIATIONS: usize = 16;
/// Sessions that may await their first packet, and sessions that only receive, each; the oldest go first. Every outstanding
/// initiation may become one of them.
const MAX_SESSIONS: usize = MAX_INITIATIONS;
/// Initiations to or from a peer come no closer than this (`INITIATIONS_PER_SECOND`, drivers/net/wireguard/messages.h).
const INITIATION_GAP: Duration = Duration::from_millis(20);

/// Why an initiation is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// There is something to send, or a session to renew.
    Need,
    /// The last one got no response.
    Retry,
    /// Someone who knows better than the timers asked for it.
    Asked,
}

/// An initiation of ours that may still be answered.
struct Outstanding {
    index: u32,
    mac1: Mac,
    state: Initiated,
}

/// What came of a transport message.
pub(crate) struct Opened {
    /// The length of the packet, padding included; 0 for a keepalive.
    pub(crate) len: usize,
}

/// One peer.
pub(crate) struct Peer {
    /// Its public key.
    pub(crate) key: Key,
    /// Where it is, as far as we know.
    pub(crate) endpoint: Option<SocketAddr>,
    /// Seconds between persistent keepalives; 0 for none.
    pub(crate) keepalive: u16,
    /// Its prefixes, in the order they were given.
    pub(crate) allowed_ips: Vec<IpNet>,
    /// When the last handshake completed, since the Unix epoch.
    pub(crate) last_handshake: Option<Duration>,
    /// Bytes received from it.
    pub(crate) rx_bytes: u64,
    /// Bytes sent to it.
    pub(crate) tx_bytes: u64,
    id: PeerId,
    remote: Remote,
    outstanding: VecDeque<Outstanding>,
    last_initiation: Option<Instant>,
    attempts: u32,
    lastminute_handshake: bool,
    greatest_timestamp: Timestamp,
    last_accepted: Option<Instant>,
    cookie: Option<(Mac, Instant)>,
    response_mac1: Option<(u32, Mac)>,
    current: Option<Session>,
    previous: VecDeque<Session>,
    unconfirmed: VecDeque<Session>,
    staged: VecDeque<Vec<u8>>,
    copies: Option<Copies>,
    timers: Timers,
}

impl Peer {
    /// A peer that nothing but its key is known of.
    pub(crate) fn new(core: &Core, id: PeerId, key: Key) -> Self {
        Self {
            key,
            endpoint: None,
            keepalive: 0,
            allowed_ips: Vec::new(),
            last_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
            id,
            remote: Remote::new(core.identity.as_ref(), *key.as_bytes(), [0; 32]),
            outstanding: VecDeque::new(),
            last_initiation: None,
            attempts: 0,
            lastminute_handshake: false,
            greatest_timestamp: [0; 12],
            last_accepted: None,
            cookie: None,
            response_mac1: None,
            current: None,
            previous: VecDeque::new(),
            unconfirmed: VecDeque::new(),
            staged: VecDeque::new(),
            copies: None,
            timers: Timers::default(),
        }
    }

    /// Follows a change of our own key: all sessions end.
    pub(crate) fn set_identity(&mut self, core: &mut Core) {
        self.forget(core);
        self.remote = Remote::new(core.identity.as_ref(), *self.key.as_bytes(), *self.remote.preshared());
    }

    /// Sets the preshared key of later handshakes; sessions stay.
    pub(crate) fn set_preshared_key(&mut self, key: PresharedKey) {
        self.remote.set_preshared(*key.as_bytes());
    }

    /// The preshared key, if it has one.
    pub(crate) fn preshared_key(&self) -> Option<PresharedKey> {
        Some(PresharedKey::from_bytes(*self.remote.preshared())).filter(|key| !key.is_zero())
    }

    /// Drops handshakes, sessions and what is queued, and gives their indices back.
    pub(crate) fn forget(&mut self, core: &mut Core) {
        let sessions = self.current.take().into_iter().chain(self.previous.drain(..)).chain(self.unconfirmed.drain(..));
        sessions.for_each(|session| core.release(session.local));
        self.outstanding.drain(..).for_each(|outstanding| core.release(outstanding.index));
        self.staged.clear();
        self.copies = None;
        self.timers.stop_all();
        self.last_initiation = None;
    }

    /// Sets the interval of persistent keepalives, and sends one at once when there were none.
    pub(crate) fn set_keepalive(&mut self, core: &mut Core, now: Instant, seconds: u16, out: &mut Outbox) {
        let began = self.keepalive == 0 && seconds != 0;
        self.keepalive = seconds;
        if seconds == 0 {
            self.timers.stop(Timer::Persistent);
        } else if began {
            self.send_keepalive(core, now, out);
        }
    }

    /// Sets the endpoint; what waited for one goes out.
    pub(crate) fn set_endpoint(&mut self, core: &mut Core, now: Instant, endpoint: SocketAddr, out: &mut Outbox) {
        let first = self.endpoint.replace(endpoint).is_none();
        if first && self.keepalive != 0 {
            self.send_keepalive(core, now, out);
        }
    }

    /// The earliest moment at which [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timers.earliest()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, core: &mut Core, now: Instant, out: &mut Outbox) {
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                Timer::Retransmit if self.attempts > MAX_ATTEMPTS => {
                    self.staged.clear();
                    self.timers.gave_up(now);
                }
                Timer::Retransmit => {
                    self.attempts += 1;
                    self.initiate(core, now, Reason::Retry, out);
                }
                Timer::Keepalive => {
                    self.send_keepalive(core, now, out);
                    if self.timers.take_another_keepalive() {
                        self.timers.set(Timer::Keepalive, now + KEEPALIVE_TIMEOUT);
                    }
                }
                Timer::NewHandshake => self.initiate(core, now, Reason::Need, out),
                Timer::ZeroKeys => {
                    self.staged.clear();
                    let keepalive = self.keepalive;
                    self.forget(core);
                    self.timers.crossed(now, keepalive);
                }
                Timer::Persistent => {
                    // Sending re-arms it; without an endpoint nothing is sent and setting one does.
                    self.send_keepalive(core, now, out);
                }
                Timer::Copy => self.send_copy(out),
            }
        }
    }

    /// Sends an initiation, unless one has just been sent.
    pub(crate) fn initiate(&mut self, core: &mut Core, now: Instant, reason: Reason, out: &mut Outbox) {
        if reason != Reason::Retry {
            self.attempts = 0;
        }
        let gap = match reason {
            Reason::Need | Reason::Retry => REKEY_TIMEOUT,
            Reason::Asked => INITIATION_GAP,
        };
        let too_soon = self.last_initiation.is_some_and(|last| now.since(last) < gap);
        let (Some(endpoint), false) = (self.endpoint, too_soon) else { return };
        let (timestamp, ephemeral) = (core.timestamp(now), core.random());
        let index = core.reserve(self.id);
        let Some(identity) = &core.identity else { return core.release(index) };
        let mut message = [0; INITIATION_LEN];
        let Some(state) = handshake::initiate(identity, &self.remote, index, &timestamp, ephemeral, &mut message)
        else {
            return core.release(index);
        };
        let mac1 = self.sign(now, &mut message);
        if self.outstanding.len() == MAX_INITIATIONS
            && let Some(oldest) = self.outstanding.pop_front()
        {
            core.release(oldest.index);
        }
        self.outstanding.push_back(Outstanding { index, mac1, state });
        self.last_initiation = Some(now);
        self.transmit_handshake(now, endpoint, &message, out);
        if reason != Reason::Retry {
            self.have_copied(now, endpoint, &message);
        }
        let jitter = core.jitter();
        self.timers.set(Timer::Retransmit, now + REKEY_TIMEOUT + jitter);
    }

    /// Takes an initiation whose sender this peer has proven to be, and answers it. False if it is a replay or comes too fast.
    pub(crate) fn accept_initiation(
        &mut self,
        core: &mut Core,
        now: Instant,
        from: SocketAddr,
        opened: handshake::Opened<'_>,
        out: &mut Outbox,
    ) -> bool {
        let Some((timestamp, authentic)) = opened.authenticate(&self.remote) else { return false };
        let flood = self.last_accepted.is_some_and(|last| now.since(last) < INITIATION_GAP);
        if timestamp <= self.greatest_timestamp || flood {
            return false;
        }
        self.greatest_timestamp = timestamp;
        self.last_accepted = Some(now);
        self.endpoint = Some(from);
        self.rx_bytes += INITIATION_LEN as u64;
        self.received(now);
        self.respond(core, now, authentic, from, out);
        true
    }

    fn respond(&mut self, core: &mut Core, now: Instant, authentic: Authentic, to: SocketAddr, out: &mut Outbox) {
        let ephemeral = core.random();
        let index = core.reserve(self.id);
        let mut message = [0; RESPONSE_LEN];
        let Some(keys) = handshake::respond(authentic, &self.remote, index, ephemeral, &mut message) else {
            return core.release(index);
        };
        self.response_mac1 = Some((index, self.sign(now, &mut message)));
        if self.unconfirmed.len() == MAX_SESSIONS
            && let Some(oldest) = self.unconfirmed.pop_front()
        {
            core.release(oldest.local);
        }
        self.unconfirmed.push_back(Session::new(&keys, false, now));
        self.timers.session_derived(now);
        self.transmit_handshake(now, to, &message, out);
        self.have_copied(now, to, &message);
    }

    /// Takes the response to one of our initiations.
    pub(crate) fn accept_response(
        &mut self,
        core: &mut Core,
        now: Instant,
        from: SocketAddr,
        index: u32,
        message: &[u8; RESPONSE_LEN],
        out: &mut Outbox,
    ) -> Result<(), Dropped> {
        let identity = core.identity.as_ref().ok_or(Dropped::NoKey)?;
        let at = self.outstanding.iter().position(|o| o.index == index).ok_or(Dropped::Replayed)?;
        let finished = handshake::finish(&self.outstanding[at].state, identity, &self.remote, index, message);
        let keys = finished.ok_or(Dropped::Forged)?;
        // Later initiations stay: if they were received, the responder may have replaced the session of this one.
        self.outstanding.drain(..=at).filter(|o| o.index != index).for_each(|o| core.release(o.index));
        self.endpoint = Some(from);
        self.rx_bytes += RESPONSE_LEN as u64;
        self.received(now);
        self.begin_initiated(core, now, &keys);
        self.handshake_complete(core, now);
        // Something must be sent so that the responder may use the session, too.
        self.send_keepalive(core, now, out);
        Ok(())
    }

    fn begin_initiated(&mut self, core: &mut Core, now: Instant, keys: &Keys) {
        self.take_over(core, now, Session::new(keys, true, now));
        self.timers.session_derived(now);
    }

    /// Sends with `session` from now on; the one before only receives.
    fn take_over(&mut self, core: &mut Core, now: Instant, session: Session) {
        self.previous.extend(self.current.replace(session));
        let surplus = self.previous.len().saturating_sub(MAX_SESSIONS);
        self.previous.drain(..surplus).for_each(|oldest| core.release(oldest.local));
        self.previous.retain(|session| {
            let useful = now.since(session.since) < REJECT_AFTER;
            if !useful {
                core.release(session.local);
            }
            useful
        });
    }

    /// Takes a cookie, with which the next handshake message to this peer is signed. False if it belongs to nothing we sent.
    pub(crate) fn accept_cookie(&mut self, now: Instant, index: u32, message: &[u8; COOKIE_REPLY_LEN]) -> bool {
        let initiation = self.outstanding.iter().find(|o| o.index == index).map(|o| o.mac1);
        let response = self.response_mac1.filter(|(other, _)| *other == index).map(|(_, mac1)| mac1);
        let Some(mac1) = initiation.or(response) else { return false };
        let Some(cookie) = cookie::open_reply(&self.remote.cookie_key, &mac1, message) else { return false };
        self.cookie = Some((cookie, now));
        self.end_copies();
        true
    }

    /// Opens a transport message in place.
    pub(crate) fn open(
        &mut self,
        core: &mut Core,
        now: Instant,
        from: SocketAddr,
        index: u32,
        message: &mut [u8],
        out: &mut Outbox,
    ) -> Result<Opened, OpenError> {
        let len = match self.session(index) {
            Some(session) => session.open(now, message)?,
            None => return Err(OpenError::Expired),
        };
        if self.endpoint != Some(from) {
            self.endpoint = Some(from);
        }
        self.rx_bytes += message.len() as u64;
        if let Some(at) = self.unconfirmed.iter().position(|session| session.local == index) {
            self.confirm(core, now, at, out);
        }
        self.received(now);
        if len != 0 {
            self.timers.data_received(now);
        }
        self.renew_on_receive(core, now, index, out);
        Ok(Opened { len })
    }

    fn session(&mut self, index: u32) -> Option<&mut Session> {
        let known = self.current.iter_mut().chain(&mut self.unconfirmed).chain(&mut self.previous);
        known.into_iter().find(|session| session.local == index)
    }

    /// The initiator has proven that it has the session we made as responder.
    fn confirm(&mut self, core: &mut Core, now: Instant, at: usize, out: &mut Outbox) {
        let Some(session) = self.unconfirmed.remove(at) else { return };
        // Older ones belong to initiations that the initiator has given up; newer ones may be what it uses next.
        self.unconfirmed.drain(..at).for_each(|older| core.release(older.local));
        self.take_over(core, now, session);
        self.handshake_complete(core, now);
        self.send_staged(core, now, out);
    }

    fn handshake_complete(&mut self, core: &Core, now: Instant) {
        self.timers.stop(Timer::Retransmit);
        self.end_copies();
        self.attempts = 0;
        self.lastminute_handshake = false;
        self.last_handshake = Some(core.wall(now));
    }

    /// Renews a session that is close to its end although nothing is sent, once.
    fn renew_on_receive(&mut self, core: &mut Core, now: Instant, index: u32, out: &mut Outbox) {
        const AGE: Duration = REJECT_AFTER.checked_sub(KEEPALIVE_TIMEOUT).unwrap().checked_sub(REKEY_TIMEOUT).unwrap();
        let Some(current) = self.current.as_ref().filter(|session| session.local == index && session.initiator) else {
            return;
        };
        if !self.lastminute_handshake && now.since(current.since) >= AGE {
            self.lastminute_handshake = true;
            self.initiate(core, now, Reason::Need, out);
        }
    }

    /// Seals the packets of `split` as messages to this peer, or keeps them until there is a session.
    pub(crate) fn send(&mut self, core: &mut Core, now: Instant, split: &Split<'_>, out: &mut Outbox) {
        let (Some(to), Some(session)) = (self.endpoint, self.current.as_mut().filter(|s| s.is_fresh(now))) else {
            for segment in 0..split.count() {
                let mut packet = vec![0; split.segment_len(segment)];
                split.write(segment, &mut packet);
                self.stage(packet);
            }
            return self.initiate(core, now, Reason::Need, out);
        };
        let before = out.len();
        for segment in 0..split.count() {
            let len = split.segment_len(segment);
            seal_into(session, core.mtu, to, len, out, |packet| split.write(segment, packet));
        }
        self.tx_bytes += (out.len() - before) as u64;
        self.timers.data_sent(now, || core.jitter());
        self.after_send(core, now, out);
    }

    /// Sends a keepalive, or what is queued instead of one.
    fn send_keepalive(&mut self, core: &mut Core, now: Instant, out: &mut Outbox) {
        if self.staged.is_empty() {
            self.stage(Vec::new());
        }
        self.send_staged(core, now, out);
    }

    /// Sends what is queued, or begins the handshake that it waits for.
    pub(crate) fn send_staged(&mut self, core: &mut Core, now: Instant, out: &mut Outbox) {
        if self.staged.is_empty() {
            return;
        }
        let (Some(to), Some(session)) = (self.endpoint, self.current.as_mut().filter(|s| s.is_fresh(now))) else {
            return self.initiate(core, now, Reason::Need, out);
        };
        let before = out.len();
        let mut data = false;
        for packet in self.staged.drain(..) {
            data |= !packet.is_empty();
            seal_into(session, core.mtu, to, packet.len(), out, |room| room.copy_from_slice(&packet));
        }
        self.tx_bytes += (out.len() - before) as u64;
        if data {
            self.timers.data_sent(now, || core.jitter());
        }
        self.after_send(core, now, out);
    }

    fn after_send(&mut self, core: &mut Core, now: Instant, out: &mut Outbox) {
        self.timers.sent();
        self.timers.crossed(now, self.keepalive);
        if self.current.as_ref().is_some_and(|session| session.wants_renewal(now)) {
            self.initiate(core, now, Reason::Need, out);
        }
    }

    fn stage(&mut self, packet: Vec<u8>) {
        if self.staged.len() == MAX_STAGED {
            self.staged.pop_front();
        }
        self.staged.push_back(packet);
    }

    fn received(&mut self, now: Instant) {
        self.timers.received();
        self.timers.crossed(now, self.keepalive);
    }

    fn sign(&self, now: Instant, message: &mut [u8]) -> Mac {
        // A cookie is used for a little less than its life, for it has to be good on arrival (Linux COOKIE_SECRET_LATENCY).
        let age_limit = COOKIE_LIFETIME - REKEY_TIMEOUT;
        let cookie = self.cookie.as_ref().filter(|(_, since)| now.since(*since) < age_limit);
        cookie::sign(message, &self.remote.mac1_key, cookie.map(|(cookie, _)| cookie))
    }

    fn transmit_handshake(&mut self, now: Instant, to: SocketAddr, message: &[u8], out: &mut Outbox) {
        out.message(to, message.len(), |room| room.copy_from_slice(message));
        self.tx_bytes += message.len() as u64;
        self.timers.sent();
        self.timers.crossed(now, self.keepalive);
    }

    /// Copies follow the message that has just left, unless a session carries data meanwhile.
    fn have_copied(&mut self, now: Instant, to: SocketAddr, message: &[u8]) {
        if self.current.as_ref().is_none_or(|session| !session.is_fresh(now)) {
            let copies = Copies::of(message, to, now);
            copies.next().into_iter().for_each(|at| self.timers.set(Timer::Copy, at));
            self.copies = Some(copies);
        }
    }

    fn send_copy(&mut self, out: &mut Outbox) {
        let Some(copies) = &mut self.copies else { return };
        if let Some((to, message)) = copies.take() {
            out.message(to, message.len(), |room| room.copy_from_slice(message));
            self.tx_bytes += message.len() as u64;
        }
        copies.next().into_iter().for_each(|at| self.timers.set(Timer::Copy, at));
    }

    /// The message has arrived, or is worth nothing.
    fn end_copies(&mut self) {
        self.copies = None;
        self.timers.stop(Timer::Copy);
    }
}

/// Writes one transport message: `fill` writes the packet of `len` bytes, zeros pad it (§5.4.6).
fn seal_into(
    session: &mut Session,
    mtu: usize,
    to: SocketAddr,
    len: usize,
    out: &mut Outbox,
    fill: impl FnOnce(&mut [u8]),
) {
    let padded = len.next_multiple_of(16).min(mtu.max(len));
    out.message(to, OVERHEAD + padded, |message| {
        let end = message.len() - TAG_LEN;
        let (packet, padding) = message[HEADER_LEN..end].split_at_mut(len);
        fill(packet);
        padding.fill(0);
        session.seal(message);
    });
}
