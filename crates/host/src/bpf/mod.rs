//! eBPF without a compiler: an [`Assembler`], and [maps](Map), [programs](Program) and [links](XdpLink) by bpf(2).
//!
//! A program is written in Rust, instruction by instruction, for the case at hand: what is known when it is made (an address, an
//! answer, a limit) is a constant in it. The kernel's verifier is what checks it, and nothing needs to be installed to build or
//! run it.
//!
//! Descriptors are all there is to own. A link ends with its last descriptor, and so with the process that holds it, in whatever
//! way that ends; nothing is pinned.

mod assembler;
mod link;
mod map;
mod program;
mod syscall;

pub use assembler::{Assembler, Helper, If, Instruction, Label, Reg, Size, Source, half, word};
pub use link::{AttachMode, XdpLink};
pub use map::Map;
pub use program::{Flood, LoadError, Program, Ran, action};

#[cfg(test)]
mod tests;
