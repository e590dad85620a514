//! Inside: the test binary as the first process of the guest.

use std::fs::{self, File};
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};

use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot};

use crate::VERDICT;

/// Where the modules lie, in the order of their names.
pub(crate) const MODULES: &str = "/guest/modules";

/// File systems, their places and their kinds.
const MOUNTS: &[(&str, &str)] =
    &[("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run"), ("tmpfs", "/tmp")];

/// Prepares the guest, does the work, says how it went and switches the guest off.
pub(crate) fn run(work: impl FnOnce()) -> ! {
    match prepare() {
        Ok(()) => {
            let done = panic::catch_unwind(AssertUnwindSafe(work));
            println!("\n{}", if done.is_ok() { VERDICT } else { "guest: the work panicked" });
        }
        Err(error) => println!("\nguest: {error}"),
    }
    let _ = io::stdout().flush();
    // What is still on its way to the console would be lost with it.
    let _ = rustix::termios::tcdrain(io::stdout());
    let _ = reboot(RebootCommand::Restart);
    // Not reached: the kernel restarts, and qemu ends with it. If it did not, the end of the first process would do it.
    std::process::exit(1)
}

fn prepare() -> Result<(), String> {
    for (kind, place) in MOUNTS {
        fs::create_dir_all(place).map_err(|error| format!("{place}: {error}"))?;
        mount(*kind, *place, *kind, MountFlags::empty(), None).map_err(|error| format!("mount {place}: {error}"))?;
    }
    fs::create_dir_all("/var")
        .and_then(|()| std::os::unix::fs::symlink("/run", "/var/run"))
        .map_err(|e| e.to_string())?;
    load_modules()
}

fn load_modules() -> Result<(), String> {
    let entries = fs::read_dir(MODULES).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        finit_module(&file, c"", 0).map_err(|error| format!("module {}: {error}", path.display()))?;
    }
    Ok(())
}
