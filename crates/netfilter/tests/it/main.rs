//! The engine held to the programs and the kernel that it is like.

mod conformance;
mod iptables;
mod scripts;
