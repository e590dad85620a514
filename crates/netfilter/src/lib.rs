//! Connection tracking and NAT: packets go through netfilter's hooks as they do in Linux, and may be translated as NATs of
//! other kinds translate them.
//!
//! The model, bottom to top:
//!
//! | module | what it is |
//! |---|---|
//! | [`tuple`](mod@tuple), [`status`] | what names a flow, and what is known of it |
//! | [`track`], [`seqadj`] | what each protocol's packets do to a flow: state, validity, timeout; pure |
//! | [`fragment`] | packets put together before they are tracked, and cut again |
//! | [`expect`], [`helper`] | which flows come next, and whose text says so |
//! | [`nat`] | what a flow may be translated to, and to what it is |
//! | [`rules`] | tables, chains and rules as iptables-save writes them, asked about a packet at a hook |
//! | [`table`], [`conntrack`] | the flows, and what happens to a packet that meets them |
//! | [`router`] | a packet's way through the five hooks |
//! | [`watch`], [`explain`] | who is told what happens to a packet, and the account of its way |
//! | [`script`] | packets and what became of them as text, which kernel and engine are both held to |
//! | [`ports`] | which ports of an external address are free, and which one is given out next |
//! | [`behaviour`] | NATs of other kinds than Linux: a behaviour as plain data, and the machine that has it |
//!
//! No clock, no device, no thread: time and packets come in as arguments, randomness from a seed. Same seed, same bytes.

pub mod behaviour;
pub mod conntrack;
pub mod expect;
pub mod explain;
pub mod fragment;
mod headers;
pub mod helper;
mod interface;
pub mod nat;
mod plain;
pub mod ports;
pub mod router;
pub mod rules;
pub mod script;
pub mod seqadj;
pub mod settings;
pub mod status;
pub mod table;
mod text;
pub mod track;
pub mod tuple;
pub mod watch;

pub use headers::{Family, Fragment, Headers};
pub use interface::{Interface, InterfaceId};
pub use router::{Packet, Reason, Router, Verdict};
pub use status::{CtInfo, Direction, Status};
pub use tuple::{Address, Tuple};
pub use watch::{Note, Topic, Watch};
