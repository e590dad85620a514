//! Parsers and machines under arbitrary bytes. A failure prints the command that replays it.

mod captures;
mod corpora;
mod random;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use pinhole_sansio::Rng;
use pinhole_torture::Target;

thread_local! {
    /// Whether a panic of this thread is expected.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// So many bytes of a seed.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut rng = Rng::from_seed(seed);
    (0..length).map(|_| rng.next_u64() as u8).collect()
}

/// Runs a target; says what went wrong, if something did.
fn attempt(target: Target, bytes: &[u8]) -> Result<(), String> {
    quietly(|| (target.run)(bytes))
}

/// Says with what words something panics, if it does, instead of printing them.
fn quietly(f: impl FnOnce()) -> Result<(), String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    QUIET.set(false);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

/// The shortest beginning of `bytes` that still fails.
fn shortest(target: Target, bytes: &[u8]) -> Vec<u8> {
    let mut shortest = bytes.to_vec();
    let (mut works, mut fails) = (0, bytes.len());
    while works + 1 < fails {
        let middle = works.midpoint(fails);
        if attempt(target, &bytes[..middle]).is_err() {
            fails = middle;
            shortest.truncate(middle);
        } else {
            works = middle;
        }
    }
    shortest
}
