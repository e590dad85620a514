//! What a NAT remembers of a TCP connection: eight bits, enough to tell an open one from one that opens or closes.
//!
//! As RFC 7857 §2 has it, after RFC 6146 §3.5.2: open is a connection of which both sides have sent SYN and acknowledged
//! the other's, in any order, so that a simultaneous open counts; closing is one of which both sides have sent FIN; and a
//! reset ends nothing by itself, since it may be forged: the session lives on for a while, and whoever goes on talking
//! keeps it.

use pinhole_wire::tcp::Flags;

use super::machine::Side;

/// What was seen of a connection. The bits of the outside are those of the inside, shifted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State(u8);

/// How long a connection lives without packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It opens.
    Opening,
    /// It is open, or closed by one side only.
    Established,
    /// Both sides have closed it.
    Closing,
    /// It was reset.
    Reset,
}

const SYN: u8 = 1;
const ACK: u8 = 2;
const FIN: u8 = 4;
/// Shift of the outside's bits.
const OUTSIDE: u8 = 3;
const RESET: u8 = 0x80;
const BOTH: u8 = 1 | 1 << OUTSIDE;

impl State {
    /// A connection that was open before anybody looked.
    pub(super) const PICKED_UP: Self = Self(SYN * BOTH);

    /// The state after a segment from `from`.
    pub(super) fn next(self, from: Side, flags: Flags) -> Self {
        let (own, other) = match from {
            Side::Inside => (0, OUTSIDE),
            Side::Outside => (OUTSIDE, 0),
        };
        if flags.contains(Flags::RST) {
            return Self(self.0 | RESET);
        }
        let over = self.0 & RESET != 0 || self.has(FIN * BOTH);
        if flags.contains(Flags::SYN) {
            if over && !flags.contains(Flags::ACK) {
                // The ports are used again.
                return Self(SYN << own);
            }
            let answers = flags.contains(Flags::ACK) && self.has(SYN << other);
            return Self(self.0 | SYN << own | if answers { ACK << own } else { 0 });
        }
        let mut next = self.0 & !RESET;
        if flags.contains(Flags::ACK) && self.has(SYN << other) {
            next |= ACK << own;
        }
        if flags.contains(Flags::FIN) {
            next |= FIN << own;
        }
        Self(next)
    }

    pub(super) fn phase(self) -> Phase {
        if self.0 & RESET != 0 {
            Phase::Reset
        } else if self.has(FIN * BOTH) {
            Phase::Closing
        } else if self.has((SYN | ACK) * BOTH) {
            Phase::Established
        } else {
            Phase::Opening
        }
    }

    /// Whether both sides have said that they are done, so that its port may be used again at once (RFC 6888 REQ-8 a).
    pub(super) fn is_closed(self) -> bool {
        self.has(FIN * BOTH)
    }

    const fn has(self, bits: u8) -> bool {
        self.0 & bits == bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The phases after each segment: direction, flags.
    fn phases(segments: &str) -> Vec<Phase> {
        let mut state = State::default();
        let step = |segment: &str| {
            let (from, flags) = segment.split_at(1);
            let from = if from == ">" { Side::Inside } else { Side::Outside };
            state = state.next(from, Flags::from_letters(flags).expect("letters"));
            state.phase()
        };
        segments.split_whitespace().map(step).collect()
    }

    #[test]
    fn a_connection_is_open_once_both_sides_have_acknowledged_a_syn_in_any_order() {
        use Phase::{Established, Opening};
        assert_eq!(phases(">S <S. >."), [Opening, Opening, Established]);
        assert_eq!(phases("<S >S. <."), [Opening, Opening, Established]);
        assert_eq!(phases(">S <S >S. <S."), [Opening, Opening, Opening, Established]);
        assert_eq!(phases(">S <S >S. <."), [Opening, Opening, Opening, Established]);
        assert_eq!(phases(">S >. >P."), [Opening; 3], "nobody answers");
    }

    #[test]
    fn a_connection_is_over_when_both_sides_have_closed_it() {
        use Phase::{Closing, Established, Opening};
        assert_eq!(phases(">S <S. >. >F. <."), [Opening, Opening, Established, Established, Established]);
        assert_eq!(phases(">S <S. >. >F. <F. >.")[3..], [Established, Closing, Closing]);
        assert_eq!(phases(">S <S. >. >F. <F. >S <S. >.")[5..], [Opening, Opening, Established], "used again");
    }

    #[test]
    fn a_reset_connection_lives_on_if_somebody_goes_on_talking() {
        use Phase::{Established, Opening, Reset};
        assert_eq!(phases(">S <S. >. <R >P.")[2..], [Established, Reset, Established]);
        assert_eq!(phases(">S <S. >. <R >S")[3..], [Reset, Opening]);
    }
}
