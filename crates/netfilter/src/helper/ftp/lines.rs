//! Where lines begin: a text is only read if it begins where a line has ended, so that a command cannot be smuggled into the
//! middle of one.

use crate::status::Direction;

/// Per direction, the sequence numbers after the last two line ends that a segment ended with (`seq_aft_nl` in
/// `struct nf_ct_ftp_master`). Two, because a segment may come again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    sides: [Side; 2],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Side {
    after: [Option<u32>; 2],
    /// Any sequence number will do, once (`NF_CT_FTP_SEQ_PICKUP`).
    pick_up: bool,
}

impl Lines {
    /// Of a flow that user space has restored.
    pub(in crate::helper) fn restored() -> Self {
        Self { sides: [Side { after: [None; 2], pick_up: true }; 2] }
    }

    /// Whether what `direction` sends at `seq` begins a line.
    pub(super) fn begins(&mut self, direction: Direction, seq: u32) -> bool {
        let side = &mut self.sides[direction.index()];
        side.after.contains(&Some(seq)) || core::mem::take(&mut side.pick_up)
    }

    /// A line of `direction` ends before `seq`.
    pub(super) fn ended(&mut self, direction: Direction, seq: u32) {
        let after = &mut self.sides[direction.index()].after;
        if after.contains(&Some(seq)) {
            return;
        }
        match after {
            [None, _] => after[0] = Some(seq),
            [_, None] => after[1] = Some(seq),
            [Some(a), Some(b)] => {
                let oldest = if is_before(*a, *b) { a } else { b };
                if is_before(*oldest, seq) {
                    *oldest = seq;
                }
            }
        }
    }
}

/// Whether `a` comes before `b` on the circle of sequence numbers.
fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}
