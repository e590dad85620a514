//! Namespaces on the running kernel, as root and as nobody.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::{Namespace, privilege};
use crate::netlink::route::{self, address, link, table};

/// Says why a test did nothing, in a way nobody overlooks.
fn skip_without_privilege() -> bool {
    let skip = !privilege::can_make_namespaces();
    if skip {
        eprintln!("SKIP: making namespaces needs root (or CAP_SYS_ADMIN and CAP_NET_ADMIN); run the tests with sudo");
    }
    skip
}

/// Two namespaces joined by a veth pair, with 10.9.0.1 and 10.9.0.2.
fn joined() -> (Namespace, Namespace) {
    let (a, b) = (Namespace::create("ns-a").expect("a namespace"), Namespace::create("ns-b").expect("a namespace"));
    let configure = |ns: &Namespace, name: &'static str, net: &'static str| {
        ns.run(move || {
            let mut socket = route::open()?;
            let index = link::find(&mut socket, name)?.index;
            let change = link::Change { up: Some(true), mtu: Some(1400), name: Some("eth0"), ..Default::default() };
            link::set(&mut socket, index, &change)?;
            address::add(&mut socket, index, net.parse().expect("a network"))
        })
        .expect("a thread inside")
        .expect("the link is configured")
    };
    a.run(|| link::add_veth(&mut route::open()?, "left", "right", Some(b.net()))).expect("a thread").expect("a pair");
    configure(&a, "left", "10.9.0.1/24");
    configure(&b, "right", "10.9.0.2/24");
    (a, b)
}

#[test]
fn two_namespaces_talk_over_a_veth_pair_and_only_there() {
    if skip_without_privilege() {
        return;
    }
    let (a, b) = joined();
    let server = b.run(|| UdpSocket::bind("10.9.0.2:0")).expect("a thread").expect("the address is there");
    let port = server.local_addr().expect("a bound socket").port();
    let client = a.run(|| UdpSocket::bind("10.9.0.1:0")).expect("a thread").expect("the address is there");
    client.send_to(b"hello", SocketAddr::new([10, 9, 0, 2].into(), port)).expect("a route");
    let mut buffer = [0; 16];
    let (length, from) = server.recv_from(&mut buffer).expect("the datagram");
    assert_eq!((&buffer[..length], from.ip()), (&b"hello"[..], [10, 9, 0, 1].into()));
    assert!(UdpSocket::bind("10.9.0.1:0").is_err(), "the address must not exist outside");
    let interfaces = a.run(|| route::interfaces(&mut route::open()?)).expect("a thread").expect("a list");
    let eth0 = interfaces.iter().find(|i| i.link.name == "eth0").expect("the renamed link");
    assert_eq!((eth0.link.mtu, eth0.link.kind.as_deref()), (1400, Some("veth")));
    assert!(eth0.addresses.iter().any(|a| a.net.to_string() == "10.9.0.1/24" && a.is_usable_globally()));
}

#[test]
fn routes_and_rules_come_back_as_they_were_added() {
    if skip_without_privilege() {
        return;
    }
    let (a, _b) = joined();
    a.run(|| {
        let mut socket = route::open().expect("a socket");
        let default = table::Route::default_via([10, 9, 0, 2].into());
        table::add(&mut socket, &default).expect("the gateway is on the link");
        assert!(table::add(&mut socket, &default).expect_err("it is there").is_exists());
        let other = table::Route { table: 51_820, metric: Some(7), ..default.clone() };
        table::add(&mut socket, &other).expect("tables above 255 are addressed by attribute");
        let routes = table::list(&mut socket).expect("a list");
        let has = |number: u32, metric: Option<u32>| {
            routes.iter().any(|r| r.gateway == default.gateway && r.table == number && r.metric == metric)
        };
        assert!(has(table::MAIN, None) && has(51_820, Some(7)), "{routes:?}");
        let found = table::lookup(&mut socket, [192, 0, 2, 9].into(), 0).expect("the default route");
        assert_eq!((found.gateway, found.source), (default.gateway, Some([10, 9, 0, 1].into())));
        table::delete(&mut socket, &other).expect("it is there");
        assert!(table::delete(&mut socket, &other).expect_err("it is gone").is_not_found());
        let rule = route::Rule { not: true, mark: Some(51_820), priority: Some(100), ..route::Rule::table(51_820) };
        match route::rule::add(&mut socket, &rule) {
            Err(error) if error.is_unsupported() => eprintln!("SKIP: this kernel has no policy routing"),
            added => {
                added.expect("a new rule");
                let rules = route::rule::list(&mut socket).expect("a list");
                assert!(rules.contains(&rule), "{rules:?}");
                route::rule::delete(&mut socket, &rule).expect("it is there");
                assert!(!route::rule::list(&mut socket).expect("a list").contains(&rule));
            }
        }
    })
    .expect("a thread");
}

#[tokio::test]
async fn the_monitor_reports_one_change_for_many_events() {
    if skip_without_privilege() {
        return;
    }
    let (a, _b) = joined();
    let mut monitor = {
        let runtime = tokio::runtime::Handle::current();
        a.run(move || {
            let _runtime = runtime.enter();
            crate::netlink::monitor::Monitor::open()
        })
        .expect("a thread")
        .expect("a subscription")
    };
    a.run(|| {
        let mut socket = route::open().expect("a socket");
        let index = link::find(&mut socket, "eth0").expect("the link").index;
        for host in 3..13 {
            let net = format!("10.9.0.{host}/24").parse().expect("a network");
            address::add(&mut socket, index, net).expect("a free address");
        }
    })
    .expect("a thread");
    let changes = monitor.changed().await.expect("events");
    assert!(changes.addresses && !changes.links, "{changes:?}");
    let more = tokio::time::timeout(std::time::Duration::from_millis(100), monitor.changed()).await;
    assert!(more.is_err(), "all was one change: {more:?}");
}

#[test]
fn a_program_inside_has_its_own_run_directory_name_and_network() {
    if skip_without_privilege() {
        return;
    }
    let ns = Namespace::create("ns-run").expect("a namespace");
    ns.run(|| std::fs::create_dir_all("/var/run/wireguard")).expect("a thread").expect("an empty /run is writable");
    let mut command = Command::new("sh");
    command.args(["-c", "uname -n; ls -d /run/wireguard; cat /proc/net/dev | grep -c :; pwd"]).current_dir("/tmp");
    ns.enter(&mut command);
    let output = command.output().expect("sh");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ns-run\n/run/wireguard\n1\n/tmp\n");
    assert!(ns.path("/run/wireguard".as_ref()).is_dir());
    ns.set("net/ipv4/ip_forward", "1").expect("a setting of the namespace");
    let forward = ns.run(|| std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward")).expect("a thread");
    assert_eq!(forward.expect("readable").trim(), "1");
}

#[test]
fn a_dropped_namespace_ends_its_holder() {
    if skip_without_privilege() {
        return;
    }
    let ns = Namespace::create("ns-drop").expect("a namespace");
    let process = format!("/proc/{}", ns.pid());
    assert!(std::path::Path::new(&process).exists());
    drop(ns);
    assert!(!std::path::Path::new(&process).exists(), "dropping waits for the end");
}

/// The body of the next two tests, in a process of its own: makes a namespace, says its holder's pid, and is killed.
#[test]
fn inner_make_a_namespace_and_wait() {
    if std::env::var_os("PINHOLE_TEST_INNER").is_none() {
        return;
    }
    let ns = Namespace::create("ns-inner").expect("a namespace");
    ns.run(|| TcpListener::bind("127.0.0.1:0")).expect("a thread").expect("the loopback is up");
    println!("holder {}", ns.pid());
    std::io::stdin().read_to_end(&mut Vec::new()).expect("stdin");
}

fn inner(prepare: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static) -> (std::process::Child, u32) {
    use std::io::BufRead;
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "--nocapture", "namespace::tests::inner_make_a_namespace_and_wait"]);
    command.env("PINHOLE_TEST_INNER", "1").stdin(Stdio::piped()).stdout(Stdio::piped());
    // SAFETY: the closures make system calls and small allocations in a child of a process whose other threads hold no
    // allocator lock for long; it is a test.
    unsafe { command.pre_exec(prepare) };
    let mut child = command.spawn().expect("this test starts again");
    let mut lines = std::io::BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut seen = Vec::new();
    while let Some(Ok(line)) = lines.next() {
        if let Some((_, pid)) = line.split_once("holder ") {
            return (child, pid.trim().parse().expect("a pid"));
        }
        seen.push(line);
    }
    panic!("the inner test failed, {:?}: {seen:#?}", child.wait());
}

fn wait_until_gone(pid: u32) {
    // SAFETY: a plain system call.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return;
    }
    let mut poll = libc::pollfd { fd: fd as i32, events: libc::POLLIN, revents: 0 };
    // SAFETY: one live pollfd.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 5_000) };
    assert_eq!(ready, 1, "the holder {pid} still lives 5 s after its parent was killed");
}

#[test]
fn a_killed_process_leaves_no_holder_behind() {
    if skip_without_privilege() {
        return;
    }
    let (mut child, holder) = inner(|| Ok(()));
    child.kill().expect("our child");
    child.wait().expect("our child");
    wait_until_gone(holder);
}

#[test]
fn nobody_makes_namespaces_through_a_user_namespace() {
    if skip_without_privilege() {
        return;
    }
    let prepare = || {
        // SAFETY: plain system calls in a forked child. After a change of user a process is not dumpable, and then
        // /proc/self belongs to root.
        unsafe {
            super::check(libc::setgroups(0, std::ptr::null()))?;
            super::check(libc::setgid(65_534))?;
            super::check(libc::setuid(65_534))?;
            super::check(libc::prctl(libc::PR_SET_DUMPABLE, 1))?;
        }
        privilege::enter_user_namespace().map_err(|_| std::io::Error::from_raw_os_error(libc::EPERM))
    };
    let (mut child, holder) = inner(prepare);
    let uid = std::fs::read_to_string(format!("/proc/{holder}/status")).expect("the holder lives");
    assert!(uid.lines().any(|line| line.starts_with("Uid:\t65534\t65534")), "{uid}");
    child.kill().expect("our child");
    child.wait().expect("our child");
    wait_until_gone(holder);
}
