//! Sequence adjustment: a helper that makes a text longer or shorter shifts every later sequence number of that side
//! (`net/netfilter/nf_conntrack_seqadj.c`).

use crate::status::Direction;

/// The shifts of both directions of a TCP flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seqadj {
    shifts: [Shift; 2],
}

/// Of what one side sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shift {
    /// The sequence number, as sent, at which the last change was made.
    position: u32,
    /// What is added up to there.
    before: i32,
    /// What is added past it.
    after: i32,
}

impl Seqadj {
    /// The text that `direction` sends at `seq` has become longer by `by` bytes, or shorter.
    pub fn change(&mut self, direction: Direction, seq: u32, by: i32) {
        let shift = &mut self.shifts[direction.index()];
        if shift.before == shift.after || is_before(shift.position, seq) {
            *shift = Shift { position: seq, before: shift.after, after: shift.after.wrapping_add(by) };
        }
    }

    /// What is to be added to the sequence number `seq` that `direction` sends.
    pub fn offset(&self, direction: Direction, seq: u32) -> i32 {
        let shift = self.shifts[direction.index()];
        if is_before(shift.position, seq) { shift.after } else { shift.before }
    }

    /// The sequence number behind `seq`, which `direction` sends.
    pub fn adjust_seq(&self, direction: Direction, seq: u32) -> u32 {
        seq.wrapping_add_signed(self.offset(direction, seq))
    }

    /// The acknowledgment behind `ack`, a SACK edge included, which `direction` sends about what the other side has sent.
    pub fn adjust_ack(&self, direction: Direction, ack: u32) -> u32 {
        let shift = self.shifts[(!direction).index()];
        let original = ack.wrapping_add_signed(shift.before.wrapping_neg());
        let by = if is_before(shift.position, original) { shift.after } else { shift.before };
        ack.wrapping_add_signed(by.wrapping_neg())
    }
}

/// Whether `a` comes before `b` on the circle of sequence numbers.
fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shifted_behind_the_change_and_acknowledgments_shifted_back() {
        let mut seqadj = Seqadj::default();
        seqadj.change(Direction::Original, 1_000, 5);
        assert_eq!(seqadj.adjust_seq(Direction::Original, 1_000), 1_000, "the changed segment itself stays");
        assert_eq!(seqadj.adjust_seq(Direction::Original, 1_020), 1_025);
        assert_eq!(seqadj.adjust_ack(Direction::Reply, 1_025), 1_020);
        assert_eq!(seqadj.adjust_ack(Direction::Reply, 1_000), 1_000);
        assert_eq!(seqadj.adjust_seq(Direction::Reply, 7), 7, "the other side is not shifted");

        seqadj.change(Direction::Original, 1_020, -2);
        assert_eq!(seqadj.adjust_seq(Direction::Original, 1_020), 1_025);
        assert_eq!(seqadj.adjust_seq(Direction::Original, 1_040), 1_043);
    }
}
