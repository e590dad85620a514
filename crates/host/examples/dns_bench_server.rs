//! Serves a synthetic registry zone, for `cargo xtask bench dns`.
//!
//! `dns_bench_server --peers N [--listen ADDRESS] [--zone FILE] [--queries FILE]`: a zone `bench.test.` of N WireGuard-like
//! peers in the registry's form (PTR, SRV, A, TXT and the un-padded alias of each). Writes the same zone as a master file and
//! questions about it in dnsperf's form when asked to, and without `--listen` leaves it at that. Prints one line when ready
//! and serves until its standard input ends.

use std::fmt::Write as _;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;

use pinhole_dns::answers::Answers;
use pinhole_dns::record::{Soa, Srv};
use pinhole_dns::zone::Zone;
use pinhole_dns::{Name, RData};
use pinhole_host::dns::{Config, Server};
use pinhole_sansio::Rng;

type Failure = Box<dyn std::error::Error>;

/// Questions in a file: enough that all peers are asked for in no order.
const QUESTIONS: usize = 20_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
    let peers: usize = option("--peers").ok_or("--peers N")?.parse()?;
    let zone = zone(peers)?;
    if let Some(file) = option("--zone") {
        std::fs::write(file, master_file(&zone)?)?;
    }
    if let Some(file) = option("--queries") {
        let kind = option("--kind").map_or("srv", String::as_str);
        std::fs::write(file, questions(&zone, peers, kind)?)?;
    }
    let Some(listen) = option("--listen") else { return Ok(()) };
    let listen: SocketAddr = listen.parse()?;
    let config = Config { listen: vec![listen.into()], shards: 1, ..Config::default() };
    let (server, _slow) = Server::bind(config, Arc::new(Answers::compile(&[zone])))?;
    println!("ready at {:?}", server.addresses());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    server.stop().await;
    Ok(())
}

/// The label of a peer: 52 base32 characters of a made-up key, and the padding.
fn label(peer: usize) -> String {
    const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut rng = Rng::from_seed(peer as u64);
    let key = (0..52).map(|_| char::from(ALPHABET[rng.below(32) as usize]));
    key.chain("====".chars()).collect()
}

fn zone(peers: usize) -> Result<Zone, Failure> {
    let origin = Name::parse("bench.test")?;
    let soa: Soa = Zone::soa_for(&origin, 1);
    let mut zone = Zone::new(origin.clone(), soa, 60);
    let ns = origin.child("ns1")?;
    zone.add(origin.clone(), 60, RData::Ns(ns.clone()))?;
    zone.add(ns, 60, RData::A([192, 0, 2, 1].into()))?;
    let service = Name::parse("_wireguard._udp")?.below(&origin)?;
    for peer in 0..peers {
        let owner = service.child(label(peer))?;
        let address = [198, 18, (peer >> 8) as u8, peer as u8];
        let key = format!("pub={:0>43}=", peer);
        let allowed = format!("allowed=10.0.{}.{}/32", peer >> 8, peer & 255);
        zone.add(service.clone(), 0, RData::Ptr(owner.clone()))?;
        zone.add(owner.clone(), 0, RData::Srv(Srv { priority: 0, weight: 0, port: 51_820, target: owner.clone() }))?;
        zone.add(owner.clone(), 0, RData::A(address.into()))?;
        zone.add(owner.clone(), 0, RData::txt(["txtvers=1", &key, &allowed]))?;
        zone.alias(service.child(label(peer).trim_end_matches('='))?, owner)?;
    }
    Ok(zone)
}

/// The zone as RFC 1035 §5 writes it, aliases written out.
fn master_file(zone: &Zone) -> Result<String, Failure> {
    let soa = zone.soa();
    let mut text = String::new();
    writeln!(
        text,
        "{} {} IN SOA {} {} {} {} {} {} {}",
        zone.origin(),
        zone.soa_ttl(),
        soa.mname,
        soa.rname,
        soa.serial,
        soa.refresh,
        soa.retry,
        soa.expire,
        soa.minimum
    )?;
    for record in zone.records() {
        let aliases = zone.aliases().iter().filter(|(_, name)| *name == record.owner);
        for owner in std::iter::once(&record.owner).chain(aliases.map(|(alias, _)| alias)) {
            let ttl = record.ttl;
            match &record.data {
                RData::A(address) => writeln!(text, "{owner} {ttl} IN A {address}")?,
                RData::Ns(name) => writeln!(text, "{owner} {ttl} IN NS {name}")?,
                RData::Ptr(name) => writeln!(text, "{owner} {ttl} IN PTR {name}")?,
                RData::Srv(srv) => writeln!(text, "{owner} {ttl} IN SRV 0 0 {} {owner}", srv.port)?,
                RData::Txt(strings) => {
                    write!(text, "{owner} {ttl} IN TXT")?;
                    for string in strings {
                        write!(text, " \"{}\"", String::from_utf8_lossy(string))?;
                    }
                    writeln!(text)?;
                }
                other => return Err(format!("no master file form for {other:?}").into()),
            }
        }
    }
    // knot's zone parser takes no bare `=` in a name.
    Ok(text.replace("====.", r"\061\061\061\061."))
}

/// Questions in dnsperf's form. `srv`: what the agent and wgsd's client ask. `mix`: 60 % SRV, the rest A, TXT, AAAA (no
/// data), unknown names and browsing.
fn questions(zone: &Zone, peers: usize, kind: &str) -> Result<String, Failure> {
    let mut rng = Rng::from_seed(0xbe9c);
    let origin = zone.origin();
    let mut text = String::new();
    for _ in 0..QUESTIONS {
        let peer = label(rng.below(peers as u64) as usize);
        let draw = if kind == "mix" { rng.below(100) } else { 0 };
        match draw {
            0..60 => writeln!(text, "{peer}._wireguard._udp.{origin} SRV")?,
            60..72 => writeln!(text, "{peer}._wireguard._udp.{origin} A")?,
            72..84 => writeln!(text, "{peer}._wireguard._udp.{origin} TXT")?,
            84..90 => writeln!(text, "{peer}._wireguard._udp.{origin} AAAA")?,
            90..96 => writeln!(text, "x{}._wireguard._udp.{origin} SRV", rng.below(1_000_000))?,
            _ => writeln!(text, "_wireguard._udp.{origin} PTR")?,
        }
    }
    Ok(text)
}
