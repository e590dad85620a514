//! TFTP (RFC 1350): the server answers a request from a port that it chooses (`nf_conntrack_tftp.c`, `nf_nat_tftp.c`).

use super::{Call, Desk, Helper, Outcome, UDP};
use crate::expect::{ChildNat, Policy};
use crate::status::Direction;
use crate::tuple::Address;
use crate::watch::Watch;

const READ: u16 = 1;
const WRITE: u16 = 2;
/// `tftp_exp_policy`.
const POLICY: Policy = Policy::new(1, 300);

pub(super) fn inspect<A: Address, W: Watch>(call: &Call<'_, A>, desk: &mut Desk<'_, A, W>) -> Outcome<A> {
    let Some(&[high, low]) = call.datagram().and_then(|payload| payload.first_chunk()) else {
        return Outcome::ACCEPT;
    };
    let opcode = u16::from_be_bytes([high, low]);
    if !matches!(opcode, READ | WRITE) {
        return Outcome::ACCEPT;
    }
    desk.note(|| format!("a request to {}", if opcode == READ { "read" } else { "write" }));
    let [original, reply] = call.tuples;
    let mut expectation = call.expectation(Helper::Tftp, UDP, (Some(reply.src), None), (reply.dst, reply.dst_id));
    if call.is_translated() {
        expectation.nat = ChildNat::FollowMaster { direction: Direction::Reply, port: original.src_id };
    }
    match desk.expect(expectation, POLICY) {
        Some(_) => Outcome::ACCEPT,
        None => Outcome::DROP,
    }
}

#[cfg(test)]
mod tests;
