//! Whole nodes in the simulated Internet.

mod matrix;
mod punching;
mod scenarios;
