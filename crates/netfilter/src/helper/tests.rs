//! What the tests of all helpers share: a flow with a helper, through which texts are sent.

use core::net::{Ipv4Addr, Ipv6Addr};

use pinhole_sansio::Rng;
use pinhole_wire::tcp::Flags;

use super::*;

pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub(super) const MASTER: MasterId = MasterId(1);
const START_SEQ: [u32; 2] = [0xffff_fff0, 5_000];

/// A flow with a helper.
pub(super) struct Flow<A: Address> {
    pub tuples: [Tuple<A>; 2],
    pub status: Status,
    pub state: State,
    pub expectations: Expectations<A>,
    pub settings: Settings,
    pub now: Instant,
    /// The next sequence number of each side.
    pub seq: [u32; 2],
    /// What is drawn next; the lowest of the range when there is nothing more.
    pub draws: Vec<u16>,
    pub notes: Vec<crate::watch::Note>,
}

impl Flow<Ipv4Addr> {
    /// From the client to the server.
    pub fn direct(helper: Helper) -> Self {
        Self::between(helper, CLIENT, SERVER)
    }

    /// From the client to the server, which sees the gateway's port 61000.
    pub fn masqueraded(helper: Helper) -> Self {
        let mut flow = Self::direct(helper);
        flow.tuples[1].dst = GATEWAY;
        flow.tuples[1].dst_id = 61_000;
        flow.status = Status::SEEN_REPLY | Status::SRC_NAT | Status::NAT_DONE;
        flow
    }

    /// From the client on the outside to the gateway, which is the server 10.0.0.2 inside.
    pub fn forwarded(helper: Helper) -> Self {
        let mut flow = Self::between(helper, SERVER, GATEWAY);
        flow.tuples[1].src = CLIENT;
        flow.status = Status::SEEN_REPLY | Status::DST_NAT | Status::NAT_DONE;
        flow
    }
}

impl<A: Address> Flow<A> {
    pub fn between(helper: Helper, src: A, dst: A) -> Self {
        let original = Tuple { src, dst, src_id: 5_000, dst_id: helper.port(), protocol: helper.protocols()[0] };
        Self {
            tuples: [original, original.inverse().expect("ports have answers")],
            status: Status::SEEN_REPLY | Status::NAT_DONE,
            state: State::new(helper),
            expectations: Expectations::default(),
            settings: Settings::default(),
            now: Instant::EPOCH,
            seq: START_SEQ,
            draws: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Sends a payload with the flow's protocol and ports.
    pub fn send(&mut self, direction: Direction, payload: impl AsRef<[u8]>) -> Outcome<A> {
        let seq = self.seq[direction.index()];
        let outcome = self.send_at(direction, seq, payload.as_ref());
        self.seq[direction.index()] = seq.wrapping_add(payload.as_ref().len() as u32);
        outcome
    }

    /// As `send`, of TCP at this sequence number.
    pub fn send_at(&mut self, direction: Direction, seq: u32, payload: &[u8]) -> Outcome<A> {
        let tuple = self.tuples[direction.index()];
        let header_len = if tuple.protocol == TCP { tcp::HEADER_LEN } else { udp::HEADER_LEN };
        let mut bytes = vec![0; header_len];
        bytes.extend_from_slice(payload);
        if tuple.protocol == TCP {
            let mut segment = tcp::Packet::init(&mut bytes, tuple.src_id, tuple.dst_id, Flags::ACK).expect("it fits");
            segment.set_seq(seq);
        } else {
            udp::Packet::init(&mut bytes, tuple.src_id, tuple.dst_id).expect("it fits");
        }
        self.inspect(direction, &bytes)
    }

    /// Shows the bytes to the helper.
    pub fn inspect(&mut self, direction: Direction, transport: &[u8]) -> Outcome<A> {
        let info = match direction {
            Direction::Original if !self.status.contains(Status::SEEN_REPLY) => CtInfo::New,
            Direction::Original => CtInfo::Established,
            Direction::Reply => CtInfo::EstablishedReply,
        };
        let call = Call {
            now: self.now,
            transport,
            tuples: &self.tuples,
            info,
            status: self.status,
            master: MASTER,
            zone: 0,
            settings: &self.settings,
        };
        let draws = &mut self.draws;
        let mut draw = |range: Range<u16>| if draws.is_empty() { range.start } else { draws.remove(0) };
        let outcome = inspect(&call, &mut self.state, &mut self.expectations, &mut draw, &mut self.notes);
        // Whether it gathers a packet's pieces is seen where there are some.
        Outcome { gathers: false, ..outcome }
    }

    /// What is expected, oldest first.
    pub fn expected(&self) -> Vec<String> {
        self.expectations.iter().map(|(_, expectation)| expectation.to_string()).collect()
    }

    pub fn last_note(&self) -> &str {
        self.notes.last().map_or("", |note| &note.text)
    }
}

/// What a payload becomes.
pub(super) fn edited<A: Address>(outcome: &Outcome<A>, payload: impl AsRef<[u8]>) -> String {
    assert_eq!(outcome.verdict, Verdict::Accept);
    assert_edits_are_in_order(outcome, payload.as_ref().len());
    String::from_utf8_lossy(&outcome.apply(payload.as_ref())).into_owned()
}

fn assert_edits_are_in_order<A: Address>(outcome: &Outcome<A>, len: usize) {
    let mut at = 0;
    for edit in &outcome.edits {
        assert!(at <= edit.range.start && edit.range.start <= edit.range.end, "{:?}", outcome.edits);
        at = edit.range.end;
    }
    assert!(at <= len, "{:?} in {len} bytes", outcome.edits);
}

#[test]
fn helpers_are_found_by_name_and_in_old_kernels_by_port() {
    for helper in Helper::ALL {
        assert_eq!(Helper::named(helper.name()), Some(helper));
        let tuple = Flow::direct(helper).tuples[0];
        assert_eq!(Helper::by_port(&tuple), Some(helper));
        assert_eq!(Helper::by_port(&Tuple { dst_id: 1, ..tuple }), None);
        assert_eq!(State::new(helper).helper(), helper);
    }
    assert_eq!(Helper::named("netbios-ns"), None);
}

/// Texts that helpers know, of all kinds.
const TEXTS: [&[u8]; 13] = [
    b"INVITE sip:you@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2:5000;rport=1;maddr=10.0.0.2\r\nCSeq: 1 INVITE\r\n\
      Contact: <sip:me@10.0.0.2:5000>,<sip:10.0.0.2>\r\nl: 70\r\n\r\nv=0\r\no=me 1 1 IN IP4 10.0.0.2\r\n\
      c=IN IP4 10.0.0.2\r\nm=audio 40000 RTP/AVP 0\r\n",
    b"REGISTER sip:192.0.2.1 SIP/2.0\r\nCSeq: 7 REGISTER\r\nm: <sip:me@10.0.0.2:5000>;expires=60\r\n\r\n",
    b"SIP/2.0 200 OK\r\nCSeq: 7 REGISTER\r\nContact: sip:203.0.113.1:61000;expires=60\r\n\r\n",
    b"PORT 10,0,0,2,156,64\r\n",
    b"227 Entering Passive Mode (192,0,2,1,156,64).\r\n",
    b"EPRT |1|10.0.0.2|40000|\r\n",
    b"EPRT |2|2001:db8::1|40000|\r\n",
    b"229 Entering Extended Passive Mode (|||40000|)\r\n",
    b"\x00\x01name\x00octet\x00",
    b"220 hello\r\n",
    b"PRIVMSG friend :\x01DCC SEND file 167772162 40000 1234\x01\r\n",
    b"\x00\x20\x00\x01\x1a\x2b\x3c\x4d\x00\x08\x00\x00\x00\x07\x00\x08\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\n",
];

#[test]
fn no_text_makes_a_helper_panic() {
    let mut rng = Rng::from_seed(0x0a16);
    for helper in Helper::ALL {
        for round in 0..3_000 {
            let mut v4 = if round % 2 == 0 { Flow::direct(helper) } else { Flow::masqueraded(helper) };
            let mut v6 = Flow::between(helper, Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
            v6.status = v4.status;
            for _ in 0..6 {
                let direction = if rng.chance(0.5) { Direction::Original } else { Direction::Reply };
                let text = mutated(&mut rng);
                for outcome in [v4.send(direction, &text).edits, v6.send(direction, &text).edits] {
                    let outcome = Outcome::<Ipv4Addr> { edits: outcome, ..Outcome::ACCEPT };
                    assert_edits_are_in_order(&outcome, text.len());
                }
                v4.inspect(direction, &text);
                v6.inspect(direction, &text);
            }
        }
    }
}

/// A text that a helper knows with some bytes changed, cut or doubled; or none at all.
fn mutated(rng: &mut Rng) -> Vec<u8> {
    let mut text = TEXTS[rng.below(TEXTS.len() as u64) as usize].to_vec();
    for _ in 0..rng.below(4) {
        let at = rng.below(text.len() as u64) as usize;
        match rng.below(5) {
            0 => text[at] = rng.next_u64() as u8,
            1 => text[at] = b"0123456789|,.:; \r\n\x01@="[rng.below(21) as usize],
            2 => text.truncate(at + 1),
            3 => text.extend_from_within(at..),
            _ => {
                text.remove(at);
                text.push(b'9');
            }
        }
    }
    text
}
