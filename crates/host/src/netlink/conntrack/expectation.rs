//! An expectation: a flow that a helper waits for (`enum ctattr_expect`).

use super::{FIXED, Tuple, be16, be32, text};
use crate::netlink::Reply;

const MASTER: u16 = 1;
const TUPLE: u16 = 2;
const MASK: u16 = 3;
const TIMEOUT: u16 = 4;
const ID: u16 = 5;
const HELPER: u16 = 6;
const ZONE: u16 = 7;
const FLAGS: u16 = 8;
const CLASS: u16 = 9;

/// A flow that is expected, and will be RELATED to its master when it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// What is expected; an address or a port that the mask leaves out is zero.
    pub tuple: Tuple,
    /// Which bits of the tuple count.
    pub mask: Tuple,
    /// The original direction of the flow that announced it.
    pub master: Tuple,
    /// Seconds until it is given up; `None` where nothing but its master's end ends it.
    pub timeout_s: Option<u32>,
    /// The kernel's number of it.
    pub id: u32,
    /// The helper that made it.
    pub helper: Option<Box<str>>,
    /// The zone, if not the default 0.
    pub zone: Option<u16>,
    /// `NF_CT_EXPECT_*`: 1 permanent, 2 inactive, 4 made by a program.
    pub flags: u32,
    /// The helper's own class of expectations.
    pub class: u32,
}

impl Expectation {
    pub(super) fn parse(reply: &Reply) -> Option<Self> {
        let (mut tuple, mut mask, mut master) = (None, None, None);
        let (mut timeout_s, mut helper, mut zone) = (None, None, None);
        let (mut id, mut flags, mut class) = (0, 0, 0);
        for (kind, value) in reply.attributes(FIXED) {
            match kind {
                MASTER => master = Tuple::parse(value),
                TUPLE => tuple = Tuple::parse(value),
                MASK => mask = Tuple::parse(value),
                TIMEOUT => timeout_s = be32(value),
                ID => id = be32(value)?,
                HELPER => helper = Some(text(value)),
                ZONE => zone = be16(value),
                FLAGS => flags = be32(value)?,
                CLASS => class = be32(value)?,
                _ => {}
            }
        }
        let (tuple, mask, master) = (tuple?, mask?, master?);
        Some(Self { tuple, mask, master, timeout_s, id, helper, zone, flags, class })
    }
}
