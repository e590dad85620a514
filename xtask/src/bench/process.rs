//! A program under measurement: started, asked for the CPU time it used, and ended with the value that holds it.
//!
//! CPU time is that of the whole tree below the process (nsd answers from a child), in ticks of 10 ms, so that a round of
//! some seconds is exact to a percent. Not for programs that leave their parent (daemonize).

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Ticks per second in /proc/PID/stat: `USER_HZ`, 100 on every architecture we run on.
const TICKS: f64 = 100.0;
/// How long a program may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at something that another program does without saying so.
const LOOK: Duration = Duration::from_millis(20);

/// A running program; dropped, it is ended.
pub(super) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with an open pipe as standard input; what it says goes to the file `log`.
    pub(super) fn start(command: &mut Command, log: PathBuf) -> Result<Self> {
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::piped()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        Ok(Self { child, log })
    }

    /// Tries `ready` until it is true; an error if that takes longer than `limit`, or if the program ends before.
    pub(super) fn wait(&mut self, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let begun = Instant::now();
        while !ready() {
            let said = || fs::read_to_string(&self.log).unwrap_or_default();
            if let Some(status) = self.child.try_wait()? {
                bail!("{status} before it was ready: {}", said());
            }
            if begun.elapsed() > limit {
                bail!("not ready after {limit:?}: {}", said());
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// CPU time used so far by it and all below it, in seconds.
    pub(super) fn cpu(&self) -> Result<f64> {
        let mut below: HashMap<u32, Vec<(u32, u64)>> = HashMap::new();
        let mut ticks = None;
        for entry in fs::read_dir("/proc")? {
            // A process may end between the listing and the reading.
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            let Some((parent, used)) = read_stat(&stat) else { continue };
            below.entry(parent).or_default().push((pid, used));
            if pid == self.child.id() {
                ticks = Some(used);
            }
        }
        let mut ticks = ticks.context("the program under measurement has ended")?;
        let mut open = vec![self.child.id()];
        while let Some(parent) = open.pop() {
            for (pid, used) in below.remove(&parent).unwrap_or_default() {
                ticks += used;
                open.push(pid);
            }
        }
        Ok(ticks as f64 / TICKS)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGTERM, so that it takes down what it made; whatever goes wrong here, the kill below ends it.
        let _ = Command::new("kill").arg(self.child.id().to_string()).stderr(Stdio::null()).status();
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(LOOK);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Parent and CPU ticks (user, system, and those of reaped children) in a line of /proc/PID/stat, proc_pid_stat(5).
fn read_stat(stat: &str) -> Option<(u32, u64)> {
    // The name in parentheses may hold anything; fields are counted from behind it: the first is the third, the state.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    let used = fields.get(11..15)?.iter().map(|ticks| ticks.parse::<u64>().ok()).sum::<Option<u64>>()?;
    Some((parent, used))
}

/// A directory of this run in the system's place for temporary files; dropped, it is removed.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// One that only we can read: there are keys in it.
    pub(super) fn new(bench: &str) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("pinhole-bench-{bench}-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Where cargo puts a release build.
pub(super) fn release() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| crate::workspace().join("target"), PathBuf::from);
    target.join("release")
}

/// The middle value, or the mean of the two in the middle; not a number if there is none.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    (at(values.len().saturating_sub(1) / 2) + at(values.len() / 2)) / 2.0
}

/// What `command` says, on either output; an error if it fails.
pub(super) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if !output.status.success() {
        bail!("{command:?} failed: {text}");
    }
    Ok(text)
}
