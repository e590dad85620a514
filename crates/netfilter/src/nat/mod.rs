//! Address translation as Linux does it (`net/netfilter/nf_nat_core.c`): a decision per flow, taken once and kept.

mod range;

pub use range::{Manip, Range, Which};
