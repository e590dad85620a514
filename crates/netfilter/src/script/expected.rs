//! An expectation as anyone may see it, whatever table it came from.

use core::fmt;
use core::net::IpAddr;

use super::TupleView;
use crate::status::Direction;

/// A flow that another one has announced.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExpectationView {
    /// The original tuple of the flow that announced it.
    pub master: TupleView,
    /// The tuple of its first packet; what the mask leaves open is zero.
    pub tuple: TupleView,
    /// Which bits of its source count: of the address, and of the port or key.
    pub mask: (IpAddr, u16),
    /// Seconds until it is over, rounded down.
    pub timeout_s: u32,
    /// Whose it is.
    pub helper: Option<String>,
    /// Which of the helper's limits it falls under.
    pub class: u8,
    /// Its special ways (`NF_CT_EXPECT_*`).
    pub flags: u8,
    /// How the child is translated, if it is: in which direction of its master it goes, and what was announced.
    pub nat: Option<(Direction, IpAddr, u16)>,
}

impl fmt::Display for ExpectationView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { master, tuple, mask: (address, id), timeout_s, helper, class, flags, nat } = self;
        let helper = helper.as_deref().unwrap_or("-");
        write!(f, "({tuple} mask {address} {id:#x} timeout {timeout_s} {helper} class {class} flags {flags:#x}")?;
        if let Some((direction, address, port)) = nat {
            write!(f, " nat {direction} {address} {port}")?;
        }
        write!(f, " of {master})")
    }
}
