//! What conntrack says of each packet: rules of our own right behind it, one for each answer, that log nothing but a word
//! (`net/netfilter/nfnetlink_log.c`, include/uapi/linux/netfilter/nfnetlink_log.h).
//!
//! The kernel hands a log message over while the packet is under way, so it is there before the packet is anywhere else.

use pinhole_host::netlink::{Message, Protocol, Socket, find};
use pinhole_netfilter::CtInfo;
use pinhole_netfilter::script::Info;

use super::{OracleError, Word};

/// `NFNL_SUBSYS_ULOG << 8`, and its two messages.
const PACKET: u16 = 4 << 8;
const CONFIG: u16 = PACKET | 1;
/// Bytes of `struct nfgenmsg`.
const FIXED: usize = 4;
/// The log group of ours, in a namespace that nobody else uses.
const GROUP: u16 = 77;

const CONFIG_COMMAND: u16 = 1;
const CONFIG_MODE: u16 = 2;
const CONFIG_THRESHOLD: u16 = 5;
const BIND: u8 = 1;
/// `NFULNL_COPY_META`: nothing of the packet.
const COPY_META: [u8; 6] = [0, 0, 0, 0, 1, 0];
const PREFIX: u16 = 10;

/// For each answer: the prefix, and the matches of nft that find it.
const WORDS: [Word; 7] = [
    ("i", "ct state invalid", Info::Invalid),
    ("u", "ct state untracked", Info::Tracked(CtInfo::Untracked)),
    ("n", "ct state new", Info::Tracked(CtInfo::New)),
    ("e", "ct state established ct direction original", Info::Tracked(CtInfo::Established)),
    ("E", "ct state established ct direction reply", Info::Tracked(CtInfo::EstablishedReply)),
    ("r", "ct state related ct direction original", Info::Tracked(CtInfo::Related)),
    ("R", "ct state related ct direction reply", Info::Tracked(CtInfo::RelatedReply)),
];
/// The prefix of what has passed LOCAL_IN.
const DELIVERED: &str = "d";

/// What happened to a packet on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Conntrack has said this of it; no rule of anybody's has seen it yet but raw's and mangle's.
    Before(Info),
    /// It has passed LOCAL_IN.
    Delivered,
}

/// The mark of what the router keeps for itself, which its answers bear too (`fwmark_reflect`).
const KEPT: u32 = 0x7069_6e68;

/// The table that logs: behind conntrack (-200) and mangle (-150), before destination NAT (-100); and at the end of
/// LOCAL_IN, before the confirmation (INT_MAX).
/// Nobody is at home in this router: what its own host would answer to a packet for it goes before conntrack sees it. What
/// REJECT says is not marked so, as it is said before. Other answers lose the mark that they reflect, so that they have none, as
/// by default.
pub(super) fn ruleset() -> String {
    let rules = WORDS.map(|(prefix, matches, _)| format!("{matches} log prefix \"{prefix}\" group {GROUP} accept"));
    format!(
        "table inet pinhole_oracle {{\n\
         chain before {{\ntype filter hook prerouting priority -149;\n{}\n}}\n\
         chain delivered {{\ntype filter hook input priority 1000;\nlog prefix \"{DELIVERED}\" group {GROUP}\nmeta mark set {KEPT}\n}}\n\
         chain answers {{\ntype filter hook output priority -500;\nmeta mark {KEPT} drop\nmeta mark set 0\n}}\n}}\n",
        rules.join("\n")
    )
}

/// Reads what the rules log.
#[derive(Debug)]
pub(super) struct Log(Socket);

impl Log {
    /// Opens the log of the calling thread's namespace.
    pub(super) fn open() -> Result<Self, OracleError> {
        let failed = |error| OracleError::new("listening to the log of the kernel", error);
        let mut socket = Socket::open(Protocol::Netfilter).map_err(failed)?;
        let [high, low] = GROUP.to_be_bytes();
        let message = Message::new(CONFIG, 0)
            .fixed(&[libc::AF_UNSPEC as u8, 0, high, low])
            .attr_u8(CONFIG_COMMAND, BIND)
            .attr(CONFIG_MODE, &COPY_META)
            .attr_be32(CONFIG_THRESHOLD, 1);
        socket.request(message).map_err(failed)?;
        Ok(Self(socket))
    }

    /// All that has been logged since the last time.
    pub(super) fn read(&mut self) -> Result<Vec<Seen>, OracleError> {
        let mut all = Vec::new();
        let failed = |error| OracleError::new("reading the log of the kernel", error);
        while let Some(replies) = self.0.try_receive().map_err(failed)? {
            let packets = replies.iter().filter(|reply| reply.kind == PACKET);
            all.extend(packets.filter_map(|reply| seen(find(reply.payload.get(FIXED..)?, PREFIX)?)));
        }
        Ok(all)
    }
}

fn seen(prefix: &[u8]) -> Option<Seen> {
    let prefix = prefix.strip_suffix(&[0]).unwrap_or(prefix);
    let word = WORDS.into_iter().find(|(known, ..)| known.as_bytes() == prefix);
    word.map(|(.., info)| Seen::Before(info)).or((prefix == DELIVERED.as_bytes()).then_some(Seen::Delivered))
}
