//! A user who wants to reach everybody, all the time: what shows whether a path is there.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use pinhole_lab::PlaceId;
use pinhole_sansio::{Duration, Instant};

use super::device::Device;
use crate::plan::{Member, Plan};

/// How often a datagram goes to each of the others.
pub const EVERY: Duration = Duration::from_millis(5);
/// Where users listen.
pub(super) const PORT: u16 = 7_777;

/// Sends.
#[derive(Debug)]
pub(super) struct User {
    own: SocketAddr,
    others: Vec<SocketAddr>,
    number: u64,
    next: Instant,
}

/// What a user has heard of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    from: BTreeMap<PlaceId, Vec<Arrival>>,
}

/// A datagram that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When, on the receiver's clock.
    pub at: Instant,
    /// When it was sent, on the sender's clock.
    pub sent: Instant,
    /// How many its sender had sent before, since it started.
    pub number: u64,
}

impl User {
    pub(super) fn new(now: Instant, member: &Member, plan: &Plan) -> Self {
        let others = plan.agents.iter().filter(|other| other.place != member.place);
        let others = others.map(|other| super::inside(other, PORT)).collect();
        Self { own: super::inside(member, PORT), others, number: 0, next: now }
    }

    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, device: &mut Device) {
        if self.next > now {
            return;
        }
        self.next = now + EVERY;
        let [mut text, stamp] = [self.number, now.as_nanos()].map(|number| number.to_be_bytes().to_vec());
        text.extend(stamp);
        self.number += 1;
        for &other in &self.others {
            device.send_datagram(now, self.own, other, &text);
        }
    }
}

impl Heard {
    pub(super) fn take(&mut self, now: Instant, plan: &Plan, from: IpAddr, bytes: &[u8]) {
        let (Some(member), Some((number, stamp))) = (plan.by_tunnel(from), bytes.split_first_chunk::<8>()) else {
            return;
        };
        let Ok(stamp) = stamp.try_into() else { return };
        let sent = Instant::from_nanos(u64::from_be_bytes(stamp));
        let arrival = Arrival { at: now, sent, number: u64::from_be_bytes(*number) };
        self.from.entry(member.place).or_default().push(arrival);
    }

    /// What came from the host at a place, in the order of arrival.
    pub fn from(&self, place: PlaceId) -> &[Arrival] {
        self.from.get(&place).map_or(&[], Vec::as_slice)
    }
}
