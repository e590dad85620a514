//! PPTP (RFC 2637): a control connection agrees upon call ids, and GRE tunnels carry the calls (`nf_conntrack_pptp.c`,
//! `nf_nat_pptp.c`).
//!
//! The client (PNS) names its call id in the request and the server (PAC) its own in the answer; a GRE packet carries the
//! call id of its receiver. Behind NAT the client's call id becomes the control connection's translated port, so that two
//! clients of one server stay apart. Only the last call of a control connection is known, as in the kernel.

mod message;

use message::{Kind, Message};

use super::{Call, Desk, Edit, Helper, Outcome};
use crate::expect::{ChildNat, Expectation, Policy};
use crate::status::Direction;
use crate::tuple::{Address, GRE, Tuple};
use crate::watch::Watch;

/// `pptp_exp_policy`: one call, which is two directions.
pub(super) const POLICY: Policy = Policy::new(2, 300);

/// The control connection as its messages tell it (`struct nf_ct_pptp_master`, `struct nf_nat_pptp`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    session: Session,
    call: CallState,
    /// The client's call id as the server knows it.
    pns: u16,
    /// The server's call id.
    pac: u16,
    /// The client's call id as it has it.
    own_pns: u16,
    /// The server's call id as it has it.
    own_pac: u16,
}

/// `enum pptp_ctrlsess_state`, in its order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Session {
    #[default]
    None,
    Error,
    StopRequested,
    Requested,
    Confirmed,
}

/// `enum pptp_ctrlcall_state`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum CallState {
    #[default]
    None,
    OutRequested,
    OutConfirmed,
    InRequested,
    InReplied,
    InConfirmed,
    ClearRequested,
}

pub(super) fn inspect<A: Address, W: Watch>(
    call: &Call<'_, A>,
    control: &mut Control,
    desk: &mut Desk<'_, A, W>,
) -> Outcome<A> {
    if !call.is_established() || !A::IS_V4 {
        return Outcome::ACCEPT;
    }
    let Some(segment) = call.segment() else { return Outcome::ACCEPT };
    let Some(message) = Message::parse(segment.payload()) else { return Outcome::ACCEPT };
    desk.note(|| format!("{:?} of the {}", message.kind, side(call.direction())));
    let outcome = match call.direction() {
        Direction::Original => control.client_says(call, &message, desk),
        Direction::Reply => control.server_says(call, &message, desk),
    };
    if call.is_translated() {
        control.name_sibling(call, desk);
    }
    outcome
}

const fn side(direction: Direction) -> &'static str {
    match direction {
        Direction::Original => "client",
        Direction::Reply => "server",
    }
}

impl Control {
    /// What the client says (`pptp_outbound_pkt`).
    fn client_says<A: Address, W: Watch>(
        &mut self,
        call: &Call<'_, A>,
        message: &Message<'_>,
        desk: &mut Desk<'_, A, W>,
    ) -> Outcome<A> {
        let is_confirmed = self.session == Session::Confirmed;
        let fits = match message.kind {
            Kind::StartRequest => self.session == Session::None,
            Kind::OutCallRequest | Kind::CallClearRequest => is_confirmed,
            Kind::InCallReply => {
                matches!(self.call, CallState::InRequested | CallState::InReplied) && self.pac == message.peer_call()
            }
            Kind::StopRequest | Kind::EchoRequest | Kind::EchoReply | Kind::SetLinkInfo => true,
            Kind::StartReply
            | Kind::StopReply
            | Kind::OutCallReply
            | Kind::InCallRequest
            | Kind::InCallConnected
            | Kind::CallDisconnectNotify
            | Kind::WanErrorNotify => false,
        };
        if !fits {
            desk.note(|| "it does not fit what was said before: ignored".to_owned());
            return Outcome::ACCEPT;
        }
        match message.kind {
            Kind::StartRequest => self.session = Session::Requested,
            Kind::StopRequest => self.session = Session::StopRequested,
            Kind::OutCallRequest => {
                self.call = CallState::OutRequested;
                self.pns = message.call();
            }
            Kind::InCallReply if message.is_success() => {
                self.call = CallState::InReplied;
                self.pns = message.call();
            }
            Kind::InCallReply => self.call = CallState::None,
            Kind::CallClearRequest => self.call = CallState::ClearRequested,
            Kind::EchoRequest
            | Kind::EchoReply
            | Kind::SetLinkInfo
            | Kind::StartReply
            | Kind::StopReply
            | Kind::OutCallReply
            | Kind::InCallRequest
            | Kind::InCallConnected
            | Kind::CallDisconnectNotify
            | Kind::WanErrorNotify => {}
        }
        let Some(at) = message.kind.client_call_at().filter(|_| call.is_translated()) else { return Outcome::ACCEPT };
        if message.kind == Kind::OutCallRequest {
            self.own_pns = self.pns;
            self.pns = call.tuples[1].dst_id;
        }
        message.replace(at, self.pns)
    }

    /// What the server says (`pptp_inbound_pkt`).
    fn server_says<A: Address, W: Watch>(
        &mut self,
        call: &Call<'_, A>,
        message: &Message<'_>,
        desk: &mut Desk<'_, A, W>,
    ) -> Outcome<A> {
        let is_confirmed = self.session == Session::Confirmed;
        let fits = match message.kind {
            Kind::StartReply => self.session >= Session::Requested,
            Kind::StopReply => self.session <= Session::StopRequested,
            Kind::OutCallReply => {
                is_confirmed
                    && matches!(self.call, CallState::OutRequested | CallState::OutConfirmed)
                    && self.pns == message.peer_call()
            }
            Kind::InCallRequest => is_confirmed,
            Kind::InCallConnected => {
                is_confirmed
                    && matches!(self.call, CallState::InReplied | CallState::InConfirmed)
                    && self.pns == message.call()
            }
            Kind::CallDisconnectNotify
            | Kind::WanErrorNotify
            | Kind::EchoRequest
            | Kind::EchoReply
            | Kind::SetLinkInfo => true,
            Kind::StartRequest
            | Kind::StopRequest
            | Kind::OutCallRequest
            | Kind::InCallReply
            | Kind::CallClearRequest => false,
        };
        if !fits {
            desk.note(|| "it does not fit what was said before: ignored".to_owned());
            return Outcome::ACCEPT;
        }
        let mut outcome = Outcome::ACCEPT;
        match message.kind {
            Kind::StartReply if message.is_success() => self.session = Session::Confirmed,
            Kind::StopReply if message.is_success() => self.session = Session::None,
            Kind::StartReply | Kind::StopReply => self.session = Session::Error,
            Kind::OutCallReply if message.is_success() => {
                self.call = CallState::OutConfirmed;
                self.pac = message.call();
                self.expect_tunnel(call, desk);
            }
            Kind::OutCallReply => self.call = CallState::None,
            Kind::InCallRequest => {
                self.call = CallState::InRequested;
                self.pac = message.call();
            }
            Kind::InCallConnected => {
                self.call = CallState::InConfirmed;
                self.expect_tunnel(call, desk);
            }
            Kind::CallDisconnectNotify => {
                self.call = CallState::None;
                outcome.ends = self.end_tunnel(call, desk);
            }
            Kind::WanErrorNotify
            | Kind::EchoRequest
            | Kind::EchoReply
            | Kind::SetLinkInfo
            | Kind::StartRequest
            | Kind::StopRequest
            | Kind::OutCallRequest
            | Kind::InCallReply
            | Kind::CallClearRequest => {}
        }
        match message.kind.server_call_at().filter(|_| call.is_translated()) {
            Some(at) => Outcome { edits: message.replace::<A>(at, self.own_pns).edits, ..outcome },
            None => outcome,
        }
    }

    /// Expects both directions of the call's tunnel (`exp_gre`). If one cannot be, neither is, and the packet passes.
    fn expect_tunnel<A: Address, W: Watch>(&mut self, call: &Call<'_, A>, desk: &mut Desk<'_, A, W>) {
        let [original, reply] = call.tuples;
        let (pns, pac) = (self.pns, self.pac);
        // The client sends its own call id as source, as far as the keymap can say it; the server that which it was told.
        let pns_of_client = if call.is_translated() { self.own_pns } else { pns };
        self.own_pac = pac;
        let tunnel = |from: (A, u16), (to, to_key): (A, u16)| {
            let from = (Some(from.0), Some(from.1));
            call.expectation(Helper::Pptp, GRE, from, (to, to_key))
        };
        let mut there = tunnel((original.src, pns_of_client), (original.dst, pac));
        let mut back = tunnel((reply.src, pac), (reply.dst, pns));
        (there.sibling, back.sibling) = (Some(back.tuple), Some(there.tuple));
        if call.is_translated() {
            // When the server begins, Linux finds the client's direction only if both calls are 0, and else leaves it
            // (`pptp_nat_expected`; measured on 6.18).
            back.sibling = Some(Tuple { src_id: 0, dst_id: 0, ..there.tuple });
            there.nat = ChildNat::Pptp { direction: Direction::Original, key: pns };
            back.nat = ChildNat::Pptp { direction: Direction::Reply, key: pns_of_client };
        }
        let Some(there_id) = desk.expect(there, POLICY) else { return };
        let back_id = desk.expect(back, POLICY);
        if back_id.is_some() && enter_keys(call, &there, &back, desk) {
            return;
        }
        for id in [Some(there_id), back_id].into_iter().flatten() {
            desk.expectations.remove(id);
        }
    }

    /// What ends when the client's direction of the tunnel begins: under NAT the server's, with the call ids that were said last,
    /// which may be another call's by then (`pptp_nat_expected`).
    fn name_sibling<A: Address, W: Watch>(&self, call: &Call<'_, A>, desk: &mut Desk<'_, A, W>) {
        let back = Tuple { src_id: self.pac, dst_id: self.pns, protocol: GRE, ..call.tuples[1] };
        desk.expectations.change_of_master(call.master, |expectation| {
            if matches!(expectation.nat, ChildNat::Pptp { direction: Direction::Original, .. }) {
                expectation.sibling = Some(back);
            }
        });
    }

    /// Forgets the call's tunnel, and says what it was: two flows, or what is expected of them (`pptp_destroy_siblings`).
    fn end_tunnel<A: Address, W: Watch>(&self, call: &Call<'_, A>, desk: &mut Desk<'_, A, W>) -> [Option<Tuple<A>>; 2] {
        desk.note(|| format!("the tunnel of call {} to call {} ends", self.pns, self.pac));
        desk.expectations.keymap_mut().remove(call.master);
        let [original, reply] = call.tuples;
        let there = Tuple { src_id: self.pns, dst_id: self.pac, protocol: GRE, ..*original };
        let back = Tuple { src_id: self.pac, dst_id: self.pns, protocol: GRE, ..*reply };
        [Some(there), Some(back)]
    }
}

/// Lets GRE packets of both directions find their source key.
fn enter_keys<A: Address, W: Watch>(
    call: &Call<'_, A>,
    there: &Expectation<A>,
    back: &Expectation<A>,
    desk: &mut Desk<'_, A, W>,
) -> bool {
    let keymap = desk.expectations.keymap_mut();
    let entered = keymap.add(call.master, Direction::Original, &there.tuple)
        && keymap.add(call.master, Direction::Reply, &back.tuple);
    if !entered {
        desk.expectations.keymap_mut().remove(call.master);
        desk.note(|| "another tunnel has these call ids: not expected".to_owned());
    }
    entered
}

impl Message<'_> {
    /// The packet with another call id in the message's body.
    fn replace<A: Address>(&self, at: usize, call_id: u16) -> Outcome<A> {
        let start = message::BODY + at;
        Outcome {
            edits: vec![Edit { range: start..start + 2, text: call_id.to_be_bytes().to_vec() }],
            ..Outcome::ACCEPT
        }
    }
}

#[cfg(test)]
mod tests;
