//! The codec held to what others check: the vectors of the RFCs, and another implementation.

mod oracle;
mod vectors;
