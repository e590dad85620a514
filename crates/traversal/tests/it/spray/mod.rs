//! The spray in virtual time, between NATs of `netfilter` and over links of the laboratory. Shares are of many seeds: what a
//! test asks for is what the project promises, and the measured figures are in docs/benchmarks.md.

mod birthday;
pub mod world;
