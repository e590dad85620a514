//! SCTP (`nf_conntrack_proto_sctp.c`, RFC 9260): chunk by chunk through the state table, and the verification tags that both
//! sides have given each other.

mod chunk;
mod table;
#[cfg(test)]
mod tests;

use super::{Change, Context, Judgement, u32_at};
use crate::settings::Timeouts;
use crate::status::{Direction, Status};
use crate::watch::{Topic, Watch};
use chunk::{Chunk, Chunks, Kinds, kind};
use table::next_state;

pub use table::SctpState;

/// An SCTP flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sctp {
    state: SctpState,
    /// The verification tag that packets of each direction must carry; 0 while unknown.
    tags: [u32; 2],
    /// Who has sent an INIT that no COOKIE ACK has settled yet.
    init: [bool; 2],
    /// Which side has last sent a HEARTBEAT with a tag that is not the known one, if no other has come since.
    odd_heartbeat: Option<Direction>,
}

impl Sctp {
    /// The state of a flow that begins with this packet.
    pub(super) fn begin(body: &[u8], watch: &mut impl Watch) -> Option<Self> {
        let (tag, kinds) = checked(body, watch)?;
        if kinds.has_any(&[kind::ABORT, kind::SHUTDOWN_COMPLETE, kind::COOKIE_ACK]) {
            watch.note(Topic::Track, || "INVALID: an ABORT, SHUTDOWN COMPLETE or COOKIE ACK out of the blue");
            return None;
        }
        let mut new = Self { state: SctpState::None, tags: [0; 2], init: [false; 2], odd_heartbeat: None };
        for chunk in Chunks::of(body) {
            match next_state(Direction::Original, SctpState::None, chunk.kind) {
                None | Some(SctpState::None) => {
                    watch.note(Topic::Track, || format!("INVALID: a chunk of type {} begins no flow", chunk.kind));
                    return None;
                }
                Some(_) => {}
            }
            match chunk.kind {
                kind::INIT if tag != 0 => {
                    watch.note(Topic::Track, || format!("INVALID: an INIT with the verification tag {tag:#x}"));
                    return None;
                }
                kind::INIT => new.tags[Direction::Reply.index()] = chunk.init_tag()?,
                kind::HEARTBEAT => new.tags[Direction::Original.index()] = tag,
                // Its answer, a SHUTDOWN COMPLETE or an ABORT, reflects the tag (RFC 9260 §8.4).
                kind::SHUTDOWN_ACK => new.tags[Direction::Reply.index()] = tag,
                _ => {}
            }
        }
        Some(new)
    }

    /// What a packet of this flow does to it.
    pub(super) fn next(
        &mut self,
        body: &[u8],
        context: &Context<'_>,
        timeouts: &Timeouts,
        watch: &mut impl Watch,
    ) -> Judgement {
        let Some((tag, kinds)) = checked(body, watch) else { return Judgement::INVALID };
        let direction = context.direction;
        if !kinds.has_any(&kind::WITH_TAGS_OF_THEIR_OWN) && tag != self.tags[direction.index()] {
            let expected = self.tags[direction.index()];
            watch.note(Topic::Track, || format!("INVALID: verification tag {tag:#x}, and {expected:#x} is expected"));
            return Judgement::INVALID;
        }
        let (mut change, mut refreshes) = (Change::default(), true);
        for chunk in Chunks::of(body) {
            let old = self.state;
            match self.tag_is_right(&chunk, tag, direction, !refreshes, kinds) {
                Tag::Right => {}
                Tag::Odd => {
                    watch.note(Topic::Track, || format!("a HEARTBEAT with the tag {tag:#x}: it may be a new path"));
                    refreshes = false;
                    continue;
                }
                Tag::Wrong => {
                    watch.note(Topic::Track, || {
                        format!("INVALID: chunk type {}, verification tag {tag:#x}", chunk.kind)
                    });
                    return Judgement::Invalid { timeout: None, assured: change.assured };
                }
            }
            let Some(new) = next_state(direction, old, chunk.kind) else {
                watch.note(Topic::Track, || {
                    format!("INVALID: chunk type {} of the {direction} side in state {}", chunk.kind, old.name())
                });
                return Judgement::Invalid { timeout: None, assured: change.assured };
            };
            if !self.learn_tag(&chunk, direction) {
                watch.note(Topic::Track, || "INVALID: an INIT whose tag is missing or another");
                return Judgement::Invalid { timeout: None, assured: change.assured };
            }
            let again = chunk.kind == kind::INIT && (old, new) == (SctpState::Closed, SctpState::Closed);
            if again && context.status.contains(Status::CONFIRMED) {
                watch.note(Topic::Track, || "the INIT again: the timeout runs on");
                refreshes = false;
            }
            self.state = new;
            if old != new {
                watch.note(Topic::Track, || format!("chunk type {}: {} -> {}", chunk.kind, old.name(), new.name()));
                change.protoinfo = true;
                change.assured |= new == SctpState::Established && !context.status.contains(Status::ASSURED);
            }
        }
        if refreshes {
            change.timeout = Some(timeouts.sctp.of(self.state));
        }
        Judgement::Accept(change)
    }

    /// The state.
    pub const fn state(&self) -> SctpState {
        self.state
    }

    /// The verification tag that packets of a direction carry; 0 while unknown.
    pub const fn tag(&self, direction: Direction) -> u32 {
        self.tags[direction.index()]
    }

    /// The chunks whose tags follow rules of their own (RFC 9260 §8.5.1). `ignored`: a chunk before it in the packet was odd.
    fn tag_is_right(&mut self, chunk: &Chunk<'_>, tag: u32, direction: Direction, ignored: bool, kinds: Kinds) -> Tag {
        let (own, peers) = (self.tags[direction.index()], self.tags[(!direction).index()]);
        let right = |right| if right { Tag::Right } else { Tag::Wrong };
        match chunk.kind {
            kind::INIT => right(tag == 0),
            kind::ABORT | kind::SHUTDOWN_COMPLETE => right(tag == if chunk.has_t_flag() { peers } else { own }),
            kind::COOKIE_ECHO => right(tag == own),
            kind::COOKIE_ACK => {
                self.init = [false; 2];
                Tag::Right
            }
            kind::HEARTBEAT | kind::HEARTBEAT_ACK if own == 0 => {
                self.tags[direction.index()] = tag;
                Tag::Right
            }
            kind::HEARTBEAT | kind::HEARTBEAT_ACK if tag == own => {
                self.odd_heartbeat = None;
                Tag::Right
            }
            kind::HEARTBEAT | kind::HEARTBEAT_ACK if kinds.has_any(&[kind::DATA]) || ignored => Tag::Wrong,
            kind::HEARTBEAT => {
                self.odd_heartbeat = Some(direction);
                Tag::Odd
            }
            // The answer to an odd HEARTBEAT of the other side: the path is a new one, and its tags are these.
            kind::HEARTBEAT_ACK if self.odd_heartbeat == Some(!direction) => {
                self.odd_heartbeat = None;
                self.tags[direction.index()] = tag;
                self.tags[(!direction).index()] = 0;
                Tag::Right
            }
            kind::HEARTBEAT_ACK => Tag::Wrong,
            _ => Tag::Right,
        }
    }

    /// Takes the tag that an INIT or INIT ACK tells the other side to use. False if there is none, or it contradicts.
    fn learn_tag(&mut self, chunk: &Chunk<'_>, direction: Direction) -> bool {
        let (own, peers) = (direction.index(), (!direction).index());
        if !matches!(chunk.kind, kind::INIT | kind::INIT_ACK) {
            return true;
        }
        let Some(tag) = chunk.init_tag() else { return false };
        let known = self.tags[peers];
        if chunk.kind == kind::INIT {
            // One that says what is known already is a copy, or forged: it reopens nothing.
            if self.state != SctpState::None && tag == known {
                return true;
            }
            if self.init[own] && self.init[peers] {
                self.init[peers] = false;
            }
            self.init[own] = true;
        } else {
            let contradicts = !self.init[peers] && known != 0 && known != tag;
            let collides = self.init[own] && self.init[peers] && known != tag;
            if contradicts || collides {
                return false;
            }
        }
        self.tags[peers] = tag;
        true
    }
}

/// What a chunk's verification tag is.
enum Tag {
    Right,
    /// A HEARTBEAT from a side that may have moved: let through, but it counts for nothing.
    Odd,
    Wrong,
}

/// The verification tag and the kinds of chunks, if the packet is well-formed: an INIT, INIT ACK or SHUTDOWN COMPLETE alone, a
/// COOKIE ECHO or COOKIE ACK first, at least one chunk, and none of length zero.
fn checked(body: &[u8], watch: &mut impl Watch) -> Option<(u32, Kinds)> {
    let mut kinds = Kinds::default();
    let (mut count, mut alone) = (0, false);
    for chunk in Chunks::of(body) {
        alone |= matches!(chunk.kind, kind::INIT | kind::INIT_ACK | kind::SHUTDOWN_COMPLETE);
        let first = matches!(chunk.kind, kind::COOKIE_ECHO | kind::COOKIE_ACK);
        if ((alone || first) && count != 0) || chunk.length == 0 {
            watch.note(Topic::Track, || format!("INVALID: chunk type {} may not stand there", chunk.kind));
            return None;
        }
        kinds.insert(chunk.kind);
        count += 1;
    }
    if count == 0 {
        watch.note(Topic::Track, || "INVALID: no SCTP chunk");
        return None;
    }
    Some((u32_at(body, 4)?, kinds))
}
