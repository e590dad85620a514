use std::sync::Arc;

use pinhole_wire::wireguard;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// A WireGuard message of this type, whatever it carries.
fn message(kind: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![7; length];
    bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
    bytes
}

fn initiation() -> Vec<u8> {
    message(1, wireguard::INITIATION_LEN)
}

fn data() -> Vec<u8> {
    message(4, 64)
}

async fn host(last: u8) -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::new(127, 0, 21, last), 0)).await.unwrap()
}

async fn heard(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = vec![0; LONGEST];
    let (length, from) = tokio::time::timeout(PATIENCE, socket.recv_from(&mut bytes)).await.unwrap().unwrap();
    bytes.truncate(length);
    (bytes, from)
}

/// A lane for 127.0.21.1 and 127.0.21.2 that is run, and its two doors.
fn lane(bytes_per_second: u64) -> (Arc<Lane>, [SocketAddr; 2]) {
    let ips = [1, 2].map(|last| IpAddr::from([127, 0, 21, last]));
    let lane = Arc::new(Lane::open([0, 0], ips, bytes_per_second).unwrap());
    let doors = [0, 1].map(|end| {
        let port = lane.sockets[end].local_addr().unwrap().port();
        SocketAddr::from((Ipv4Addr::new(127, 0, 21, 9), port))
    });
    let running = Arc::clone(&lane);
    tokio::spawn(async move { running.run().await });
    (lane, doors)
}

/// Both have opened their ways to the lane, and it knows of both.
async fn opened(lane: &Lane, hosts: [&UdpSocket; 2], doors: [SocketAddr; 2]) {
    for (host, door) in hosts.iter().zip(doors) {
        host.send_to(OPENER_PAYLOAD, door).await.unwrap();
    }
    while lane.state().ends.contains(&None) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn what_one_sends_leaves_by_the_others_door() {
    let (lane, doors) = lane(0);
    let (a, b) = (host(1).await, host(2).await);
    opened(&lane, [&a, &b], doors).await;
    a.send_to(&initiation(), doors[0]).await.unwrap();
    let (bytes, from) = heard(&b).await;
    assert_eq!((bytes, from.port()), (initiation(), doors[1].port()), "no opener was forwarded");
    b.send_to(&data(), doors[1]).await.unwrap();
    let (bytes, from) = heard(&a).await;
    assert_eq!((bytes, from.port()), (data(), doors[0].port()));
    assert_eq!(lane.counts().refused, 0);
}

#[tokio::test]
async fn strangers_and_what_is_not_wireguards_are_refused_and_only_a_handshake_moves_an_end() {
    let (lane, doors) = lane(0);
    let (a, b, stranger, moved) = (host(1).await, host(2).await, host(3).await, host(1).await);
    opened(&lane, [&a, &b], doors).await;
    stranger.send_to(&data(), doors[1]).await.unwrap();
    a.send_to(b"GET / HTTP/1.1", doors[0]).await.unwrap();
    moved.send_to(&data(), doors[0]).await.unwrap();
    a.send_to(&data(), doors[0]).await.unwrap();
    assert_eq!(heard(&b).await.0, data());
    // The stranger's went to the other door, which may be slower.
    while lane.counts().refused < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(lane.counts().forwarded, 1);
    moved.send_to(&initiation(), doors[0]).await.unwrap();
    assert_eq!(heard(&b).await.0, initiation());
    b.send_to(&data(), doors[1]).await.unwrap();
    assert_eq!(heard(&moved).await.0, data());
}

#[tokio::test]
async fn no_more_passes_than_the_quota() {
    let (lane, doors) = lane(1_000);
    let (a, b) = (host(1).await, host(2).await);
    opened(&lane, [&a, &b], doors).await;
    for _ in 0..100 {
        a.send_to(&message(4, 1_000), doors[0]).await.unwrap();
    }
    // Some of them may not have found room in the lane's socket.
    while lane.counts().over_quota < 10 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!((2..10).contains(&lane.counts().forwarded), "{:?}", lane.counts());
}

#[tokio::test]
async fn a_lane_that_nobody_uses_ends() {
    let ips = [1, 2].map(|last| IpAddr::from([127, 0, 21, last]));
    let lane = Lane { idle: Duration::from_millis(30), ..Lane::open([0, 0], ips, 0).unwrap() };
    let began = Instant::now();
    tokio::time::timeout(PATIENCE, lane.run()).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(30));
}
