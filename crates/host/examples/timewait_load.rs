//! Many dead connections for `cargo xtask bench timewait`: makes a namespace, fills it with as many TIME_WAIT sockets as the
//! argument says, prints the number of the process that holds the namespace, and stays until its input ends.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use pinhole_host::namespace::Namespace;
use rustix::net::{self, AddressFamily, SocketType};

/// Fewer than the default range has, so that no connect() searches for long.
const EACH: usize = 12_000;

fn main() {
    let count = std::env::args().nth(1).and_then(|text| text.parse().ok()).expect("how many sockets");
    let namespace = Namespace::create("timewait-load").expect("a namespace: run this as root");
    for (setting, value) in [("tcp_max_tw_buckets", "1000000"), ("tcp_tw_reuse", "0"), ("tcp_fin_timeout", "60")] {
        namespace.set(&format!("net/ipv4/{setting}"), value).expect("a setting of this namespace");
    }
    namespace.run(|| fill(count)).expect("a thread");
    println!("{}", namespace.pid());
    io::stdout().flush().expect("a reader");
    let _ = io::stdin().read(&mut [0]);
}

fn fill(count: usize) {
    let mut left = count;
    for server in 0.. {
        if left == 0 {
            return;
        }
        let address = Ipv4Addr::new(127, 0, 1, server);
        let listener = TcpListener::bind(SocketAddr::new(address.into(), 9000)).expect("a port");
        let to = listener.local_addr().expect("bound");
        for _ in 0..EACH.min(left) {
            let client = net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
            net::connect(&client, &to).expect("it listens");
            let server = listener.accept().expect("it connects");
            drop(client);
            drop(server);
        }
        left -= EACH.min(left);
    }
}
