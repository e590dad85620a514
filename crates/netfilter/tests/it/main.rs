//! The engine held to the programs and the kernel that it is like.

mod iptables;
mod scripts;
