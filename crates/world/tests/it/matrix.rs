//! The cells of the matrix, held to the oracle.

use pinhole_traversal::diagnosis::facts::Dependence;
use pinhole_world::oracle::{self, Must};
use pinhole_world::world::contradiction;
use pinhole_world::{Allocation, Cell, Conditions, Nature, cell};

fn cell(text: &str) -> Cell {
    text.parse().expect("a cell")
}

/// Runs a cell with some seeds and says what contradicts the oracle.
fn contradictions(cell: Cell, seeds: std::ops::Range<u64>) -> Vec<String> {
    let mut found = Vec::new();
    for seed in seeds {
        let scenario = cell.scenario(seed);
        let [a, b] = cell::pair(cell.conditions);
        let ruling = oracle::rule(&scenario.network, a, b);
        if let Some(what) = contradiction(&ruling, cell.run(seed)) {
            found.push(format!("{what}: pinhole lab replay --seed {seed} {cell}"));
        }
    }
    found
}

#[test]
fn cells_are_written_as_they_are_read() {
    for text in ["ei/apd/preserving:apd/apd/random", "ad/ei/block:ei/ad/sequential+carrier+poisoning+loss5"] {
        assert_eq!(cell(text).to_string(), text);
    }
    let wrong = |text: &str| text.parse::<Cell>().expect_err(text).to_string();
    assert_eq!(
        wrong("ei/apd/preserving"),
        "`ei/apd/preserving`: expected two NATs, as ei/apd/preserving:apd/apd/random"
    );
    assert_eq!(wrong("ei/ei/random:x/ei/random"), "`x`: expected ei, ad or apd");
    assert_eq!(
        wrong("ei/ei/random:ei/ei/random+rain"),
        "`rain`: expected carrier, poisoning or loss and a percentage, as loss5"
    );
}

/// Every 41st of the 1,296 cells, which meets most kinds of NAT on either side; `pinhole lab matrix` runs them all.
#[test]
fn no_cell_contradicts_the_oracle() {
    let kinds: Vec<Nature> = Nature::all().collect();
    assert_eq!(kinds.len(), 36);
    let pairs = kinds.iter().flat_map(|&alice| kinds.iter().map(move |&bob| (alice, bob)));
    let mut wrong = Vec::new();
    for (seed, (alice, bob)) in (0..).zip(pairs.step_by(41)) {
        wrong.extend(contradictions(Cell { alice, bob, conditions: Conditions::default() }, seed..seed + 1));
    }
    assert!(wrong.is_empty(), "{} cells:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn carriers_poisoning_and_loss_change_nothing_that_the_oracle_does_not_say() {
    let mut wrong = Vec::new();
    for conditions in Conditions::all(5) {
        for filtering in Dependence::ALL {
            let easy = |allocation| Nature { mapping: Dependence::EndpointIndependent, filtering, allocation };
            let cell = Cell { alice: easy(Allocation::Preserving), bob: easy(Allocation::Random), conditions };
            wrong.extend(contradictions(cell, 0..2));
        }
        let hard = cell("apd/apd/random:apd/apd/random");
        wrong.extend(contradictions(Cell { conditions, ..hard }, 0..1));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_same_seed_gives_the_same_bytes_to_every_interface() {
    let captures = |seed| -> Vec<Vec<u8>> {
        let mut world = cell("ei/apd/random:apd/ei/block+carrier+loss5").world(seed).expect("a network");
        let places = world.scenario().network.places.len();
        (0..places).for_each(|place| world.sim().capture(place));
        world.run();
        (0..places).map(|place| world.sim().take_capture(place).expect("memory")).collect()
    };
    let (first, again, other) = (captures(11), captures(11), captures(12));
    assert!(first.iter().all(|capture| capture.len() > 1_000), "every interface has seen something");
    assert!(first == again, "the same seed, other bytes");
    assert!(first != other, "another seed, the same bytes");
}

#[test]
fn the_oracle_knows_an_easy_pair_a_hard_one_and_an_impossible_one() {
    let must = |text: &str| {
        let cell = cell(text);
        let [a, b] = cell::pair(cell.conditions);
        oracle::rule(&cell.scenario(1).network, a, b).must
    };
    assert_eq!(must("ei/apd/preserving:ei/apd/random"), Must::Direct);
    assert_eq!(must("ei/ei/random:apd/apd/random"), Must::Direct);
    assert_eq!(must("ei/apd/preserving:apd/apd/random"), Must::Maybe);
    assert_eq!(must("apd/apd/random:apd/apd/random"), Must::Never);
    assert_eq!(must("ei/ei/random:apd/apd/random+carrier"), Must::Direct, "the carriers let everybody in");
}
