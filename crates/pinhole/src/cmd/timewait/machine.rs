//! The kernel under us: its version, its clock and its settings, and what they mean for a socket.

use std::net::IpAddr;

use anyhow::{Context, Result};
use pinhole_host::clock::{self, Jiffies};
use pinhole_host::sysctl::Settings;
use pinhole_timewait::capacity::{Kernel, Pool};
use pinhole_timewait::claim::Rules;
use pinhole_timewait::{Generation, Hz, TIMEWAIT_S, Version, timer_wheel};

/// `ip_local_port_range`, where it cannot be read.
const DEFAULT_RANGE: (u16, u16) = (32_768, 60_999);

/// What is known of it.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// What `uname -r` says.
    pub(super) release: String,
    pub(super) version: Version,
    pub(super) hz: Hz,
    pub(super) jiffies: Jiffies,
    pub(super) settings: Settings,
}

impl Machine {
    /// Finds it out.
    ///
    /// # Errors
    /// When the kernel's version is none.
    pub(super) fn find() -> Result<Self> {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let version = release.parse().with_context(|| format!("`{release}` is no kernel's version"))?;
        let hz = clock::hz().and_then(Hz::new).unwrap_or(Hz::HZ_250);
        Ok(Self { release, version, hz, jiffies: Jiffies::find(hz.get()), settings: Settings::read() })
    }

    /// Finds it out while `work` is done, as its clock takes some milliseconds of waiting.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub(super) fn find_during<T>(work: impl FnOnce() -> T) -> Result<(Self, T)> {
        std::thread::scope(|scope| {
            let machine = scope.spawn(Self::find);
            let done = work();
            let machine = machine.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok((machine, done))
        })
    }

    pub(super) fn generation(&self) -> Generation {
        self.version.generation()
    }

    pub(super) fn kernel(&self) -> Kernel {
        Kernel { generation: self.generation(), hz: self.hz }
    }

    /// What a TIME_WAIT socket is given, jiffies: a minute, where no vendor has made it a setting.
    pub(super) fn timeout_j(&self) -> u64 {
        self.hz.from_s(self.settings.tw_timeout_s.unwrap_or(TIMEWAIT_S))
    }

    /// What a FIN_WAIT_2 bucket is given, jiffies: of a timeout of more than a minute, what is above.
    pub(super) fn fin_timeout_j(&self) -> u64 {
        let timeout_s = self.settings.fin_timeout_s.unwrap_or(TIMEWAIT_S);
        self.hz.from_s(if timeout_s > TIMEWAIT_S { timeout_s - TIMEWAIT_S } else { timeout_s })
    }

    /// The granule of TIME_WAIT's timer, jiffies; one where timers are exact.
    pub(super) fn granule_j(&self) -> u64 {
        match self.generation() {
            Generation::Quantised => timer_wheel::granule_of(self.hz, self.timeout_j()),
            Generation::TimerPerSocket => 1,
            Generation::DeathRow => pinhole_timewait::death_row::period_j(self.hz),
        }
    }

    /// The ports that connect() may choose from, of which `blocked` are bound.
    pub(super) fn pool(&self, blocked: u32) -> Pool {
        let (low, high) = self.settings.port_range.unwrap_or(DEFAULT_RANGE);
        Pool { low, high, reserved: self.settings.reserved_in(low, high), blocked }
    }

    /// Where connect() takes the ports of dead connections (`tcp_tw_reuse`), to this address or to any, how old these must be,
    /// seconds.
    pub(super) fn reused_after_s(&self, to: Option<IpAddr>) -> Option<f64> {
        let is_on = match self.settings.tw_reuse.unwrap_or(Rules::defaults(self.version).tw_reuse) {
            0 => false,
            2 => to.is_some_and(|to| to.to_canonical().is_loopback()),
            _ => true,
        };
        (is_on && self.settings.timestamps != Some(0)).then(|| self.reuse_delay_ms() as f64 / 1000.0)
    }

    /// How old they must be where it is on, milliseconds.
    pub(super) fn reuse_delay_ms(&self) -> u64 {
        let rules = Rules::defaults(self.version);
        let delay_ms = self.settings.tw_reuse_delay_ms.unwrap_or(rules.tw_reuse_delay_ms);
        Rules { tw_reuse_delay_ms: delay_ms, ..rules }.reuse_delay_ms()
    }

    /// "60 to 62.048 s".
    pub(super) fn lasts(&self) -> String {
        use pinhole_timewait::lifetime::{Heat, Lifetime};
        let of = |heat| Lifetime::of(self.generation(), self.hz, heat);
        if let Some(seconds) = self.settings.tw_timeout_s.filter(|&seconds| seconds != TIMEWAIT_S) {
            let most = self.hz.to_s(self.timeout_j() + self.granule_j());
            return format!("{seconds} to {most:.3} s (net.ipv4.tcp_tw_timeout)");
        }
        match self.generation() {
            Generation::DeathRow => "52.5 to 60 s, on a busy machine 97.5 to 112.5 s".to_owned(),
            Generation::TimerPerSocket => "60 s".to_owned(),
            Generation::Quantised => format!("60 to {:.3} s", of(Heat::Cold).most_s),
        }
    }
}
