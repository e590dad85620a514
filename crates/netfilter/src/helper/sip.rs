//! SIP (RFC 3261): calls are set up in texts that name, at many places, the addresses of the speakers and of their streams
//! (`nf_conntrack_sip.c`, `nf_nat_sip.c`).
//!
//! REGISTER makes calls to the registered host expected, from the answer on, for as long as the registrar says. The
//! description of streams in an INVITE, its answers and their kin makes a pair of RTP and RTCP expected for each stream.
//! Under NAT, addresses of the flow's own ends are replaced wherever they stand, and so are those of the streams.
//!
//! Not here: `sip_external_media`.

mod header;
mod nat;
mod sdp;

use core::ops::Range;
use core::time::Duration;

use header::{Header, Uris};
use nat::Paper;

use super::text::starts_with;
use super::{Call, Desk, Helper, Outcome, TCP, UDP, Verdict};
use crate::expect::{ChildNat, Class, ExpectId, Expectation, Flags, Masters, Policy, Refused};
use crate::status::Status;
use crate::tuple::{Address, Tuple};
use crate::watch::Watch;

/// `SIP/2.0 200`: shorter texts are not looked at.
const SHORTEST: usize = 11;
/// How long calls, until they are agreed upon, and streams are expected (`sip_exp_policy`).
const EXPECTED_SECS: u64 = 180;

/// What is remembered of a flow (`struct nf_ct_sip_master`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signalling {
    /// The number of the registration that waits for its answer.
    register: u32,
    /// The number of the invitation that waits for its answer.
    invite: u32,
    /// Where the caller listens, if that is not where it sends from: Cisco's telephones.
    listens_at: Option<u16>,
}

pub(super) fn inspect<A: Address, W: Watch>(
    call: &Call<'_, A>,
    signalling: &mut Signalling,
    desk: &mut Desk<'_, A, W>,
) -> Outcome<A> {
    let is_tcp = call.own().protocol == TCP;
    let segment = if is_tcp { call.segment().filter(|_| call.is_established()) } else { None };
    let payload = match &segment {
        Some(segment) => segment.payload(),
        None if is_tcp => return Outcome::ACCEPT,
        None => call.datagram().unwrap_or_default(),
    };
    if payload.is_empty() {
        return Outcome::ACCEPT;
    }
    let mut outcome = Outcome { timeout: Some(call.settings.sip_timeout), gathers: true, ..Outcome::ACCEPT };
    let mut rest = 0..payload.len();
    while let Some(range) = if is_tcp { message(payload, &rest) } else { Some(rest.clone()) } {
        rest.start = range.end;
        let text = &payload[range.clone()];
        if text.len() >= SHORTEST {
            let mut reader = Reader { call, signalling, desk, paper: Paper::new(text) };
            if reader.read() == Verdict::Drop {
                return Outcome { timeout: outcome.timeout, ..Outcome::DROP };
            }
            outcome.edits.extend(reader.paper.edit(range.start, text));
        }
        if rest.is_empty() {
            break;
        }
    }
    if call.is_translated() && !is_tcp && call.direction() == crate::status::Direction::Reply {
        outcome.dst_port = signalling.listens_at;
    }
    outcome
}

/// The next whole message of a TCP segment; where it ends, its length says.
fn message(payload: &[u8], rest: &Range<usize>) -> Option<Range<usize>> {
    let text = payload.get(rest.clone())?;
    let (len, digits) = header::number_in(text, Header::ContentLength)?;
    let blank_line = digits.end + text[digits.end..].windows(4).position(|window| window == b"\r\n\r\n")?;
    let end = (blank_line + 4).checked_add(len as usize)?;
    (end <= text.len()).then(|| rest.start..rest.start + end)
}

/// One message, and what is at hand for reading it.
struct Reader<'a, 'd, A: Address, W> {
    call: &'a Call<'a, A>,
    signalling: &'a mut Signalling,
    desk: &'a mut Desk<'d, A, W>,
    paper: Paper<'a>,
}

/// Where a stream goes.
#[derive(Clone, Copy, Debug)]
struct Route<A> {
    address: A,
    port: u16,
    /// Not to where it was announced, but to the host behind the same NAT that announced it (`direct_rtp`).
    is_direct: bool,
    /// It is expected already.
    is_known: bool,
}

/// The methods that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Invite,
    Update,
    Ack,
    Prack,
    Bye,
    Register,
}

impl Method {
    const ALL: [(&'static [u8], Self); 6] = [
        (b"INVITE", Self::Invite),
        (b"UPDATE", Self::Update),
        (b"ACK", Self::Ack),
        (b"PRACK", Self::Prack),
        (b"BYE", Self::Bye),
        (b"REGISTER", Self::Register),
    ];

    /// The method that a text begins with.
    fn of(text: &[u8]) -> Option<(Self, usize)> {
        Self::ALL.into_iter().find(|(name, _)| starts_with(text, name)).map(|(name, method)| (method, name.len()))
    }
}

impl<A: Address, W: Watch> Reader<'_, '_, A, W> {
    fn read(&mut self) -> Verdict {
        let is_request = !starts_with(self.paper.text(), b"SIP/2.0 ");
        let verdict = if is_request { self.request() } else { self.response() };
        if verdict == Verdict::Accept && self.call.is_translated() {
            self.paper.rewrite_headers(self.call, self.signalling.listens_at);
        }
        verdict
    }

    /// `process_sip_request`.
    fn request(&mut self) -> Verdict {
        let own = self.call.own();
        let via = header::uri::<A>(self.paper.text(), Header::ViaUdp).filter(|via| via.address == own.src);
        if let Some(via) = via.filter(|via| via.port != own.src_id) {
            self.signalling.listens_at = Some(via.port);
        }
        let text = self.paper.text();
        let Some((method, len)) = Method::of(text) else { return Verdict::Accept };
        let is_whole = text.get(len) == Some(&b' ') && text.get(len + 1).is_some_and(u8::is_ascii_alphabetic);
        if !is_whole {
            return Verdict::Accept;
        }
        let Some((number, _)) = self.sequence_number() else { return self.drop("the request has no CSeq") };
        self.desk.note(|| format!("request {method:?} {number}"));
        match method {
            Method::Invite => {
                self.forget(true);
                let verdict = self.streams();
                if verdict == Verdict::Accept {
                    self.signalling.invite = number;
                }
                verdict
            }
            Method::Update | Method::Ack | Method::Prack => self.streams(),
            Method::Bye => {
                self.forget(true);
                Verdict::Accept
            }
            Method::Register => {
                let registered = self.register();
                if registered == Some(Verdict::Accept) {
                    self.signalling.register = number;
                }
                registered.unwrap_or(Verdict::Accept)
            }
        }
    }

    /// `process_sip_response`.
    fn response(&mut self) -> Verdict {
        let Some((code, _)) = header::number(self.paper.text(), b"SIP/2.0 ".len()).filter(|(code, _)| *code > 0) else {
            return self.drop("the response has no code");
        };
        let Some((number, digits)) = self.sequence_number() else { return self.drop("the response has no CSeq") };
        let named = self.paper.text().get(digits.end + 1..).and_then(Method::of);
        let Some((method, _)) = named else { return Verdict::Accept };
        self.desk.note(|| format!("response {code} to {method:?} {number}"));
        match method {
            Method::Invite | Method::Update | Method::Prack if (100..300).contains(&code) => self.streams(),
            Method::Invite | Method::Update | Method::Prack => {
                if self.signalling.invite == number {
                    self.forget(true);
                }
                Verdict::Accept
            }
            Method::Register => self.registered(code, number),
            Method::Ack | Method::Bye => Verdict::Accept,
        }
    }

    /// The number in CSeq, unless it is too large, and where its digits are.
    fn sequence_number(&self) -> Option<(u32, Range<usize>)> {
        let (number, digits) = header::number_in(self.paper.text(), Header::Cseq)?;
        (number != 0 || self.paper.text()[digits.start] == b'0').then_some((number, digits))
    }

    /// Calls to the host that registers itself will be expected (`process_register_request`). Nothing if it is no
    /// registration that counts.
    fn register(&mut self) -> Option<Verdict> {
        let (call, own, other) = (self.call, self.call.own(), self.call.other());
        if call.status.contains(Status::EXPECTED) {
            return None;
        }
        let expires = header::number_in(self.paper.text(), Header::Expires).map(|(secs, _)| secs);
        let contact =
            Uris::new(Header::Contact).next::<A>(self.paper.text()).filter(|contact| contact.address == own.src)?;
        let protocol = self.transport(contact.range.end)?;
        let expires = match self.expires(contact.range.end) {
            Ok(own_expires) => own_expires.or(expires),
            Err(verdict) => return Some(verdict),
        };
        if expires.is_none_or(|secs| secs == 0) {
            return Some(Verdict::Accept);
        }
        let from = call.settings.sip_direct_signalling.then_some(other.src);
        let to = (contact.address, contact.port);
        let mut expectation = call.expectation(Helper::Sip, protocol, (from, None), to);
        expectation.flags = Flags(Flags::PERMANENT.0 | Flags::INACTIVE.0);
        expectation.attach = Some(Helper::Sip);
        let policy = Policy::new(1, EXPECTED_SECS);
        if !call.is_translated() {
            let is_expected = self.desk.expect(expectation, policy).is_some();
            return Some(if is_expected { Verdict::Accept } else { Verdict::Drop });
        }
        let own_port = self.signalling.listens_at.unwrap_or(own.src_id);
        let lowest = if contact.port == own_port { other.dst_id } else { contact.port };
        self.translate(&mut expectation);
        expectation.tuple.dst_id = lowest;
        let Some(port) = self.desk.expect_at_free_port(expectation, policy) else {
            return Some(self.drop("no port was free for calls to the contact"));
        };
        let seen = expectation.tuple.dst;
        if (seen, port) != (contact.address, contact.port) {
            self.paper.endpoint(contact.range, seen, port);
        }
        Some(Verdict::Accept)
    }

    /// The registrar has agreed, and said for how long (`process_register_response`).
    fn registered(&mut self, code: u32, number: u32) -> Verdict {
        if self.signalling.register != number || (100..200).contains(&code) {
            return Verdict::Accept;
        }
        if (200..300).contains(&code) {
            let expires = header::number_in(self.paper.text(), Header::Expires).map(|(secs, _)| secs);
            let mut contacts = Uris::new(Header::Contact);
            while let Some(contact) = contacts.next::<A>(self.paper.text()) {
                if contact.address != self.call.own().dst {
                    continue;
                }
                let Some(protocol) = self.transport(contact.range.end) else { continue };
                let expires = match self.expires(contact.range.end) {
                    Ok(own_expires) => own_expires.or(expires).unwrap_or(0),
                    Err(verdict) => return verdict,
                };
                if expires == 0 {
                    break;
                }
                let wanted = (contact.address, contact.port, protocol);
                let is_it = |e: &Expectation<A>| {
                    e.class == Class::DEFAULT && (e.tuple.dst, e.tuple.dst_id, e.tuple.protocol) == wanted
                };
                let found = self.desk.expectations.of_master(self.call.master).rfind(|(_, e)| is_it(e));
                if let Some((id, _)) = found {
                    self.desk.expectations.refresh(id, self.call.now + Duration::from_secs(expires.into()));
                    self.desk.note(|| format!("registered: calls are expected for {expires} s"));
                    return Verdict::Accept;
                }
            }
        }
        self.forget(false);
        Verdict::Accept
    }

    /// The protocol of the flow, unless a contact names another.
    fn transport(&self, from: usize) -> Option<u8> {
        let Some(at) = header::parameter(self.paper.text(), from, b"transport=") else {
            return Some(self.call.own().protocol);
        };
        let name = &self.paper.text()[at..];
        let named = if starts_with(name, b"TCP") { Some(TCP) } else { starts_with(name, b"UDP").then_some(UDP) };
        named.filter(|protocol| *protocol == self.call.own().protocol)
    }

    /// How long a contact shall be good by its own parameter, in seconds.
    fn expires(&mut self, from: usize) -> Result<Option<u32>, Verdict> {
        let Some(at) = header::parameter(self.paper.text(), from, b"expires=") else { return Ok(None) };
        match header::whole_number(self.paper.text(), at) {
            Some(secs) => Ok(Some(secs)),
            None => Err(self.drop("a contact has an expiry that is no number")),
        }
    }

    /// The streams that a message describes will be expected (`process_sdp`).
    fn streams(&mut self) -> Verdict {
        let Some(start) = sdp::start(self.paper.text()) else { return Verdict::Accept };
        let session = sdp::place::<A>(self.paper.text(), start, b"c=").map(|place| place.address);
        // Streams that are not in use leave the address as it is, and still have it written everywhere.
        let (mut last, mut at) = (session, start);
        for _ in 0..sdp::MAX_MEDIA {
            let media = match sdp::next(self.paper.text(), at) {
                sdp::Next::Media(media) => media,
                sdp::Next::Wrong => return self.drop("a stream has a wrong port"),
                sdp::Next::End => break,
            };
            at = media.range.start;
            let own = sdp::place::<A>(self.paper.text(), at, b"c=").map(|place| place.address);
            let Some(address) = own.or(session) else { return self.drop("a stream has no address") };
            let Some(seen) = self.stream(address, &media) else { return Verdict::Drop };
            if own.is_some() && self.call.is_translated() {
                if !self.paper.address(at, b"c=", seen) {
                    return self.drop("a stream's address is not found any more");
                }
                if !self.paper.write_length() {
                    return self.drop("a stream's address changes, and the length of the description is not said");
                }
            }
            last = Some(seen);
        }
        let Some(seen) = last.filter(|_| self.call.is_translated()) else { return Verdict::Accept };
        if !self.paper.address(start, b"o=", seen) {
            return self.drop("the description has no owner to translate");
        }
        // Not all have one.
        let _ = self.paper.address(start, b"c=", seen);
        if !self.paper.write_length() {
            return self.drop("the length of the description is not said, and it changes");
        }
        Verdict::Accept
    }

    /// Expects RTP and RTCP of a stream; says which address stands for it on the other side (`set_expected_rtp_rtcp`).
    fn stream(&mut self, address: A, media: &sdp::Media) -> Option<A> {
        let (call, other) = (self.call, self.call.other());
        if call.settings.sip_direct_media && address != call.own().src {
            self.desk.note(|| format!("{address} is not the sender, {}: its stream is not expected", call.own().src));
            return Some(address);
        }
        let from = call.settings.sip_direct_media.then_some(other.src);
        let Route { address, port, is_direct, is_known } = self.route(from, address, media);
        let base = port & !1;
        if is_direct && !self.paper.port(media.range.clone(), base) {
            self.drop("the stream goes straight to its host, and the length of the description is not said");
            return None;
        }
        if is_known {
            self.desk.note(|| "another call expects this stream already".to_owned());
            return Some(address);
        }
        let [mut rtp, mut rtcp] = [base, base + 1].map(|port| {
            let pair = call.expectation(Helper::Sip, UDP, (from, None), (address, port));
            Expectation { class: media.class, ..pair }
        });
        let is_translated = call.is_translated() && !is_direct;
        if is_translated {
            self.translate(&mut rtp);
            self.translate(&mut rtcp);
        }
        let mut lowest = base;
        let pair = loop {
            (rtp.tuple.dst_id, rtcp.tuple.dst_id) = (lowest, lowest + 1);
            match self.expect_pair(rtp, rtcp, is_translated) {
                Ok(pair) => break pair,
                Err(Refused::Busy) if is_translated && lowest < u16::MAX - 1 => lowest += 2,
                Err(refused) => {
                    self.desk.note(|| format!("the stream {rtp} cannot be expected, {refused}: dropped"));
                    return None;
                }
            }
        };
        self.desk.note(|| format!("expected with its RTCP for {EXPECTED_SECS} s: {rtp}"));
        if is_translated && lowest != base && !self.paper.port(media.range.clone(), lowest) {
            pair.into_iter().flatten().for_each(|id| _ = self.desk.expectations.remove(id));
            self.drop("a stream's port changes, and the length of the description is not said");
            return None;
        }
        Some(rtp.tuple.dst)
    }

    /// Where a stream goes. If a call behind the same NAT has announced it, that is straight to its host.
    fn route(&self, from: Option<A>, address: A, media: &sdp::Media) -> Route<A> {
        let call = self.call;
        let of_another_call = |e: &Expectation<A>| {
            let same_helper = e.helper == Some(Helper::Sip) && e.master_protocol == call.own().protocol;
            e.master != call.master && same_helper && e.class == media.class
        };
        let mut route = Route { address, port: media.port, is_direct: false, is_known: false };
        loop {
            let to = (route.address, route.port);
            let named =
                Tuple { src: from.unwrap_or(A::UNSPECIFIED), src_id: 0, dst: to.0, dst_id: to.1, protocol: UDP };
            let known = self.desk.expectations.lookup(call.zone, &named).next();
            let Some((_, known)) = known.filter(|(_, e)| of_another_call(e)) else { return route };
            // What is not translated has nothing saved, and Linux does not see the difference.
            let announced = match known.nat {
                ChildNat::Sip { address, port, .. } => (address, port),
                ChildNat::None | ChildNat::FollowMaster { .. } | ChildNat::Pptp { .. } => (A::UNSPECIFIED, 0),
            };
            if route.is_direct || announced == (known.tuple.dst, known.tuple.dst_id) || !call.is_translated() {
                return Route { is_known: true, ..route };
            }
            route = Route { address: announced.0, port: announced.1, is_direct: true, is_known: false };
        }
    }

    /// Both or neither. What another master expects already is as good as expected, if nothing is translated.
    fn expect_pair(
        &mut self,
        rtp: Expectation<A>,
        rtcp: Expectation<A>,
        is_translated: bool,
    ) -> Result<[Option<ExpectId>; 2], Refused> {
        let policy = Policy::new(if rtp.class == Class::IMAGE { 2 } else { 4 }, EXPECTED_SECS);
        let (now, expectations) = (self.call.now, &mut *self.desk.expectations);
        let mut add = |expectation| match expectations.add_among(now, expectation, policy, Masters::Any) {
            Ok(id) => Ok(Some(id)),
            Err(Refused::Already) if !is_translated => Ok(None),
            Err(refused) => Err(refused),
        };
        let first = add(rtp)?;
        let second = add(rtcp);
        if let (Some(first), Err(_)) = (first, &second) {
            expectations.remove(first);
        }
        second.map(|second| [first, second])
    }

    /// Moves an expectation of this side's to where the other side sees it.
    fn translate(&self, expectation: &mut Expectation<A>) {
        let (own, other) = (self.call.own(), self.call.other());
        let (address, port) = (expectation.tuple.dst, expectation.tuple.dst_id);
        expectation.nat = ChildNat::Sip { direction: !self.call.direction(), address, port };
        if own.src != other.dst {
            expectation.tuple.dst = other.dst;
        }
    }

    /// Removes what is expected of streams, or of calls (`flush_expectations`).
    fn forget(&mut self, streams: bool) {
        let of_kind = |e: &Expectation<A>| (e.class != Class::DEFAULT) == streams;
        loop {
            let next = self.desk.expectations.of_master(self.call.master).rfind(|(_, e)| of_kind(e)).map(|(id, _)| id);
            let Some(id) = next else { return };
            self.desk.expectations.remove(id);
            if !streams {
                return;
            }
        }
    }

    fn drop(&mut self, why: &str) -> Verdict {
        self.desk.note(|| format!("{why}: dropped"));
        Verdict::Drop
    }
}

#[cfg(test)]
mod tests;
