//! The window check (`tcp_in_window`): does a segment lie where its sender may send, and does it acknowledge what the peer
//! may have sent? Seen from the middle, after Guido van Rooij's "Real Stateful TCP Packet Filtering in IP Filter".
//!
//! With the sender's `end`, `maxend`, `maxwin` and the receiver's likewise, a segment from `seq` to `end` is good if
//! - I: `seq` ≤ sender's maxend: not more than the receiver has allowed,
//! - II: `end` ≥ sender's end − receiver's maxwin: not older than a whole window,
//! - III: `sack` ≤ receiver's end: nothing acknowledged that was not sent,
//! - IV: `sack` ≥ receiver's end − max(66,000, sender's maxwin): not acknowledged ages ago.

use core::fmt;
use core::ops::{BitOr, BitOrAssign};

use pinhole_wire::tcp::Flags;

use super::segment::{SACK_PERMITTED, Segment, WINDOW_SCALE, highest_sack, is_before, options};
use super::{Event, Tcp, TcpState};
use crate::settings::Settings;
use crate::status::Direction;
use crate::track::Context;
use crate::watch::{Topic, Watch};

/// The most that a window may be scaled by, in bits (RFC 7323 §2.3).
const MAX_SCALE: u8 = 14;

/// How old an acknowledgment may be at least, in bytes: a window without scaling and a bit more (`MAXACKWINCONST`).
const OLDEST_ACK: u32 = 66_000;

/// What is known of one side of a connection (`struct ip_ct_tcp_state`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// The highest sequence number that it has sent, plus one.
    pub end: u32,
    /// The highest that the peer lets it send.
    pub maxend: u32,
    /// The largest window that it has advertised, in bytes; 0 if it has sent nothing.
    pub maxwin: u32,
    /// The highest acknowledgment that it has sent.
    pub maxack: u32,
    /// By how many bits its windows are scaled.
    pub scale: u8,
    /// What else is known.
    pub flags: SideFlags,
}

impl Side {
    /// Takes scale and SACK from the options of a SYN. A SYN without options takes nothing back.
    pub(super) fn read_options(&mut self, segment: &Segment<'_>) {
        if segment.options.is_empty() {
            return;
        }
        self.scale = 0;
        self.flags.keep(SideFlags::BE_LIBERAL);
        for option in options(segment.options) {
            match option {
                (SACK_PERMITTED, []) => self.flags |= SideFlags::SACK_PERM,
                (WINDOW_SCALE, &[scale]) => {
                    self.scale = scale.min(MAX_SCALE);
                    self.flags |= SideFlags::WINDOW_SCALE;
                }
                _ => {}
            }
        }
    }

    /// Forgets everything but that the window is not enforced.
    pub(super) fn reset(&mut self) {
        let mut flags = self.flags;
        flags.keep(SideFlags::BE_LIBERAL);
        *self = Self { flags, ..Self::default() };
    }
}

/// What is known of one side, as bits (`IP_CT_TCP_FLAG_*` in `nf_conntrack_tcp.h`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SideFlags(pub u8);

impl SideFlags {
    /// Its SYN had the window scale option.
    pub const WINDOW_SCALE: Self = Self(0x01);
    /// Its SYN had the SACK-permitted option.
    pub const SACK_PERM: Self = Self(0x02);
    /// It sent the first FIN.
    pub const CLOSE_INIT: Self = Self(0x04);
    /// What it sends outside the window passes.
    pub const BE_LIBERAL: Self = Self(0x08);
    /// It has sent what the peer has not acknowledged yet.
    pub const DATA_UNACKNOWLEDGED: Self = Self(0x10);
    /// `maxack` is known.
    pub const MAXACK_SET: Self = Self(0x20);

    /// A challenge ACK may follow; only in what is remembered of an ignored SYN.
    pub(super) const EXPECT_CHALLENGE_ACK: Self = Self(0x40);
    /// Both sides have sent a SYN; only in what is remembered.
    pub(super) const SIMULTANEOUS_OPEN: Self = Self(0x80);

    /// Names of the bits, lowest first.
    const NAMES: [&str; 8] = [
        "WINDOW_SCALE",
        "SACK_PERM",
        "CLOSE_INIT",
        "BE_LIBERAL",
        "DATA_UNACKNOWLEDGED",
        "MAXACK_SET",
        "EXPECT_CHALLENGE_ACK",
        "SIMULTANEOUS_OPEN",
    ];

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) const fn clear(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    const fn keep(&mut self, only: Self) {
        self.0 &= only.0;
    }
}

impl BitOr for SideFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for SideFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Display for SideFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::NAMES.iter().enumerate().filter(|(bit, _)| self.0 & 1 << bit != 0);
        names.enumerate().try_for_each(|(n, (_, name))| write!(f, "{}{name}", if n == 0 { "" } else { "," }))
    }
}

impl fmt::Debug for SideFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SideFlags({:#x}: {self})", self.0)
    }
}

/// What the check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    /// The packet is good.
    In,
    /// It is let through, and changes nothing more.
    Ignore,
    /// It is INVALID.
    Out,
}

/// A segment's numbers as they are judged: corrected where it says nothing or lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub seq: u32,
    pub end: u32,
    pub ack: u32,
    pub sack: u32,
}

/// Which of the conditions hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions {
    i: bool,
    ii: bool,
    iii: bool,
    iv: bool,
    /// Whether the receiver has said anything yet: otherwise II says nothing.
    known: bool,
}

impl Conditions {
    #[inline(always)]
    pub fn of(numbers: Numbers, sender: &Side, receiver: &Side) -> Self {
        Self {
            i: is_before(numbers.seq, sender.maxend.wrapping_add(1)),
            ii: is_before(oldest(sender, receiver), numbers.end),
            iii: is_before(numbers.sack, receiver.end.wrapping_add(1)),
            iv: is_before(oldest_ack(sender, receiver), numbers.sack),
            known: receiver.maxwin != 0,
        }
    }

    #[inline(always)]
    pub const fn hold(self) -> bool {
        self.i & (self.ii | !self.known) & self.iii & self.iv
    }
}

impl Tcp {
    /// Judges a segment, and learns from it if it is good.
    #[inline]
    pub(super) fn check_window(
        &mut self,
        segment: &Segment<'_>,
        context: &Context<'_>,
        settings: &Settings,
        watch: &mut impl Watch,
    ) -> Window {
        let direction = context.direction;
        let (ack, sack) = self.acknowledged(segment, context);
        if (segment.has(Flags::SYN) || self.side(direction).maxwin == 0)
            && self.begin_side(segment, direction, sack, watch)
        {
            return Window::In;
        }
        let numbers = Numbers { seq: segment.seq, end: segment.end, ack, sack };
        let [original, reply] = &mut self.sides;
        let (sender, receiver) = match direction {
            Direction::Original => (original, reply),
            Direction::Reply => (reply, original),
        };
        let numbers =
            if segment.event == Event::Ack { numbers } else { correct(numbers, segment, self.state, sender, receiver) };
        let conditions = Conditions::of(numbers, sender, receiver);
        if !conditions.hold() {
            let liberal = settings.tcp_be_liberal || sender.flags.contains(SideFlags::BE_LIBERAL);
            return outside(numbers, conditions, sender, receiver, liberal, watch);
        }
        note_inside(numbers, sender, receiver, watch);
        let win = u32::from(segment.window) << if segment.has(Flags::SYN) { 0 } else { sender.scale };
        learn(numbers, win, segment.has(Flags::ACK), sender, receiver);
        if segment.event == Event::Ack {
            self.count_retransmission(direction, numbers, segment.window);
        }
        Window::In
    }

    /// The first segment of a side, or a SYN, which may be that of a new try. True if that is all there is to it: a SYN of
    /// the reply side that acknowledges nothing, in a simultaneous open.
    #[cold]
    #[inline(never)]
    fn begin_side(&mut self, segment: &Segment<'_>, direction: Direction, sack: u32, watch: &mut impl Watch) -> bool {
        let side = self.side(direction);
        let syn_only = !segment.has(Flags::ACK);
        if side.maxwin == 0 {
            if !segment.has(Flags::SYN) {
                watch.note(Topic::Track, || "the first packet of this side, and no SYN: its window is guessed");
                self.guess_sender(segment, direction, sack);
                return false;
            }
            self.init_sender(segment, direction);
            if syn_only {
                watch.note(Topic::Track, || "the first SYN of this side: a simultaneous open");
            }
            return syn_only;
        }
        if !is_before(side.end, segment.end) || !matches!(self.state, TcpState::SynSent | TcpState::SynRecv) {
            return false;
        }
        watch.note(Topic::Track, || "a SYN past the last one: this side begins anew");
        self.init_sender(segment, direction);
        syn_only && direction == Direction::Reply
    }

    /// What the segment acknowledges and the highest edge it acknowledges selectively, in the numbers of who sent it.
    #[inline]
    fn acknowledged(&self, segment: &Segment<'_>, context: &Context<'_>) -> (u32, u32) {
        let (ack, peer) = (segment.ack, !context.direction);
        let mut sack = ack;
        if self.side(peer).flags.contains(SideFlags::SACK_PERM) {
            sack = highest_sack(segment.options, ack);
        }
        let offset = context.seqadj.map_or(0, |seqadj| seqadj.offset(peer, ack.wrapping_sub(1)));
        let by = offset.wrapping_neg();
        (ack.wrapping_add_signed(by), sack.wrapping_add_signed(by))
    }

    /// Takes a side from its SYN. Windows are scaled only if both sides have said so (RFC 7323 §2.2).
    fn init_sender(&mut self, segment: &Segment<'_>, direction: Direction) {
        let sender = &mut self.sides[direction.index()];
        sender.end = segment.end;
        sender.maxend = segment.end;
        sender.maxwin = u32::from(segment.window).max(1);
        sender.read_options(segment);
        let both = (self.sides[0].flags.0 & self.sides[1].flags.0) & SideFlags::WINDOW_SCALE.0 != 0;
        if direction == Direction::Reply && !both {
            for side in &mut self.sides {
                side.scale = 0;
            }
        }
    }

    /// Takes a side from a packet in the middle.
    fn guess_sender(&mut self, segment: &Segment<'_>, direction: Direction, sack: u32) {
        let sender = &mut self.sides[direction.index()];
        sender.end = segment.end;
        sender.maxwin = (u32::from(segment.window) << sender.scale).max(1);
        sender.maxend = segment.end.wrapping_add(sender.maxwin);
        let receiver = &mut self.sides[(!direction).index()];
        if receiver.maxwin == 0 {
            receiver.end = sack;
            receiver.maxend = sack;
        } else if sack == receiver.end.wrapping_add(1) {
            // The answer to a keepalive, which has sent one byte again that we have not seen.
            receiver.end = sack;
        }
    }

    /// An acknowledgment that says exactly what the last one said is a retransmission.
    #[inline(always)]
    pub(super) fn count_retransmission(&mut self, direction: Direction, numbers: Numbers, window: u16) {
        let Numbers { seq, end, ack, .. } = numbers;
        let last = &mut self.last;
        if last.direction == direction && (last.seq, last.ack, last.end, last.window) == (seq, ack, end, window) {
            self.retransmissions = self.retransmissions.wrapping_add(1);
        } else {
            (last.seq, last.ack, last.end, last.window) = (seq, ack, end, window);
            last.direction = direction;
            self.retransmissions = 0;
        }
    }
}

/// What a segment that is not a plain ACK acknowledges if it does not say, and where a RST that answers a SYN belongs.
#[inline(never)]
fn correct(mut numbers: Numbers, segment: &Segment<'_>, state: TcpState, sender: &Side, receiver: &Side) -> Numbers {
    if !segment.has(Flags::ACK) || (segment.has(Flags::RST) && numbers.ack == 0) {
        (numbers.ack, numbers.sack) = (receiver.end, receiver.end);
    }
    if segment.has(Flags::RST) && numbers.seq == 0 && state == TcpState::SynSent {
        (numbers.seq, numbers.end) = (sender.end, sender.end);
    }
    numbers
}

/// Whether both sides are known and all conditions hold, without a branch: what [`Conditions`] says one by one.
#[inline(always)]
pub(super) fn are_inside(numbers: Numbers, sender: &Side, receiver: &Side) -> bool {
    let Numbers { seq, end, sack, .. } = numbers;
    // Each difference is negative if its condition holds.
    let i = seq.wrapping_sub(sender.maxend.wrapping_add(1));
    let ii = oldest(sender, receiver).wrapping_sub(end);
    let iii = sack.wrapping_sub(receiver.end.wrapping_add(1));
    let iv = oldest_ack(sender, receiver).wrapping_sub(sack);
    ((i & ii & iii & iv) as i32) < 0 && sender.maxwin != 0 && receiver.maxwin != 0
}

/// What both sides' numbers are after a good segment whose window is `win` bytes.
#[inline(always)]
pub(super) fn learn(numbers: Numbers, win: u32, acknowledges: bool, sender: &mut Side, receiver: &mut Side) {
    let Numbers { end, ack, sack, .. } = numbers;
    sender.maxwin = sender.maxwin.max(win.wrapping_add(sack.wrapping_sub(ack)));
    if is_before(sender.end, end) {
        sender.end = end;
        sender.flags |= SideFlags::DATA_UNACKNOWLEDGED;
    }
    if acknowledges && (!sender.flags.contains(SideFlags::MAXACK_SET) || is_before(sender.maxack, ack)) {
        sender.maxack = ack;
        sender.flags |= SideFlags::MAXACK_SET;
    }
    if receiver.maxwin != 0 && is_before(sender.maxend, end) {
        receiver.maxwin = receiver.maxwin.wrapping_add(end.wrapping_sub(sender.maxend));
    }
    if is_before(receiver.maxend.wrapping_sub(1), sack.wrapping_add(win)) {
        receiver.maxend = sack.wrapping_add(win.max(1));
    }
    if ack == receiver.end {
        receiver.flags.clear(SideFlags::DATA_UNACKNOWLEDGED);
    }
}

/// What a segment must end behind, for condition II.
#[inline]
const fn oldest(sender: &Side, receiver: &Side) -> u32 {
    sender.end.wrapping_sub(receiver.maxwin).wrapping_sub(1)
}

/// What an acknowledgment must be behind, for condition IV.
#[inline]
fn oldest_ack(sender: &Side, receiver: &Side) -> u32 {
    receiver.end.wrapping_sub(sender.maxwin.max(OLDEST_ACK)).wrapping_sub(1)
}

/// Tells that all conditions hold, with the numbers.
#[inline(always)]
pub(super) fn note_inside(numbers: Numbers, sender: &Side, receiver: &Side, watch: &mut impl Watch) {
    let Numbers { seq, end, sack, .. } = numbers;
    watch.note(Topic::Track, || {
        let sent = match receiver.maxwin {
            0 => "the other side has sent nothing yet".to_owned(),
            _ => format!("acknowledges {sack} of {} sent, at least {}", receiver.end, oldest_ack(sender, receiver)),
        };
        format!("inside the window: {seq} to {end} of {} allowed, {sent}", sender.maxend)
    });
}

/// A segment for which some condition does not hold: which is told, and what becomes of it.
#[cold]
#[inline(never)]
fn outside(
    numbers: Numbers,
    conditions: Conditions,
    sender: &mut Side,
    receiver: &Side,
    liberal: bool,
    watch: &mut impl Watch,
) -> Window {
    let Numbers { seq, end, sack, .. } = numbers;
    let Conditions { i, ii, iii, iv, known } = conditions;
    let oldest = oldest(sender, receiver);
    let found = if !i {
        let overshot = end.wrapping_sub(sender.maxend).wrapping_add(1);
        watch.note(Topic::Track, || {
            let (maxend, past) = (sender.maxend, seq.wrapping_sub(sender.maxend));
            format!("window condition I fails: it begins at {seq}, {past} past {maxend}, the last that is allowed")
        });
        if known && ii && iii && iv && overshot <= receiver.maxwin {
            watch.note(Topic::Track, || {
                format!("only I fails, and by {overshot} bytes, less than the window: let through, not answered for")
            });
            sender.end = end;
            sender.flags |= SideFlags::DATA_UNACKNOWLEDGED;
            Window::Ignore
        } else {
            Window::Out
        }
    } else if !iii {
        watch.note(Topic::Track, || {
            let (end, past) = (receiver.end, sack.wrapping_sub(receiver.end));
            format!("window condition III fails: it acknowledges {sack}, {past} past {end}, the last that was sent")
        });
        Window::Out
    } else if known && !ii {
        watch.note(Topic::Track, || {
            let before = oldest.wrapping_sub(end);
            format!(
                "window condition II fails: it ends at {end}, {before} before {oldest}: old data again, let through"
            )
        });
        Window::Ignore
    } else {
        let oldest = oldest_ack(sender, receiver);
        watch.note(Topic::Track, || {
            let before = oldest.wrapping_sub(sack);
            format!("window condition IV fails: it acknowledges {sack}, {before} before {oldest}: old, let through")
        });
        Window::Ignore
    };
    if liberal {
        watch.note(Topic::Track, || "but the window is not enforced here (be liberal)");
        return Window::In;
    }
    if found == Window::Out {
        watch.note(Topic::Track, || "INVALID: outside the window");
    }
    found
}
