//! Every cell of the state table, and every combination of flags.

use super::super::segment::Segment;
use super::super::table::{Next, TRANSITIONS};
use super::*;

/// The table as the facts about Linux give it, in other words than the code's: by state, with a column per event and side.
/// Columns: SYN o, SYN r, SYN+ACK o, SYN+ACK r, FIN o and r, ACK o, ACK r, RST o and r. `x` is INVALID, `i` let through.
const CELLS: &str = "
    NONE        SYN_SENT  x         x        x        x        ESTABLISHED x          x
    SYN_SENT    SYN_SENT  SYN_SENT2 x        SYN_RECV x        x           i          CLOSE
    SYN_SENT2   SYN_SENT2 SYN_SENT2 SYN_RECV SYN_RECV x        x           i          CLOSE
    SYN_RECV    i         x         SYN_RECV i        FIN_WAIT ESTABLISHED SYN_RECV   CLOSE
    ESTABLISHED i         x         x        i        FIN_WAIT ESTABLISHED ESTABLISHED CLOSE
    FIN_WAIT    i         x         x        i        LAST_ACK CLOSE_WAIT  CLOSE_WAIT CLOSE
    CLOSE_WAIT  i         x         x        i        LAST_ACK CLOSE_WAIT  CLOSE_WAIT CLOSE
    LAST_ACK    i         x         x        i        LAST_ACK TIME_WAIT   TIME_WAIT  CLOSE
    TIME_WAIT   SYN_SENT  SYN_SENT  x        i        TIME_WAIT TIME_WAIT  TIME_WAIT  CLOSE
    CLOSE       SYN_SENT  x         x        i        CLOSE    CLOSE       CLOSE      CLOSE";

#[test]
fn every_cell_of_the_table_is_as_in_linux() {
    let columns: [(usize, &[usize]); 8] =
        [(0, &[0]), (0, &[1]), (1, &[0]), (1, &[1]), (2, &[0, 1]), (3, &[0]), (3, &[1]), (4, &[0, 1])];
    let mut cells = 0;
    for row in CELLS.trim().lines() {
        let (name, row) = row.trim().split_once(' ').expect("a state and its cells");
        let state = TcpState::ALL.into_iter().find(|state| state.name() == name).expect("a state");
        for ((event, directions), cell) in columns.into_iter().zip(row.split_whitespace()) {
            for &direction in directions {
                let found = match TRANSITIONS[direction][event][state as usize] {
                    Next::To(state) => state.name(),
                    Next::Ignore => "i",
                    Next::Invalid => "x",
                };
                assert_eq!(found, cell, "{name}, event {event}, direction {direction}");
                cells += 1;
            }
        }
    }
    assert_eq!(cells, 100);
}

#[test]
fn only_nine_combinations_of_flags_are_valid_whatever_push_and_ecn_say() {
    let valid: Vec<u8> = ["S", "SU", "S.", "R", "R.", "F.", "F.U", ".", ".U"]
        .into_iter()
        .map(|letters| Flags::from_letters(letters).expect("letters").0)
        .collect();
    let silent = (Flags::PSH | Flags::ECE | Flags::CWR).0;
    for flags in 0..=255 {
        let (_, mut body) = segment("> S 0 0");
        body[13] = flags;
        assert_eq!(Segment::of(&body, &mut ()).is_some(), valid.contains(&(flags & !silent)), "{flags:#x}");
    }
}

#[test]
fn a_header_that_is_not_whole_is_invalid() {
    let (_, body) = segment("> S 0 0 wscale 7");
    assert!(Segment::of(&body, &mut ()).is_some());
    assert!(Segment::of(&body[..19], &mut ()).is_none());
    assert!(Segment::of(&body[..23], &mut ()).is_none(), "the options reach past the end");
    let short = [&body[..12], &[4 << 4], &body[13..]].concat();
    assert!(Segment::of(&short, &mut ()).is_none(), "a data offset of 16 bytes");
}

#[test]
fn syn_and_fin_count_for_one_each() {
    for (line, end) in [("> S 7 0", 8), ("> . 7 0 len 5", 12), ("> F. 7 0 len 5", 13), ("> S -1 0", 0)] {
        let (_, body) = segment(line);
        assert_eq!(Segment::of(&body, &mut ()).expect(line).end, end, "{line}");
    }
}
