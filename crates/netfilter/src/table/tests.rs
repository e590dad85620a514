use core::net::Ipv4Addr;

use super::*;
use crate::track::State;

fn tuple(source: u16, destination: u16) -> Tuple<Ipv4Addr> {
    let (src, dst) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(192, 0, 2, 1));
    Tuple { src, dst, src_id: source, dst_id: destination, protocol: 17 }
}

fn table() -> Table<Ipv4Addr> {
    Table::new(0, &mut Rng::from_seed(1))
}

fn enter(table: &mut Table<Ipv4Addr>, original: Tuple<Ipv4Addr>, expires: Instant) -> u32 {
    let reply = original.inverse().expect("UDP has answers");
    let at = table.add(Flow::new(expires, &original, &reply, Zone::default(), State::Generic));
    table.insert(at, None);
    table.link_source(at);
    at
}

#[test]
fn a_flow_is_found_by_both_tuples_once_it_is_inserted_until_its_time_is_over() {
    let mut table = table();
    let (now, later) = (Instant::EPOCH, Instant::from_millis(1_000));
    let (original, reply) = (tuple(1, 2), tuple(1, 2).inverse().expect("an answer"));
    let at = table.add(Flow::new(later, &original, &reply, Zone::default(), State::Generic));
    assert_eq!(table.find(now, &original, 0), None, "it belongs to its packet alone");
    table.insert(at, None);
    assert_eq!(table.find(now, &original, 0), Some((at, Direction::Original)));
    assert_eq!(table.find(now, &reply, 0), Some((at, Direction::Reply)));
    assert_eq!(table.find(now, &reply, 1), None, "another zone is another world");
    let id = table.id(at);
    assert_eq!(table.find(later, &reply, 0), None);
    assert!(table.is_empty() && table.place(id).is_none());
    assert_eq!(table.poll_expired().map(|gone| gone.id), Some(id));
}

#[test]
fn a_zone_of_one_direction_leaves_the_other_where_it_is() {
    let mut table = table();
    let (original, reply) = (tuple(1, 2), tuple(1, 2).inverse().expect("an answer"));
    let zone = Zone { id: 7, only: Some(Direction::Original) };
    let at = table.add(Flow::new(Instant::from_millis(1), &original, &reply, zone, State::Generic));
    table.insert(at, None);
    assert!(table.find(Instant::EPOCH, &original, 7).is_some() && table.find(Instant::EPOCH, &original, 0).is_none());
    assert!(table.find(Instant::EPOCH, &reply, 0).is_some() && table.find(Instant::EPOCH, &reply, 7).is_none());
}

#[test]
fn of_two_flows_that_only_a_zone_tells_apart_the_newer_one_is_found() {
    let (mut table, later) = (table(), Instant::from_millis(9));
    let (own, reply) = (tuple(1, 2), tuple(1, 2).inverse().expect("an answer"));
    // A place in front of the older one is free, if both are in one bucket.
    let before = enter(&mut table, own, later);
    let older = enter(&mut table, reply, later);
    table.remove(before);
    let zone = Zone { id: 7, only: Some(Direction::Original) };
    let newer = table.add(Flow::new(later, &own, &reply, zone, State::Generic));
    assert_eq!(table.insert_if_free(Instant::EPOCH, newer), Ok(()), "it is in a zone of its own in one direction");
    assert_eq!(table.find(Instant::EPOCH, &reply, 0), Some((newer, Direction::Reply)));
    table.remove(newer);
    assert_eq!(
        table.find(Instant::EPOCH, &reply, 0),
        Some((older, Direction::Original)),
        "the older one is still there"
    );
    table.audit().expect("all is where it belongs");
}

#[test]
fn flows_of_one_source_are_listed_newest_first_whichever_goes() {
    for gone in 0..3 {
        let mut table = table();
        let places: Vec<u32> = (1..=3).map(|port| enter(&mut table, tuple(9, port), Instant::from_millis(9))).collect();
        let like = table.flow(places[0]).clone();
        table.remove(places[gone]);
        let left: Vec<u16> = table.same_source(&like).map(|flow| flow.tuple(Direction::Original).dst_id).collect();
        let expected: Vec<u16> = [3, 2, 1].into_iter().filter(|&port| usize::from(port) != gone + 1).collect();
        assert_eq!(left, expected);
    }
}

#[test]
fn every_flow_is_found_and_nothing_else_however_they_come_and_go() {
    let mut table = table();
    let mut rng = Rng::from_seed(3);
    let mut model = HashMap::new();
    for _ in 0..30_000 {
        let name = tuple(rng.below(60) as u16, rng.below(60) as u16);
        match model.remove(&name) {
            Some(at) => drop(table.remove(at)),
            None => drop(model.insert(name, enter(&mut table, name, Instant::from_millis(1)))),
        }
        assert_eq!(table.len(), model.len());
    }
    for (name, at) in &model {
        assert_eq!(table.find(Instant::EPOCH, name, 0), Some((*at, Direction::Original)));
        let like = table.flow(*at).clone();
        let siblings = model.keys().filter(|other| other.src_id == name.src_id).count();
        assert_eq!(table.same_source(&like).count(), siblings);
    }
    assert_eq!(table.iter().count(), model.len());
    table.sweep(Instant::from_millis(1), usize::MAX, |_| false);
    assert!(table.is_empty());
    assert_eq!(core::iter::from_fn(|| table.poll_expired()).count(), model.len());
}
