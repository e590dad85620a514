//! How often a source may be answered, in the program: as [`pinhole_stun::server::limit`], in a few instructions.
//!
//! A bucket is kept as the moment at which it will be full again ("virtual scheduling", ITU-T I.371 annex A): an answer puts that
//! moment off by what a token takes to come, and there is none while it is further away than a whole bucket takes. Where more sources ask
//! than the table holds, the fullest bucket of a set is forgotten, as there.
//!
//! All processors share the table without locks: two that meet at one bucket may give a token away for nothing.

use pinhole_stun::server::limit::RateLimit;

use super::program::{Frame, KEY, Plan, V4};
use crate::bpf::{Assembler, Helper, If, Label, Reg, Size};

/// Buckets of a set, which is a cache line.
const WAYS: i16 = 4;
/// Bytes of a bucket: whose it is, and when it is full.
const BUCKET: i16 = 16;
const FULL_AT: i16 = 8;
/// Sets of the table, for 32,768 sources as in the server.
const SETS: u32 = 8_192;
/// Bytes of the table.
pub(super) const TABLE: u32 = SETS * WAYS as u32 * BUCKET as u32;

const MINUTE_NS: u64 = 60_000_000_000;

/// Takes a token of who sent `packet`, or goes on at `limited`. Only for a limit that is one.
pub(super) fn take(code: &mut Assembler, plan: &Plan<'_>, frame: &Frame, packet: Reg, limited: Label) {
    let (now, set, best, full) = (Reg::R0, Reg::R2, Reg::R4, Reg::R5);
    load_key(code, frame, packet);
    code.call(Helper::CoarseNanos);
    code.load64(Reg::R1, plan.seed).xor(Reg::R1, KEY);
    code.load64(Reg::R2, 0x9e37_79b9_7f4a_7c15).mul(Reg::R1, Reg::R2);
    code.shr(Reg::R1, 32).and(Reg::R1, SETS as i32 - 1).shl(Reg::R1, 6);
    code.load_map_value(set, &plan.memory.limits, 0).add(set, Reg::R1);

    // Its own bucket, or else the fullest, which is one that nobody uses if there is one.
    let found = code.label();
    code.mov(best, set).load(Size::Double, full, set, FULL_AT);
    code.load(Size::Double, Reg::R3, set, 0).jump_if(Reg::R3, If::Equal, KEY, found);
    for _ in 1..WAYS {
        let (other, next) = (code.label(), code.label());
        code.add(set, i32::from(BUCKET)).load(Size::Double, Reg::R3, set, 0);
        code.jump_if(Reg::R3, If::NotEqual, KEY, other).mov(best, set).jump(found);
        code.bind(other).load(Size::Double, Reg::R3, set, FULL_AT).jump_if(Reg::R3, If::NotBelow, full, next);
        code.mov(best, set).mov(full, Reg::R3).bind(next);
    }
    code.store(Size::Double, best, 0, KEY).store(Size::Double, best, FULL_AT, now).bind(found);

    let token_ns = token_ns(plan.limit);
    let not_full = code.label();
    code.load(Size::Double, full, best, FULL_AT).jump_if(full, If::NotBelow, now, not_full).mov(full, now);
    code.bind(not_full).load64(Reg::R1, token_ns).add(full, Reg::R1);
    code.mov(Reg::R1, full).sub(Reg::R1, now);
    code.load64(Reg::R2, token_ns.saturating_mul(u64::from(plan.limit.burst.max(1))));
    code.jump_if(Reg::R1, If::Above, Reg::R2, limited);
    code.store(Size::Double, best, FULL_AT, full);
}

/// What is limited together, never 0: an IPv4 address, or the upper half of an IPv6 one.
fn load_key(code: &mut Assembler, frame: &Frame, packet: Reg) {
    if frame.source == V4.source {
        code.load(Size::Word, KEY, packet, frame.source).load64(Reg::R1, 1 << 32).or(KEY, Reg::R1);
    } else {
        code.load(Size::Double, KEY, packet, frame.source).from_be64(KEY);
    }
}

/// How long a token takes to come, in nanoseconds.
fn token_ns(limit: RateLimit) -> u64 {
    (MINUTE_NS / u64::from(limit.per_minute.max(1))).max(1)
}
