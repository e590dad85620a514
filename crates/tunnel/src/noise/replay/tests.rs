use std::collections::BTreeSet;

use pinhole_sansio::Rng;

use super::*;

#[test]
fn each_counter_is_accepted_once_in_any_order_within_the_window() {
    let mut rng = Rng::from_seed(6479);
    let (mut window, mut seen, mut greatest) = (Window::default(), BTreeSet::new(), 0u64);
    for _ in 0..200_000 {
        let step = if rng.chance(0.001) { 20_000 } else { 3 };
        let counter = (greatest + rng.below(step)).saturating_sub(rng.below(2 * WINDOW).min(rng.below(64)));
        let expected = !seen.contains(&counter) && counter + WINDOW > greatest;
        assert_eq!(window.accepts(counter), expected, "{counter} after {greatest}");
        if expected {
            window.mark(counter);
            seen.insert(counter);
            greatest = greatest.max(counter);
        }
    }
}

#[test]
fn a_counter_behind_the_window_is_refused_and_the_last_one_in_it_is_not() {
    let mut window = Window::default();
    window.mark(2 * WINDOW);
    assert!(window.accepts(WINDOW + 1));
    assert!(!window.accepts(WINDOW));
    assert!(!window.accepts(0));
    assert!(!window.accepts(2 * WINDOW));
}
