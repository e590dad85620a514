//! The seam that every control-plane core shares.

use crate::{Deadline, Instant};

/// A state machine that does no I/O: bytes, time and events go in, effects come out.
///
/// The driver makes one mutation ([`handle_input`](Machine::handle_input)), then drains
/// [`poll_output`](Machine::poll_output) to `None`, then sleeps until [`poll_timeout`](Machine::poll_timeout) or the next
/// input. Waking it too early does nothing; the same inputs give the same outputs.
pub trait Machine {
    /// What happens to it. One variant is the passing of time.
    type Input;
    /// What it wants done or known.
    type Output;
    /// The names of its timers.
    type Why;

    /// The input that says "time has passed".
    fn timeout() -> Self::Input;
    /// Takes one input. `now` never goes backwards.
    fn handle_input(&mut self, now: Instant, input: Self::Input);
    /// The next effect, or `None` when all have been taken.
    fn poll_output(&mut self) -> Option<Self::Output>;
    /// The earliest deadline. Pure.
    fn poll_timeout(&self) -> Option<Deadline<Self::Why>>;
}

/// What a machine's own tests call to hold it to the contract.
pub mod conformance {
    use super::Machine;
    use crate::{Duration, Instant};

    /// Takes every output that is waiting.
    ///
    /// # Panics
    /// After 100,000 outputs: the machine does not come to rest.
    pub fn drain<M: Machine>(machine: &mut M) -> Vec<M::Output> {
        const BOUND: usize = 100_000;
        let outputs: Vec<_> = std::iter::from_fn(|| machine.poll_output()).take(BOUND).collect();
        assert!(outputs.len() < BOUND, "a machine must come to rest after one input");
        outputs
    }

    /// Holds a drained machine to "a spurious timeout does nothing": woken before its deadline it has no output and keeps
    /// its deadline.
    ///
    /// # Panics
    /// If it does anything.
    pub fn spurious_timeout_does_nothing<M: Machine>(machine: &mut M, now: Instant) {
        let before = machine.poll_timeout().map(|d| d.at);
        if before.is_some_and(|at| at <= now) {
            return;
        }
        machine.handle_input(now, M::timeout());
        assert!(machine.poll_output().is_none(), "a spurious timeout at {now:?} made output");
        assert_eq!(before, machine.poll_timeout().map(|d| d.at), "a spurious timeout at {now:?} moved the deadline");
    }

    /// Lets time pass to each deadline up to `until`, hands every output to `take`, and fails if a deadline stays in the
    /// past after it has been served.
    ///
    /// # Panics
    /// If the machine asks again and again for a moment that has passed.
    pub fn run_until<M: Machine>(machine: &mut M, until: Instant, mut take: impl FnMut(Instant, M::Output)) {
        let mut last = Instant::EPOCH;
        let mut stuck = 0;
        while let Some(deadline) = machine.poll_timeout().filter(|d| d.at <= until) {
            let now = deadline.at.max(last);
            stuck = if now == last { stuck + 1 } else { 0 };
            assert!(stuck < 1_000, "the deadline {now:?} does not go away");
            last = now;
            machine.handle_input(now, M::timeout());
            while let Some(output) = machine.poll_output() {
                take(now, output);
            }
            spurious_timeout_does_nothing(machine, now + Duration::ZERO);
        }
    }
}
