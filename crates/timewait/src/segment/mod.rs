//! What a segment does to a TIME_WAIT or FIN_WAIT_2 bucket (net/ipv4/tcp_minisocks.c).
//!
//! A bucket remembers little: what it expects next, its window, the peer's last timestamp. From that it decides whether to
//! answer, to die, to make way for a new connection, and whether the sixty seconds start anew, which more segments do than one
//! would think: every ACK, old or new, and every one that is too old by its timestamp (PAWS). A second host behind the same NAT
//! can keep a bucket alive for as long as it tries.
//!
//! Sequence numbers and timestamps are compared modulo 2^32. The rate limit of the answers (one in 500 ms,
//! `tcp_invalid_ratelimit`) is the caller's.

use crate::Version;

/// What a bucket stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Both sides have closed.
    TimeWait,
    /// The other side has not, and nobody here reads any more.
    FinWait2,
}

/// What a bucket remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its state.
    pub state: State,
    /// The next sequence number that it expects.
    pub rcv_nxt: u32,
    /// How many bytes from there it takes (FIN_WAIT_2 only).
    pub rcv_wnd: u32,
    /// Its own next sequence number.
    pub snd_nxt: u32,
    /// The peer's last timestamp and how long ago it came, if the connection had timestamps.
    pub timestamp: Option<Timestamp>,
}

/// A timestamp that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// Its value.
    pub value: u32,
    /// Seconds since it came.
    pub age_s: u64,
}

/// A segment that meets the bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Its first sequence number.
    pub seq: u32,
    /// Bytes of data.
    pub len: u32,
    /// SYN.
    pub syn: bool,
    /// FIN.
    pub fin: bool,
    /// RST.
    pub rst: bool,
    /// ACK.
    pub ack: bool,
    /// TSval, if it has timestamps.
    pub timestamp: Option<u32>,
}

/// The host around the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Somebody listens on the port.
    pub listens: bool,
    /// `net.ipv4.tcp_rfc1337`.
    pub rfc1337: bool,
    /// The kernel.
    pub version: Version,
}

/// What is sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// Nothing.
    None,
    /// An ACK of where the bucket stands.
    Ack,
    /// A RST.
    Reset,
    /// A SYN-ACK of a new connection.
    SynAck {
        /// Beyond all that the old connection may have sent; `None` where the kernel forgets that, and takes an ordinary one.
        isn: Option<u32>,
    },
}

/// What becomes of the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It goes on as it was.
    Unchanged,
    /// Its sixty seconds start anew (from FIN_WAIT_2 it becomes TIME_WAIT).
    Restarted,
    /// It is gone.
    Killed,
    /// A new connection has its 4-tuple.
    Replaced,
}

/// The rule that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// An RST exactly where the bucket stands.
    Reset,
    /// The same, which `tcp_rfc1337` makes it ignore.
    ResetIgnored,
    /// An RST elsewhere, or too old by its timestamp.
    ResetElsewhere,
    /// An ACK without data exactly where the bucket stands.
    AckInPlace,
    /// Too old by its timestamp (PAWS).
    Paws,
    /// An ACK elsewhere: data or a FIN again, or something new.
    AckElsewhere,
    /// A SYN without a listener, or a segment without ACK.
    NoAck,
    /// A SYN that is newer than the old connection, and a listener.
    NewConnection,
    /// A SYN that is not newer.
    OldSyn,
    /// Beyond the window of FIN_WAIT_2.
    BeyondWindow,
    /// A SYN where FIN_WAIT_2 expects data.
    SynInWindow,
    /// The FIN that FIN_WAIT_2 waits for.
    Fin,
    /// Data for FIN_WAIT_2, which nobody will read.
    NewData,
    /// Nothing new for FIN_WAIT_2.
    Duplicate,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Outcome {
    /// What is sent back.
    pub reply: Reply,
    /// What becomes of the bucket.
    pub fate: Fate,
    /// Why.
    pub rule: Rule,
}

/// What `segment` does to `bucket`.
pub fn meet(bucket: &Bucket, segment: &Segment, host: &Host) -> Outcome {
    let is_old = is_old(bucket, segment);
    match bucket.state {
        State::FinWait2 => fin_wait2(bucket, segment, is_old),
        State::TimeWait => time_wait(bucket, segment, host, is_old),
    }
}

fn time_wait(bucket: &Bucket, segment: &Segment, host: &Host, is_old: bool) -> Outcome {
    let in_place = !is_old && segment.seq == bucket.rcv_nxt && (segment.end() == segment.seq || segment.rst);
    if in_place && segment.rst {
        return match (host.rfc1337, host.version.ignored_rst_restarts()) {
            (false, _) => Outcome::new(Reply::None, Fate::Killed, Rule::Reset),
            (true, true) => Outcome::new(Reply::None, Fate::Restarted, Rule::ResetIgnored),
            (true, false) => Outcome::new(Reply::None, Fate::Unchanged, Rule::ResetIgnored),
        };
    }
    if in_place {
        return Outcome::new(Reply::None, Fate::Restarted, Rule::AckInPlace);
    }
    let opens = segment.syn && !segment.rst && !segment.ack && !is_old;
    if opens && host.listens && is_newer(bucket, segment) {
        // Zero would mean that there is none.
        let beyond = bucket.snd_nxt.wrapping_add(ISN_GAP).max(1);
        let isn = host.version.begins_beyond_the_old().then_some(beyond);
        return Outcome::new(Reply::SynAck { isn }, Fate::Replaced, Rule::NewConnection);
    }
    if segment.rst {
        return Outcome::new(Reply::None, Fate::Unchanged, Rule::ResetElsewhere);
    }
    let rule = match (is_old, segment.ack) {
        (true, _) => Rule::Paws,
        (false, true) => Rule::AckElsewhere,
        (false, false) if opens && host.listens => Rule::OldSyn,
        (false, false) => Rule::NoAck,
    };
    let fate = if is_old || segment.ack { Fate::Restarted } else { Fate::Unchanged };
    Outcome::new(Reply::Ack, fate, rule)
}

fn fin_wait2(bucket: &Bucket, segment: &Segment, is_old: bool) -> Outcome {
    if is_old || !bucket.takes(segment) {
        // Even an RST is answered here.
        let rule = if is_old { Rule::Paws } else { Rule::BeyondWindow };
        return Outcome::new(Reply::Ack, Fate::Unchanged, rule);
    }
    if segment.rst {
        return Outcome::new(Reply::None, Fate::Killed, Rule::Reset);
    }
    if segment.syn && !is_before(segment.seq, bucket.rcv_nxt) {
        return Outcome::new(Reply::Reset, Fate::Killed, Rule::SynInWindow);
    }
    let has_more = is_before(bucket.rcv_nxt, segment.end()) && segment.end() != segment.seq;
    if !segment.ack || !has_more {
        return Outcome::new(Reply::None, Fate::Unchanged, Rule::Duplicate);
    }
    if segment.fin && segment.end() == bucket.rcv_nxt.wrapping_add(1) {
        return Outcome::new(Reply::Ack, Fate::Restarted, Rule::Fin);
    }
    Outcome::new(Reply::Reset, Fate::Killed, Rule::NewData)
}

/// How far beyond the old connection's last sequence number a new one begins: more than a window without scaling.
const ISN_GAP: u32 = 65_537;
/// A timestamp that is older than 24 days says nothing (`TCP_PAWS_24DAYS`).
const FORGOTTEN_S: u64 = 24 * 86_400;
/// An RST is believed whatever its timestamp, once the last one is this old (`TCP_PAWS_MSL`).
const RESET_BELIEVED_S: u64 = 60;

/// PAWS (RFC 7323, section 5): whether the segment is from before the last one.
fn is_old(bucket: &Bucket, segment: &Segment) -> bool {
    let (Some(last), Some(value)) = (bucket.timestamp, segment.timestamp) else { return false };
    let is_before = last.value.wrapping_sub(value).cast_signed() > 0;
    let is_believed = last.value == 0 || last.age_s >= FORGOTTEN_S || (segment.rst && last.age_s >= RESET_BELIEVED_S);
    is_before && !is_believed
}

/// Whether a SYN cannot be one of the old connection's.
fn is_newer(bucket: &Bucket, segment: &Segment) -> bool {
    let by_time = match (bucket.timestamp, segment.timestamp) {
        (Some(last), Some(value)) => last.value.wrapping_sub(value).cast_signed() < 0,
        (None, _) | (_, None) => false,
    };
    is_before(bucket.rcv_nxt, segment.seq) || by_time
}

fn is_before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

impl Bucket {
    fn takes(&self, segment: &Segment) -> bool {
        let (start, end) = (self.rcv_nxt, self.rcv_nxt.wrapping_add(self.rcv_wnd));
        let is_first = segment.seq == start;
        let overlaps = is_before(start, segment.end()) && is_before(segment.seq, end);
        let is_empty_at_the_end = segment.seq == end && segment.end() == segment.seq;
        is_first || overlaps || is_empty_at_the_end
    }
}

impl Segment {
    /// The sequence number after it: SYN and FIN count as one each.
    pub fn end(&self) -> u32 {
        self.seq.wrapping_add(self.len).wrapping_add(u32::from(self.syn)).wrapping_add(u32::from(self.fin))
    }
}

impl Outcome {
    const fn new(reply: Reply, fate: Fate, rule: Rule) -> Self {
        Self { reply, fate, rule }
    }
}

#[cfg(test)]
mod tests;
