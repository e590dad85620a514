//! Gets the privileges to make namespaces: those we have, or a user namespace of our own; or says exactly what forbids it.

use std::fmt;
use std::fs;
use std::io;

/// How the privileges were come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// The process had them.
    Own,
    /// The process is now root in a user namespace of its own.
    UserNamespace,
}

/// What stands in the way, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The operation the kernel refused, and its reason.
    pub refused: String,
    /// What probably forbids it, each with the change that allows it.
    pub causes: Vec<String>,
}

/// Makes sure this process may create network namespaces and TUN devices in them.
///
/// A process without these capabilities moves into new user, network and mount namespaces, in which it is root. That must
/// happen **before it starts any thread**.
///
/// # Errors
/// [`Denied`] when neither way is open.
pub fn acquire() -> Result<Privilege, Denied> {
    check_tun()?;
    check_limit(setting(NET_NAMESPACES))?;
    if can_make_namespaces() {
        return Ok(Privilege::Own);
    }
    enter_user_namespace()?;
    Ok(Privilege::UserNamespace)
}

/// TUN devices are what tunnels and the cables of a laboratory are made of.
fn check_tun() -> Result<(), Denied> {
    let Err(error) = fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun") else { return Ok(()) };
    let make = "create the device: `sudo mkdir -p /dev/net && sudo mknod /dev/net/tun c 10 200 && sudo chmod 666 \
                /dev/net/tun`; in a container: start it with `--device /dev/net/tun`";
    let causes = match error.kind() {
        io::ErrorKind::NotFound => vec![make],
        io::ErrorKind::PermissionDenied => {
            vec!["everyone may have it: `sudo chmod 666 /dev/net/tun`", "or run it as root"]
        }
        _ => vec!["the kernel may lack the module: `sudo modprobe tun`", make],
    };
    let causes = causes.into_iter().map(str::to_owned).collect();
    Err(Denied { refused: format!("open /dev/net/tun: {error}"), causes })
}

/// How many network namespaces a user may have.
const NET_NAMESPACES: &str = "user/max_net_namespaces";
const RAISE_THE_LIMIT: &str = "user.max_net_namespaces is 0: `sudo sysctl user.max_net_namespaces=15000`";

/// The limit binds root, too.
fn check_limit(namespaces: Option<i64>) -> Result<(), Denied> {
    match namespaces {
        Some(0) => Err(Denied { refused: "none are allowed".to_owned(), causes: vec![RAISE_THE_LIMIT.to_owned()] }),
        Some(_) | None => Ok(()),
    }
}

/// Whether this process has CAP_NET_ADMIN and CAP_SYS_ADMIN.
pub fn can_make_namespaces() -> bool {
    const NET_ADMIN: u64 = 1 << 12;
    const SYS_ADMIN: u64 = 1 << 21;
    const BOTH: u64 = NET_ADMIN | SYS_ADMIN;
    status("CapEff").and_then(|caps| u64::from_str_radix(&caps, 16).ok()).is_some_and(|caps| caps & BOTH == BOTH)
}

/// Moves this single-threaded process into new user, network and mount namespaces as their root.
///
/// # Errors
/// [`Denied`]; the process may then be in a user namespace without a map and had better end.
pub fn enter_user_namespace() -> Result<(), Denied> {
    // SAFETY: plain system calls.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let unshare = |flags: libc::c_int| {
        // SAFETY: a plain system call.
        if unsafe { libc::unshare(flags) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    let write = |path: &str, text: String| fs::write(path, text).map_err(|error| (format!("write {path}"), error));
    let steps = || {
        unshare(libc::CLONE_NEWUSER).map_err(|error| ("create a user namespace".to_owned(), error))?;
        write("/proc/self/setgroups", "deny".into())?;
        write("/proc/self/uid_map", format!("0 {uid} 1"))?;
        write("/proc/self/gid_map", format!("0 {gid} 1"))?;
        let rest = libc::CLONE_NEWNET | libc::CLONE_NEWNS;
        unshare(rest).map_err(|error| ("create a network namespace in it".to_owned(), error))
    };
    steps().map_err(|(operation, error)| Denied {
        refused: format!("{operation}: {error}"),
        causes: Circumstances::of(&error).causes(),
    })
}

/// What the system says about itself, as far as it bears on namespaces.
#[derive(Clone, Debug, Default)]
struct Circumstances {
    errno: Option<i32>,
    /// Settings under /proc/sys by name; `None` where the kernel does not have them.
    unprivileged_clone: Option<i64>,
    apparmor_restricts: Option<i64>,
    max_user_namespaces: Option<i64>,
    max_net_namespaces: Option<i64>,
    kernel_has_them: bool,
    has_threads: bool,
    has_seccomp_filter: bool,
}

impl Circumstances {
    fn of(error: &io::Error) -> Self {
        Self {
            errno: error.raw_os_error(),
            unprivileged_clone: setting("kernel/unprivileged_userns_clone"),
            apparmor_restricts: setting("kernel/apparmor_restrict_unprivileged_userns"),
            max_user_namespaces: setting("user/max_user_namespaces"),
            max_net_namespaces: setting(NET_NAMESPACES),
            kernel_has_them: std::path::Path::new("/proc/self/ns/user").exists(),
            has_threads: status("Threads").is_some_and(|threads| threads != "1"),
            has_seccomp_filter: status("Seccomp").is_some_and(|mode| mode != "0"),
        }
    }

    /// What probably forbids it, each with the change that allows it.
    fn causes(&self) -> Vec<String> {
        let forbidden = matches!(self.errno, Some(libc::EPERM | libc::EACCES | libc::ENOSYS));
        let table = [
            (
                self.unprivileged_clone == Some(0),
                "kernel.unprivileged_userns_clone is 0: `sudo sysctl kernel.unprivileged_userns_clone=1`",
            ),
            (
                self.apparmor_restricts == Some(1),
                "AppArmor restricts user namespaces: `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or \
                 install an AppArmor profile with `userns,` for this program",
            ),
            (
                self.max_user_namespaces == Some(0),
                "user.max_user_namespaces is 0: `sudo sysctl user.max_user_namespaces=15000`",
            ),
            (self.max_net_namespaces == Some(0), RAISE_THE_LIMIT),
            (!self.kernel_has_them, "the kernel is built without user namespaces (CONFIG_USER_NS)"),
            (
                self.has_threads && self.errno == Some(libc::EINVAL),
                "this process already has threads (a fault of pinhole: please report it)",
            ),
            (
                self.has_seccomp_filter && forbidden,
                "a seccomp filter is active, as in a container: start the container with `--privileged`, or with \
                 `--cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt seccomp=unconfined --security-opt \
                 apparmor=unconfined --device /dev/net/tun`",
            ),
            (true, "or run it as root"),
        ];
        table.into_iter().filter(|(applies, _)| *applies).map(|(_, text)| text.to_owned()).collect()
    }
}

fn setting(name: &str) -> Option<i64> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
}

/// A line of /proc/self/status.
fn status(name: &str) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot make network namespaces here: {}", self.refused)?;
        self.causes.iter().try_for_each(|cause| write!(f, "\n  - {cause}"))
    }
}

impl std::error::Error for Denied {}

#[cfg(test)]
mod tests;
