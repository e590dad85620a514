//! The spray in virtual time, between NATs of `netfilter` and over links of the laboratory. Shares are of many seeds: what a
//! test asks for is what the project promises, less what chance may do to so few; the measured figures are in
//! docs/benchmarks.md, from the same worlds.

mod birthday;
mod hostile;
// The table of pairs is for examples/spray.rs, which shares the file.
#[allow(dead_code)]
mod plans;
mod predicted;
mod world;
