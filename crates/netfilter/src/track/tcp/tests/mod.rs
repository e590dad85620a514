//! TCP flows as packet sequences. A line is `side flags seq ack [win N] [len N] [wscale N] [sackok] [sack FROM-TO]`, the side
//! being `>` (original) or `<` (reply); what the tracker answers is compared with what is expected.

mod behaviours;
mod special;
mod table;
mod timeouts;
mod window;

use core::time::Duration;

use pinhole_sansio::Instant;
use pinhole_wire::tcp::{self, Flags};

use super::{Side, Tcp, TcpState};
use crate::seqadj::Seqadj;
use crate::settings::Settings;
use crate::status::{Direction, Status};
use crate::track::{Change, Context, Judgement};
use crate::watch::Note;

/// A segment's bytes, and who sends it.
fn segment(line: &str) -> (Direction, Vec<u8>) {
    let mut words = line.split_whitespace();
    let mut next = || words.next().unwrap_or_else(|| panic!("{line}: a word is missing"));
    let direction = match next() {
        ">" => Direction::Original,
        "<" => Direction::Reply,
        side => panic!("{line}: {side} is no side"),
    };
    let flags = Flags::from_letters(next()).unwrap_or_else(|| panic!("{line}: no flags"));
    let (seq, ack) = (number(next()), number(next()));
    let (mut window, mut len, mut options) = (1_000, 0, Vec::new());
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{line}: {word} needs a value"));
        match word {
            "win" => window = value().parse().expect("a window"),
            "len" => len = value().parse().expect("a length"),
            "wscale" => options.extend([3, 3, value().parse().expect("a shift"), 1]),
            "sackok" => options.extend([4, 2, 1, 1]),
            "sack" => {
                let (from, to) = value().split_once('-').expect("two edges");
                options.extend([1, 1, 5, 10]);
                options.extend([from, to].into_iter().flat_map(|edge| number(edge).to_be_bytes()));
            }
            word => panic!("{line}: {word} is unknown"),
        }
    }
    let mut bytes = vec![0; tcp::HEADER_LEN + options.len() + len];
    let mut packet = tcp::Packet::init(&mut bytes, 40_000, 80, flags).expect("there is room");
    packet.set_seq(seq);
    packet.set_ack(ack);
    packet.set_window(window);
    bytes[12] = ((tcp::HEADER_LEN + options.len()) as u8 / 4) << 4;
    bytes[tcp::HEADER_LEN..tcp::HEADER_LEN + options.len()].copy_from_slice(&options);
    (direction, bytes)
}

/// A sequence number, which may be written as one below zero.
fn number(text: &str) -> u32 {
    text.parse::<i64>().unwrap_or_else(|_| panic!("{text} is no number")) as u32
}

/// A flow and its entry in a table that holds nothing else.
struct Flow {
    settings: Settings,
    entry: Option<Tcp>,
    status: Status,
    timeout: Duration,
    seqadj: Option<Seqadj>,
    notes: Vec<Note>,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Accepted,
    Invalid,
}

impl Flow {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        Self {
            settings,
            entry: None,
            status: Status::default(),
            timeout: Duration::ZERO,
            seqadj: None,
            notes: Vec::new(),
        }
    }

    /// A flow that has shaken hands: the original side goes on at 1001, the reply side at 5001, windows are 1000.
    fn established() -> Self {
        let mut flow = Self::new();
        flow.accepts(&["> S 1000 0", "< S. 5000 1001", "> . 1001 5001"]);
        flow.expect(TcpState::Established, 432_000);
        flow
    }

    /// What the tracker says of a packet, carried out as the table does.
    fn judge(&mut self, line: &str) -> Judgement {
        let (direction, body) = segment(line);
        self.notes.clear();
        if self.entry.is_none() {
            assert_eq!(direction, Direction::Original, "{line}: a flow begins in its original direction");
            self.status = Status::default();
            self.entry = Tcp::begin(&body, &self.settings, &mut self.notes);
        }
        let Some(tcp) = &mut self.entry else { return Judgement::INVALID };
        let context = Context {
            now: Instant::EPOCH,
            direction,
            status: self.status,
            remaining: self.timeout,
            seqadj: self.seqadj.as_ref(),
        };
        let judgement = tcp.next(&body, &context, &self.settings, &self.settings.timeouts, &mut self.notes);
        match judgement {
            Judgement::Accept(Change { timeout, assured, .. }) => {
                self.timeout = timeout.unwrap_or(self.timeout);
                self.status.set(Status::CONFIRMED);
                if assured {
                    self.status.set(Status::ASSURED);
                }
                if direction == Direction::Reply {
                    self.status.set(Status::SEEN_REPLY);
                }
            }
            Judgement::Invalid { timeout, .. } => {
                self.timeout = timeout.map_or(self.timeout, |at| at.min(self.timeout))
            }
            Judgement::Restart | Judgement::Kill => self.entry = None,
            Judgement::Drop => panic!("{line}: no tracker drops"),
        }
        judgement
    }

    /// What became of a packet, a restarted flow included.
    fn send(&mut self, line: &str) -> Outcome {
        match self.judge(line) {
            Judgement::Accept(_) | Judgement::Kill => Outcome::Accepted,
            Judgement::Invalid { .. } => Outcome::Invalid,
            Judgement::Restart => self.send(line),
            Judgement::Drop => panic!("{line}: no tracker drops"),
        }
    }

    fn accepts(&mut self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.send(line), Outcome::Accepted, "{line}: {:?}", self.notes);
        }
    }

    fn refuses(&mut self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.send(line), Outcome::Invalid, "{line}: {:?}", self.notes);
        }
    }

    /// The state, and how many seconds the entry lives.
    #[track_caller]
    fn expect(&self, state: TcpState, timeout_secs: u64) {
        assert_eq!((self.state(), self.timeout.as_secs()), (state, timeout_secs), "{:?}", self.notes);
    }

    fn state(&self) -> TcpState {
        self.entry.as_ref().map_or(TcpState::None, Tcp::state)
    }

    fn side(&self, direction: Direction) -> Side {
        *self.entry.as_ref().expect("there is an entry").side(direction)
    }

    /// Whether a note of the last packet says this.
    fn was_told(&self, words: &str) -> bool {
        self.notes.iter().any(|note| note.text.contains(words))
    }
}
