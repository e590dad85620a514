//! Connection tracking and NAT: packets go through netfilter's hooks as they do in Linux, and may be translated as NATs of
//! other kinds translate them.
//!
//! The model, bottom to top:
//!
//! | module | what it is |
//! |---|---|
//! | [`tuple`], [`status`] | what names a flow, and what is known of it |
//! | [`track`], [`seqadj`] | what each protocol's packets do to a flow: state, validity, timeout; pure |
//! | [`nat`] | what a flow may be translated to, and to what it is |
//! | [`script`] | packets and their outcomes as text, for the engine and for the kernel |
//!
//! No clock, no device, no thread: time and packets come in as arguments, randomness from a seed. Same seed, same bytes.

pub mod nat;
pub mod script;
pub mod seqadj;
pub mod settings;
pub mod status;
pub mod track;
pub mod tuple;
pub mod watch;

pub use status::{CtInfo, Direction, Status};
pub use tuple::{Address, Tuple};
pub use watch::{Note, Topic, Watch};
