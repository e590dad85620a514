//! A program that runs on a host, and ends with its handle.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// How long a dropped program may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(2);

/// A running program. Dropping it asks the program to end (SIGTERM), waits, and kills it if it does not.
///
/// It is killed too when the thread that started it ends, so start programs on a thread that lives long enough. Ctrl-C in
/// the terminal does not reach it: it has a process group of its own.
#[derive(Debug)]
pub struct Program {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Program {
    /// Starts `command`, which should be one of [`Host::command`](crate::Host::command).
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let die_with_parent = || {
            // SAFETY: a plain system call.
            match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        command.process_group(0);
        // SAFETY: the closure makes one system call, as a forked child may.
        unsafe { command.pre_exec(die_with_parent) };
        Ok(Self { child: command.spawn()?, ended: None })
    }

    /// The process, for its pipes and its number.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(self.pid()?, signal)?)
    }

    /// Asks it to end, waits, and kills it if it has not ended after `within`.
    ///
    /// # Errors
    /// When waiting fails.
    pub fn stop(&mut self, within: Duration) -> io::Result<ExitStatus> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        if self.child.try_wait()?.is_none() {
            let process = pidfd_open(self.pid()?, PidfdFlags::empty())?;
            self.signal(Signal::TERM)?;
            let timeout = Timespec { tv_sec: within.as_secs() as i64, tv_nsec: within.subsec_nanos().into() };
            if poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timeout))? == 0 {
                self.child.kill()?;
            }
        }
        let status = self.child.wait()?;
        self.ended = Some(status);
        Ok(status)
    }

    fn pid(&self) -> io::Result<Pid> {
        Pid::from_raw(self.child.id().cast_signed()).ok_or_else(|| io::Error::other("a process without a number"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Nothing is left to tell about a failure; the kernel kills it with this thread.
        let _ = self.stop(PATIENCE);
    }
}
