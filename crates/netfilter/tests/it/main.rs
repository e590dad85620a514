//! The engine held to the programs and the kernel that it is like.

mod conformance;
mod documents;
mod iptables;
mod scripts;
