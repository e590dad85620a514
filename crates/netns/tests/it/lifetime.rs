//! It leaves nothing behind, and nobody may build it too.

use std::io::{self, BufRead, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pinhole_host::namespace::privilege;
use pinhole_lab::Nat;
use pinhole_netns::{Internet, Program};

use crate::support::{mapping, public, skip_without_privilege, socket, two_homes};

fn holders(internet: &Internet) -> Vec<u32> {
    internet.hosts().chain(internet.routers()).map(|host| host.namespace().pid()).collect()
}

#[test]
fn dropping_it_ends_every_holder() {
    if skip_without_privilege() {
        return;
    }
    let internet = two_homes(Nat::CONE, Nat::CONE, 0);
    let holders = holders(&internet);
    assert_eq!(holders.len(), 5);
    drop(internet);
    for pid in holders {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} still lives");
    }
}

#[test]
fn programs_start_on_hosts() {
    if skip_without_privilege() {
        return;
    }
    let internet = two_homes(Nat::CONE, Nat::CONE, 0);
    let output = internet.host("bob").command("uname").arg("-n").output().expect("uname");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "bob\n");
}

#[test]
fn a_program_ends_with_its_handle_politely_if_it_can() {
    if skip_without_privilege() {
        return;
    }
    let internet = two_homes(Nat::CONE, Nat::CONE, 0);
    let start = |script: &str| {
        let mut command = internet.host("alice").command("sh");
        let mut program = Program::start(command.args(["-c", script]).stdout(Stdio::piped())).expect("sh");
        let mut line = String::new();
        io::BufReader::new(program.child().stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n");
        program
    };
    let mut polite = start("trap 'exit 7' TERM; echo ready; while :; do :; done");
    let status = polite.stop(Duration::from_secs(5)).expect("it ends");
    assert_eq!(status.code(), Some(7));
    let mut deaf = start("trap '' TERM; echo ready; while :; do :; done");
    let status = deaf.stop(Duration::from_millis(50)).expect("it ends");
    assert_eq!(status.signal(), Some(libc::SIGKILL));
}

/// The body of the tests below, in a process of its own.
#[test]
fn inner_build_use_and_wait() {
    if std::env::var_os("PINHOLE_TEST_INNER").is_none() {
        return;
    }
    let internet = two_homes(Nat::CONE, Nat::SYMMETRIC, 1);
    let server = socket(internet.host("hub"), 0);
    let hub = public(internet.host("hub"), &server);
    let mapped = mapping(&socket(internet.host("alice"), 51_820), &server, hub);
    assert_eq!(mapped, "198.51.100.1:51820".parse().expect("an address"));
    println!("holders {}", holders(&internet).iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
    io::stdin().read_to_end(&mut Vec::new()).expect("stdin");
}

/// Starts the inner test after `prepare`; returns it with the pids of its holders.
fn inner(prepare: impl FnMut() -> io::Result<()> + Send + Sync + 'static) -> (Child, Vec<u32>) {
    // By descriptor: another user may not pass the directories on the way to it.
    let this = std::fs::File::open(std::env::current_exe().expect("this test")).expect("it can be read");
    let mut command = Command::new(format!("/proc/self/fd/{}", this.as_raw_fd()));
    command.args(["--exact", "--nocapture", "lifetime::inner_build_use_and_wait"]);
    command.env("PINHOLE_TEST_INNER", "1").stdin(Stdio::piped()).stdout(Stdio::piped());
    // SAFETY: it makes system calls and small allocations in a child of a process whose other threads hold no allocator
    // lock for long; it is a test.
    unsafe { command.pre_exec(prepare) };
    let mut child = command.spawn().expect("this test starts again");
    let mut lines = io::BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut seen = Vec::new();
    while let Some(Ok(line)) = lines.next() {
        if let Some((_, pids)) = line.split_once("holders ") {
            return (child, pids.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect());
        }
        seen.push(line);
    }
    panic!("the inner test failed, {:?}: {seen:#?}", child.wait());
}

fn kill_and_expect_nothing_left(mut child: Child, holders: &[u32]) {
    // SAFETY: plain system calls.
    let fds = holders.iter().map(|&pid| unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as i32);
    let mut waits: Vec<_> = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
    assert!(waits.iter().all(|wait| wait.fd >= 0), "the holders live");
    child.kill().expect("our child");
    child.wait().expect("our child");
    for wait in &mut waits {
        // SAFETY: one live pollfd.
        let ready = unsafe { libc::poll(wait, 1, 5_000) };
        assert_eq!(ready, 1, "a holder still lives 5 s after its parent was killed");
    }
}

#[test]
fn killing_the_process_ends_every_holder() {
    if skip_without_privilege() {
        return;
    }
    let (child, holders) = inner(|| Ok(()));
    kill_and_expect_nothing_left(child, &holders);
}

#[test]
fn nobody_builds_it_through_a_user_namespace() {
    if skip_without_privilege() {
        return;
    }
    let check = |result: libc::c_int| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    let prepare = move || {
        let (none, device) = (std::ptr::null(), libc::makedev(10, 200));
        // SAFETY: plain system calls in a forked child. Where udev runs, everyone may open /dev/net/tun; elsewhere this
        // process gets one of its own. After a change of user a process is not dumpable, and then /proc/self belongs to
        // root.
        unsafe {
            check(libc::unshare(libc::CLONE_NEWNS))?;
            check(libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast()))?;
            check(libc::mount(
                c"tmpfs".as_ptr(),
                c"/dev/net".as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                c"mode=755".as_ptr().cast(),
            ))?;
            check(libc::mknod(c"/dev/net/tun".as_ptr(), libc::S_IFCHR | 0o666, device))?;
            check(libc::chmod(c"/dev/net/tun".as_ptr(), 0o666))?;
            check(libc::setgroups(0, std::ptr::null()))?;
            check(libc::setgid(65_534))?;
            check(libc::setuid(65_534))?;
            check(libc::prctl(libc::PR_SET_DUMPABLE, 1))?;
        }
        privilege::enter_user_namespace().map_err(|_| io::Error::from_raw_os_error(libc::EPERM))
    };
    let (child, holders) = inner(prepare);
    kill_and_expect_nothing_left(child, &holders);
}
