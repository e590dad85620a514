//! Runs a test inside a guest: Debian's cloud kernel under qemu's software emulation, up in some 2 s, with the modules that
//! the running kernel may lack, the kernel's own WireGuard first of all.
//!
//! The model: a test calls [`Guest::run`] with what is to happen inside. Outside, that packs the very test binary that is
//! running into an initial file system as its `/init`, boots it with the name of the test as argument, and reads the serial
//! console until the guest is off. Inside, where the same test comes to the same line, it mounts what Linux needs, loads the
//! modules and does the work. So a guest test is ordinary Rust in one place and needs nothing in the guest but itself.
//!
//! Outside it takes an x86-64 Linux with qemu and, for the kernel, Debian's `apt-get` and `dpkg-deb`; where something is
//! missing, the test is skipped in words that name it. No shell, no busybox, no network device; correctness only: emulation
//! is 20 times slower than the machine.

mod cpio;
mod init;
mod kernel;
mod machine;
mod programs;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kernel::Kernel;

/// Set inside the guest, by the kernel's command line.
const INSIDE: &str = "PINHOLE_GUEST";
/// What the guest says last when the work came to its end.
const VERDICT: &str = "guest: the work is done";
/// A guest test takes 5 to 15 s on an idle machine and three times that on a busy one; what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// A guest to be.
#[derive(Clone, Debug)]
pub struct Guest<'a> {
    test: &'a str,
    modules: Vec<&'a str>,
    files: Vec<(PathBuf, &'a str)>,
    variables: Vec<(&'a str, String)>,
    patience: Duration,
}

/// Whether this runs in a guest, where all is slow.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

impl<'a> Guest<'a> {
    /// A guest for the test with this name, as the test binary's own `--exact` takes it (`module::function`).
    pub fn new(test: &'a str) -> Self {
        Self { test, modules: Vec::new(), files: Vec::new(), variables: Vec::new(), patience: PATIENCE }
    }

    /// Loads these kernel modules, and first those they depend on; what is built into the kernel is there anyway.
    #[must_use]
    pub fn modules(mut self, names: &[&'a str]) -> Self {
        self.modules.extend(names);
        self
    }

    /// Puts a file, and if it is a program the libraries it needs, into the guest at the absolute path `inside`.
    #[must_use]
    pub fn file(mut self, outside: &Path, inside: &'a str) -> Self {
        self.files.push((outside.to_owned(), inside));
        self
    }

    /// Sets an environment variable for the work; without spaces, as it goes there on the kernel's command line.
    #[must_use]
    pub fn variable(mut self, name: &'a str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// For work that takes long: how long the guest may run, rather than three minutes.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs `work` inside. Outside, gives all that the guest printed, or `None`, with the reason on standard error, where no
    /// guest can be had. Inside, it does not return: the guest is switched off.
    ///
    /// # Panics
    /// Outside, when the work panicked, or the guest did not come to the end of it; with the guest's console.
    pub fn run(self, work: impl FnOnce()) -> Option<String> {
        if is_inside() {
            init::run(work);
        }
        match self.boot() {
            Ok(console) => {
                assert!(console.contains(VERDICT), "the work in the guest failed; its console:\n{console}");
                Some(console)
            }
            Err(reason) => {
                // Past the test harness, which keeps what a passing test prints to itself.
                let _ = writeln!(std::io::stderr(), "SKIP: no guest for {}: {reason}", self.test);
                None
            }
        }
    }

    /// The guest's console, or why there is no guest.
    fn boot(&self) -> Result<String, String> {
        machine::check()?;
        let kernel = Kernel::provide()?;
        let mut archive = cpio::Archive::new();
        let this = std::env::current_exe().map_err(|error| format!("the test's own program: {error}"))?;
        programs::add(&mut archive, &this, "/init")?;
        for (outside, inside) in &self.files {
            programs::add(&mut archive, outside, inside)?;
        }
        for (at, module) in kernel.modules(&self.modules)?.iter().enumerate() {
            programs::add_file(&mut archive, module, &format!("{}/{at:03}", init::MODULES))?;
        }
        // No backtraces: to read the debug information takes the guest longer than the test.
        let variables: String = self.variables.iter().map(|(name, value)| format!("{name}={value} ")).collect();
        let append = format!("{INSIDE}=1 RUST_BACKTRACE=0 {variables}-- {} --exact --nocapture", self.test);
        machine::run(&kernel.image, &archive.finish(), &append, self.patience)
    }
}
