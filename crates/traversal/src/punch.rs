//! One attempt to open a path to a peer whose public endpoint is known.
//!
//! A NAT lets a packet in only after one has gone out to where it comes from, so both sides must send. But the two must not
//! do the same thing:
//!
//! - Two WireGuard handshake initiations that cross destroy each other in the kernel and in wireguard-go (each side drops its
//!   own half-open handshake for the other's), and the next try comes 5 s later. So only the [`Role::Initiator`] knocks; the
//!   [`Role::Opener`] sends openers and lets the initiation come in.
//! - A packet that arrives *before* the inside host has sent poisons some NATs: they bind the tuple to themselves and give the
//!   inside host another port. So openers start with a [low TTL](OPENER_TTL): they pass the sender's own NAT and die
//!   on the way.
//!
//! What it does not do: learn endpoints, pick roles, or predict ports. It does not know whether it worked either: the caller
//! drops it when the path is up.

use pinhole_sansio::{Deadline, Duration, Instant};

/// TTLs of the openers of successive attempts. 4 passes a home router and a carrier's NAT behind it, and is used up before
/// the peer's NAT on any path through the Internet (frp, `pkg/nathole`, found 4 and 7 to do). When that has failed twice, a
/// NAT may be farther away than assumed, and being poisoned is the smaller worry.
const OPENER_TTL: [u8; 4] = [4, 4, 8, 64];

/// When openers leave, after the start. Three, since one of them may be lost and they are 36 bytes each.
const OPENERS_AT: [Duration; 3] = [Duration::ZERO, Duration::from_millis(12), Duration::from_millis(50)];

/// An opener that cannot send openers (no raw socket) has to knock to open its NAT; by now the initiator's first knock has
/// been eaten by that NAT, so the two do not cross.
const KNOCK_INSTEAD_OF_OPENING: Duration = Duration::from_millis(120);

/// After this long the opener stops waiting and knocks as well.
const OPENER_LOSES_PATIENCE: Duration = Duration::from_millis(2_500);

/// Knocks are repeated with growing gaps: a knock replaces the one before it, so the gap must outgrow any round trip.
const GAP_GROWTH: f64 = 1.2;

/// An attempt ends here: what has not worked by now needs a fresh endpoint from the registry.
const GIVE_UP: Duration = Duration::from_millis(4_000);

/// Which half of the punch is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends the first packet that means something.
    Initiator,
    /// Opens its own NAT and waits to be called.
    Opener,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a packet that no one has to receive, with this TTL.
    Open {
        /// The IPv4 TTL or IPv6 hop limit.
        ttl: u8,
    },
    /// Make the peer answer: start a handshake, or send something through a session that exists.
    Knock,
    /// The attempt has failed.
    GiveUp,
}

/// The names of its timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The next opener is due.
    Open,
    /// The next knock is due.
    Knock,
    /// The attempt is over.
    GiveUp,
}

/// One attempt; see the module.
#[derive(Clone, Debug)]
pub struct Punch {
    started: Instant,
    ttl: u8,
    /// How many of [`OPENERS_AT`] have left; its length if this side sends none.
    opened: usize,
    next_knock: Instant,
    gap: Duration,
    over: bool,
}

/// What an attempt depends on.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Which half is ours.
    pub role: Role,
    /// How many attempts have failed before this one.
    pub attempt: u32,
    /// Can openers be sent (a raw socket)?
    pub can_open: bool,
    /// The gap after the first knock: longer than the round trip if that is known.
    pub first_gap: Duration,
}

impl Punch {
    /// Starts now. The first actions are due at once.
    pub fn new(now: Instant, settings: Settings) -> Self {
        let Settings { role, attempt, can_open, first_gap } = settings;
        let next_knock = match (role, can_open) {
            (Role::Initiator, _) => now,
            (Role::Opener, true) => now + OPENER_LOSES_PATIENCE,
            (Role::Opener, false) => now + KNOCK_INSTEAD_OF_OPENING,
        };
        let last = OPENER_TTL.len() - 1;
        Self {
            started: now,
            ttl: OPENER_TTL[(attempt as usize).min(last)],
            opened: if can_open { 0 } else { OPENERS_AT.len() },
            next_knock,
            gap: first_gap,
            over: false,
        }
    }

    /// The next action that is due at `now`; call until `None`. Openers come before knocks.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if self.over {
            return None;
        }
        if let Some(due) = self.next_opener().filter(|&due| due <= now) {
            // Openers that a late wake-up has piled up would say the same thing twice.
            while self.next_opener().is_some_and(|at| at <= now.max(due)) {
                self.opened += 1;
            }
            return Some(Action::Open { ttl: self.ttl });
        }
        if now >= self.started + GIVE_UP {
            self.over = true;
            return Some(Action::GiveUp);
        }
        if self.next_knock <= now {
            self.next_knock = now + self.gap;
            self.gap = self.gap.mul_f64(GAP_GROWTH);
            return Some(Action::Knock);
        }
        None
    }

    /// When the next action is due.
    pub fn poll_timeout(&self) -> Option<Deadline<Why>> {
        if self.over {
            return None;
        }
        let open = self.next_opener().map(|at| Deadline::new(at, Why::Open));
        let give_up = Deadline::new(self.started + GIVE_UP, Why::GiveUp);
        let knock = Deadline::new(self.next_knock, Why::Knock);
        Deadline::earlier(Deadline::earlier(open, Some(knock)), Some(give_up))
    }

    fn next_opener(&self) -> Option<Instant> {
        OPENERS_AT.get(self.opened).map(|&after| self.started + after)
    }
}

#[cfg(test)]
mod tests;
