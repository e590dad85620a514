//! The emulated machine: qemu, a kernel, an archive, a serial line.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const QEMU: &str = "qemu-system-x86_64";

/// No devices but a serial line; a processor with all that emulation can do but ADX, on which this kernel's curve25519 needs
/// instructions that are slow to emulate.
const MACHINE: &[&str] = &[
    "-machine",
    "pc",
    "-accel",
    "tcg,thread=multi",
    "-cpu",
    "max,-adx",
    "-nodefaults",
    "-nographic",
    "-serial",
    "stdio",
    "-net",
    "none",
    "-no-reboot",
];

/// Memory for the work, in MiB. The archive comes on top: it is in memory twice while it is unpacked, into a file system that
/// takes no more than half of it all.
const MEMORY: usize = 512;

/// Quiet, off at once when it ends or panics, without what costs time under emulation, and without a look at whether timer
/// interrupts come in time, which on a busy machine they do not.
const COMMAND_LINE: &str =
    "console=ttyS0 quiet panic=-1 reboot=t random.trust_cpu=on tsc=reliable mitigations=off no_timer_check";

/// Whether there is a machine to be had.
pub(crate) fn check() -> Result<(), String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err("the guest runs this very binary and must be x86-64 Linux".into());
    }
    let version = Command::new(QEMU).arg("--version").stdin(Stdio::null()).output();
    version.map(drop).map_err(|error| format!("{QEMU}: {error}; install it with: apt-get install qemu-system-x86"))
}

/// Boots a kernel with an archive as its file system; gives what came over the serial line until the machine was off.
pub(crate) fn run(kernel: &Path, archive: &[u8], append: &str, patience: Duration) -> Result<String, String> {
    let initrd = Temporary::new(archive)?;
    let mut command = Command::new(QEMU);
    let memory = MEMORY + 3 * (archive.len() >> 20);
    command.args(MACHINE).args(["-m", &memory.to_string()]).arg("-kernel").arg(kernel).arg("-initrd").arg(&initrd.0);
    command.args(["-append", &format!("{COMMAND_LINE} {append}")]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut machine = Machine(command.spawn().map_err(|error| format!("{QEMU}: {error}"))?);
    let (sender, console) = mpsc::channel();
    for mut pipe in [machine.0.stdout.take().map(boxed), machine.0.stderr.take().map(boxed)].into_iter().flatten() {
        let sender = sender.clone();
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = pipe.read(&mut chunk) {
                if sender.send(chunk[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
    }
    drop(sender);
    let mut bytes = Vec::new();
    let start = std::time::Instant::now();
    loop {
        match console.recv_timeout(patience.saturating_sub(start.elapsed())) {
            Ok(chunk) => bytes.extend(chunk),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bytes.extend(format!("\nguest: not done after {patience:?}, switched off\n").into_bytes());
                break;
            }
        }
    }
    let text = String::from_utf8_lossy(&bytes).replace('\r', "");
    // What comes before is the firmware's, with commands to the terminal.
    let own = text.find("\nrunning 1 test").unwrap_or_default();
    Ok(text[own..].to_owned())
}

fn boxed(pipe: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    Box::new(pipe)
}

/// The running qemu; dropping it ends it.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A file that goes when it is dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new(content: &[u8]) -> Result<Self, String> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let file = Self(std::env::temp_dir().join(format!("pinhole-guest-{}-{number}.cpio", std::process::id())));
        fs::write(&file.0, content).map_err(|error| format!("{}: {error}", file.0.display()))?;
        Ok(file)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
