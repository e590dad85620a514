//! One file per command: its arguments, and the call that does the work.

pub mod agent;
pub mod completions;
pub mod conntrack;
pub mod demo;
pub mod man;
pub mod registry;
pub mod up;
pub mod wg;
