//! Helpers read the text of control connections, to know which flows come next (`net/netfilter/nf_conntrack_helper.c` and
//! one file per helper).
//!
//! The model: a flow that has a [`Helper`] has a [`State`] of it. [`inspect`] runs at confirm, before sequence adjustment, on
//! every packet of the flow that is not an error in reply direction, and sees the packet as translated, with its text as
//! sent. It adds to the table of [expectations](crate::expect) and answers with an [`Outcome`]: whether the packet may pass,
//! what of its text is to be replaced because the addresses in it mean nothing on the other side, and what it does to other
//! flows. The engine carries that out.
//!
//! Pure functions over bytes: no text makes a helper panic, and none makes it work longer than in proportion to its length; SIP's
//! that is translated, to its length times the addresses in it that change.
//! Not here: Amanda, H.323, NetBIOS, SANE and SNMP.

mod ftp;
mod irc;
mod pptp;
mod sip;
mod text;
mod tftp;

use core::fmt;
use core::ops::Range;
use core::time::Duration;

use pinhole_sansio::Instant;
use pinhole_wire::{tcp, udp};

pub use ftp::Numbers;
pub use text::Text;

use crate::expect::{ExpectId, Expectation, Expectations, MasterId, Policy, Refused};
use crate::settings::Personality;
use crate::status::{CtInfo, Direction, Status};
use crate::tuple::{Address, Tuple};
use crate::watch::{Topic, Watch};

/// The helpers, by the kernel's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Helper {
    /// The file transfer protocol (RFC 959, RFC 2428).
    Ftp,
    /// The trivial file transfer protocol (RFC 1350).
    Tftp,
    /// Internet Relay Chat's direct client connections.
    Irc,
    /// The point-to-point tunneling protocol (RFC 2637).
    Pptp,
    /// The session initiation protocol (RFC 3261).
    Sip,
}

impl Helper {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Ftp, Self::Tftp, Self::Irc, Self::Pptp, Self::Sip];

    /// The helper that a rule calls `name`, as in `CT --helper ftp`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|helper| helper.name() == name)
    }

    /// What rules call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ftp => "ftp",
            Self::Tftp => "tftp",
            Self::Irc => "irc",
            Self::Pptp => "pptp",
            Self::Sip => "sip",
        }
    }

    /// The protocols of the flows that can have it.
    pub const fn protocols(self) -> &'static [u8] {
        match self {
            Self::Ftp | Self::Irc | Self::Pptp => &[TCP],
            Self::Tftp => &[UDP],
            Self::Sip => &[UDP, TCP],
        }
    }

    /// The port at which kernels look that attach helpers by port.
    pub const fn port(self) -> u16 {
        match self {
            Self::Ftp => 21,
            Self::Tftp => 69,
            Self::Irc => 6_667,
            Self::Pptp => 1_723,
            Self::Sip => 5_060,
        }
    }

    /// The helper that a flow gets from a kernel that attaches by port: the one whose port it goes to.
    pub fn by_port<A: Address>(original: &Tuple<A>) -> Option<Self> {
        let fits = |helper: &Self| helper.port() == original.dst_id && helper.protocols().contains(&original.protocol);
        Self::ALL.into_iter().find(fits)
    }
}

impl fmt::Display for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;

/// What a helper remembers of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Where lines begin.
    Ftp(ftp::Lines),
    /// Nothing.
    Tftp,
    /// Nothing.
    Irc,
    /// The calls.
    Pptp(pptp::Control),
    /// What waits for its answer.
    Sip(sip::Signalling),
}

impl State {
    /// Of a flow that has just got its helper.
    pub fn new(helper: Helper) -> Self {
        match helper {
            Helper::Ftp => Self::Ftp(ftp::Lines::default()),
            Helper::Tftp => Self::Tftp,
            Helper::Irc => Self::Irc,
            Helper::Pptp => Self::Pptp(pptp::Control::default()),
            Helper::Sip => Self::Sip(sip::Signalling::default()),
        }
    }

    /// Of a flow that user space has restored: a text may begin anywhere, once (`NF_CT_FTP_SEQ_PICKUP`).
    pub fn restored(helper: Helper) -> Self {
        match helper {
            Helper::Ftp => Self::Ftp(ftp::Lines::restored()),
            Helper::Tftp | Helper::Irc | Helper::Pptp | Helper::Sip => Self::new(helper),
        }
    }

    /// Whose it is.
    pub const fn helper(&self) -> Helper {
        match self {
            Self::Ftp(_) => Helper::Ftp,
            Self::Tftp => Helper::Tftp,
            Self::Irc => Helper::Irc,
            Self::Pptp(_) => Helper::Pptp,
            Self::Sip(_) => Helper::Sip,
        }
    }
}

/// The parameters of the kernel's modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `nf_conntrack_ftp loose`: an address that is not the sender's is believed.
    pub ftp_loose: bool,
    /// How FTP's numbers are read: [`Numbers::Wrap`] by 6.18.44 (measured), [`Numbers::Checked`] by 6.12.107 and 7.3.4.
    pub ftp_numbers: Numbers,
    /// `nf_conntrack_irc max_dcc_channels`: how many connections one client may offer at a time.
    pub irc_max_channels: usize,
    /// `nf_conntrack_irc dcc_timeout`: how long an offer is good.
    pub irc_timeout: Duration,
    /// `nf_conntrack_sip sip_timeout`: how long a signalling flow lives after each of its packets.
    pub sip_timeout: Duration,
    /// `nf_conntrack_sip sip_direct_signalling`: calls are expected from the registrar only.
    pub sip_direct_signalling: bool,
    /// `nf_conntrack_sip sip_direct_media`: streams are expected between the ends of the signalling only.
    pub sip_direct_media: bool,
}

impl Settings {
    /// The defaults of one kernel version.
    pub fn of(personality: &Personality) -> Self {
        let ftp_numbers = if personality.ftp_checks_numbers { Numbers::Checked } else { Numbers::Wrap };
        Self { ftp_numbers, ..Self::default() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ftp_loose: false,
            ftp_numbers: Numbers::Wrap,
            irc_max_channels: 8,
            irc_timeout: Duration::from_secs(300),
            sip_timeout: Duration::from_secs(3_600),
            sip_direct_signalling: true,
            sip_direct_media: true,
        }
    }
}

/// A packet, and what is known of its flow.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a, A: Address> {
    /// When the packet is here.
    pub now: Instant,
    /// The packet's transport header and what it carries, as far as IP says it goes.
    pub transport: &'a [u8],
    /// The flow's tuples, original and reply.
    pub tuples: &'a [Tuple<A>; 2],
    /// What conntrack says of the packet.
    pub info: CtInfo,
    /// The flow's status.
    pub status: Status,
    /// The flow, as a master.
    pub master: MasterId,
    /// Its zone.
    pub zone: u16,
    /// The parameters of the helpers.
    pub settings: &'a Settings,
}

impl<A: Address> Call<'_, A> {
    /// The direction of the packet.
    fn direction(&self) -> Direction {
        self.info.direction()
    }

    /// The tuple of the packet's direction: who really sends it, and to whom as the sender sees it.
    fn own(&self) -> &Tuple<A> {
        &self.tuples[self.direction().index()]
    }

    /// The tuple of the other direction.
    fn other(&self) -> &Tuple<A> {
        &self.tuples[(!self.direction()).index()]
    }

    /// Whether the flow is translated, so that texts are too.
    fn is_translated(&self) -> bool {
        self.status.intersects(Status::NAT)
    }

    /// Whether there has been traffic both ways before this packet.
    fn is_established(&self) -> bool {
        matches!(self.info, CtInfo::Established | CtInfo::EstablishedReply)
    }

    /// The segment, if it has anything to say.
    fn segment(&self) -> Option<tcp::Packet<&[u8]>> {
        let segment = tcp::Packet::new_checked(self.transport).ok()?;
        (!segment.payload().is_empty()).then_some(segment)
    }

    /// What the datagram carries.
    fn datagram(&self) -> Option<&[u8]> {
        self.transport.get(udp::HEADER_LEN..)
    }

    /// An expectation of this flow.
    fn expectation(
        &self,
        helper: Helper,
        protocol: u8,
        from: (Option<A>, Option<u16>),
        to: (A, u16),
    ) -> Expectation<A> {
        let expectation = Expectation::new(helper, self.master, self.zone, protocol, from, to);
        Expectation { master_protocol: self.own().protocol, ..expectation }
    }
}

/// What is to be done with a packet, and with flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<A: Address> {
    /// Whether the packet may pass.
    pub verdict: Verdict,
    /// What of its payload is to be replaced: in order, without overlap, counted in the payload as it came. The engine sets
    /// the lengths and checksums and tells TCP's [`Seqadj`](crate::seqadj::Seqadj) once, by how much it all has grown; a
    /// packet that would grow beyond 65,535 bytes is dropped.
    pub edits: Vec<Edit>,
    /// Whether the packet is gathered into one piece, if it came in several.
    pub gathers: bool,
    /// What the flow's timeout becomes, counted from now, whatever the verdict.
    pub timeout: Option<Duration>,
    /// The destination port that the packet gets in its header.
    pub dst_port: Option<u16>,
    /// Flows that end now, named by the tuple of one of their directions in the master's zone. Where there is no such flow, what
    /// is expected with that tuple ends.
    pub ends: [Option<Tuple<A>>; 2],
}

/// Whether a packet may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Accept,
    /// It may not.
    Drop,
}

/// A replacement in a packet's payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What goes, in bytes of the payload.
    pub range: Range<usize>,
    /// What comes in its place.
    pub text: Vec<u8>,
}

impl<A: Address> Outcome<A> {
    /// The packet passes as it is.
    const ACCEPT: Self = Self {
        verdict: Verdict::Accept,
        edits: Vec::new(),
        gathers: false,
        timeout: None,
        dst_port: None,
        ends: [None, None],
    };
    /// The packet is dropped.
    const DROP: Self = Self {
        verdict: Verdict::Drop,
        edits: Vec::new(),
        gathers: false,
        timeout: None,
        dst_port: None,
        ends: [None, None],
    };

    /// The packet passes with one replacement.
    fn edit(range: Range<usize>, text: Text) -> Self {
        Self { edits: vec![Edit { range, text: text.as_bytes().to_vec() }], ..Self::ACCEPT }
    }

    /// By how many bytes the edits make the payload longer.
    pub fn growth(&self) -> isize {
        self.edits.iter().map(|edit| edit.text.len() as isize - edit.range.len() as isize).sum()
    }

    /// The payload with the edits made.
    pub fn apply(&self, payload: &[u8]) -> Vec<u8> {
        let mut edited = Vec::with_capacity(payload.len() + 64);
        let mut at = 0;
        for edit in &self.edits {
            edited.extend_from_slice(payload.get(at..edit.range.start).unwrap_or_default());
            edited.extend_from_slice(&edit.text);
            at = edit.range.end;
        }
        edited.extend_from_slice(payload.get(at..).unwrap_or_default());
        edited
    }
}

/// Draws a number of the range, which is not empty. An engine draws at random; one that is held to a kernel answers with
/// what the kernel drew.
pub type Draw<'a> = &'a mut dyn FnMut(Range<u16>) -> u16;

/// Shows a packet to the helper of its flow.
///
/// Not for errors in reply direction (RELATED_REPLY); the engine leaves those out, as the kernel does.
pub fn inspect<A: Address, W: Watch>(
    call: &Call<'_, A>,
    state: &mut State,
    expectations: &mut Expectations<A>,
    draw: Draw<'_>,
    watch: &mut W,
) -> Outcome<A> {
    let mut desk = Desk { now: call.now, expectations, draw, watch };
    match state {
        State::Ftp(lines) => ftp::inspect(call, lines, &mut desk),
        State::Tftp => tftp::inspect(call, &mut desk),
        State::Irc => irc::inspect(call, &mut desk),
        State::Pptp(control) => pptp::inspect(call, control, &mut desk),
        State::Sip(signalling) => sip::inspect(call, signalling, &mut desk),
    }
}

/// What a helper works with.
struct Desk<'a, A: Address, W> {
    now: Instant,
    expectations: &'a mut Expectations<A>,
    draw: Draw<'a>,
    watch: &'a mut W,
}

impl<A: Address, W: Watch> Desk<'_, A, W> {
    /// Tells the watch.
    fn note(&mut self, note: impl FnOnce() -> String) {
        self.watch.note(Topic::Helper, note);
    }

    /// Adds an expectation, or says why the packet is dropped.
    fn expect(&mut self, expectation: Expectation<A>, policy: Policy) -> Option<ExpectId> {
        match self.expectations.add(self.now, expectation, policy) {
            Ok(id) => {
                self.note(|| format!("expected for {} s: {expectation}", policy.timeout.as_secs()));
                Some(id)
            }
            Err(refused) => {
                self.note(|| format!("{expectation} cannot be expected, {refused}: dropped"));
                None
            }
        }
    }

    /// Adds an expectation at its destination port if that is free, else at a random one above it; says which
    /// (`nf_nat_exp_find_port`).
    fn expect_at_free_port(&mut self, mut expectation: Expectation<A>, policy: Policy) -> Option<u16> {
        const MAX_TRIES: u16 = 128;
        let lowest = expectation.tuple.dst_id;
        let more_tries = (u16::MAX - lowest).min(MAX_TRIES);
        for n in 0..=more_tries {
            match self.expectations.add(self.now, expectation, policy) {
                Ok(_) => {
                    self.note(|| format!("expected for {} s: {expectation}", policy.timeout.as_secs()));
                    // Port 0 is expected as any other, and then taken for "none".
                    return Some(expectation.tuple.dst_id).filter(|port| *port != 0);
                }
                Err(Refused::Busy) if n < more_tries => expectation.tuple.dst_id = (self.draw)(lowest..u16::MAX),
                Err(Refused::Busy) => self.note(|| format!("no port from {lowest} on was free: dropped")),
                Err(refused @ (Refused::Already | Refused::Full)) => {
                    self.note(|| format!("{expectation} cannot be expected, {refused}: dropped"));
                    return None;
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
