//! Address translation as Linux does it (`net/netfilter/nf_nat_core.c`): a decision per flow, taken once and kept.
//!
//! [`Range`] is what a rule allows; `unique` finds in it what no other flow uses, and `rewrite` and `icmp` make packets look
//! like it. Which flow, which rule and which hook is for the path of the packet to know.

mod dice;
mod icmp;
mod range;
mod rewrite;
mod spread;
mod unique;

pub use dice::{Dice, Told};
pub use icmp::ErrorRefused;
pub(crate) use icmp::{is_translated, translate_error};
pub use range::{Manip, Range, Which};
pub(crate) use rewrite::rewrite;
pub(crate) use unique::{Search, allows_clash, unique};
