//! Settings of the kernel that TIME_WAIT depends on, of the calling thread's network namespace.
//!
//! A file that is not there is `None`: an older kernel, a newer one, or one that a sandbox hides. Nothing here writes.

use std::fs;
use std::io;

/// What `net.ipv4` says of TCP's end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `tcp_timestamps`: 0 off, 1 on, 2 on without a random offset.
    pub timestamps: Option<u8>,
    /// `tcp_tw_reuse`.
    pub tw_reuse: Option<u8>,
    /// `tcp_tw_reuse_delay`, ms (since 6.14).
    pub tw_reuse_delay_ms: Option<u64>,
    /// `tcp_tw_recycle` (until 4.11).
    pub tw_recycle: Option<u8>,
    /// `tcp_tw_timeout`, seconds: some vendors' kernels have it, and then a minute is not a minute.
    pub tw_timeout_s: Option<u64>,
    /// `tcp_fin_timeout`, seconds.
    pub fin_timeout_s: Option<u64>,
    /// `tcp_max_tw_buckets`.
    pub max_tw_buckets: Option<u64>,
    /// `tcp_rfc1337`.
    pub rfc1337: Option<u8>,
    /// `ip_autobind_reuse`.
    pub autobind_reuse: Option<u8>,
    /// `ip_local_port_range`.
    pub port_range: Option<(u16, u16)>,
    /// `ip_local_reserved_ports`, as ranges.
    pub reserved: Vec<(u16, u16)>,
    /// `nf_conntrack_tcp_timeout_time_wait`, seconds, if connections are tracked here.
    pub conntrack_time_wait_s: Option<u64>,
}

impl Settings {
    /// Reads them.
    pub fn read() -> Self {
        let ipv4 = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok();
        let conntrack = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait").ok();
        Self {
            timestamps: number(ipv4("tcp_timestamps")),
            tw_reuse: number(ipv4("tcp_tw_reuse")),
            tw_reuse_delay_ms: number(ipv4("tcp_tw_reuse_delay")),
            tw_recycle: number(ipv4("tcp_tw_recycle")),
            tw_timeout_s: number(ipv4("tcp_tw_timeout")),
            fin_timeout_s: number(ipv4("tcp_fin_timeout")),
            max_tw_buckets: number(ipv4("tcp_max_tw_buckets")),
            rfc1337: number(ipv4("tcp_rfc1337")),
            autobind_reuse: number(ipv4("ip_autobind_reuse")),
            port_range: ipv4("ip_local_port_range").as_deref().and_then(pair),
            reserved: ipv4("ip_local_reserved_ports").as_deref().map(ranges).unwrap_or_default(),
            conntrack_time_wait_s: number(conntrack),
        }
    }

    /// How many ports of the range are reserved.
    pub fn reserved_in(&self, low: u16, high: u16) -> u32 {
        let within = self.reserved.iter().map(|&(from, to)| (from.max(low), to.min(high)));
        within.filter(|(from, to)| from <= to).map(|(from, to)| u32::from(to - from) + 1).sum()
    }
}

/// The counters of this namespace that tell what became of TIME_WAIT sockets (`/proc/net/netstat`), and how many there are
/// (`/proc/net/sockstat`, FIN_WAIT_2 without a socket included).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// `TCP: … tw N`, of the machine's first namespace or of this one, as the kernel counts.
    pub sockets: Option<u64>,
    /// TW: ended by their timers.
    pub expired: Option<u64>,
    /// TWRecycled: taken by a new connection of ours.
    pub recycled: Option<u64>,
    /// TWKilled: ended by their timers, too, but had asked for four seconds at most. What an RST ends is not counted.
    pub killed: Option<u64>,
    /// TCPTimeWaitOverflow: more than `tcp_max_tw_buckets`, so closed at once.
    pub overflow: Option<u64>,
    /// PAWSTimewait (since 6.14): refused by timestamp in TIME_WAIT, which starts the minute anew.
    pub paws: Option<u64>,
    /// PAWSEstab: the same of live connections, and before 6.14 of dead ones, too.
    pub paws_of_all: Option<u64>,
    /// TCPACKSkippedTimeWait: answers that were left out, one in half a second is enough.
    pub skipped_acks: Option<u64>,
}

impl Counters {
    /// Reads them.
    ///
    /// # Errors
    /// When `/proc/net` cannot be read.
    pub fn read() -> io::Result<Self> {
        let netstat = fs::read_to_string("/proc/thread-self/net/netstat")?;
        let sockstat = fs::read_to_string("/proc/thread-self/net/sockstat")?;
        let of = |name: &str| counter(&netstat, "TcpExt:", name);
        Ok(Self {
            sockets: sockets(&sockstat),
            expired: of("TW"),
            recycled: of("TWRecycled"),
            killed: of("TWKilled"),
            overflow: of("TCPTimeWaitOverflow"),
            paws: of("PAWSTimewait"),
            paws_of_all: of("PAWSEstab"),
            skipped_acks: of("TCPACKSkippedTimeWait"),
        })
    }
}

fn number<T: std::str::FromStr>(text: Option<String>) -> Option<T> {
    text?.trim().parse().ok()
}

fn pair(text: &str) -> Option<(u16, u16)> {
    let mut words = text.split_whitespace().map(str::parse);
    Some((words.next()?.ok()?, words.next()?.ok()?))
}

/// "80,8000-8010".
fn ranges(text: &str) -> Vec<(u16, u16)> {
    let range = |word: &str| {
        let (from, to) = word.split_once('-').unwrap_or((word, word));
        Some((from.trim().parse().ok()?, to.trim().parse().ok()?))
    };
    text.trim().split(',').filter_map(range).collect()
}

/// The kernel writes a line of names and a line of numbers, both with the group's name first.
fn counter(text: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(group));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|word| word == name)?;
    numbers.split_whitespace().nth(at)?.parse().ok()
}

fn sockets(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace().skip_while(|&word| word != "tw");
    words.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_the_kernel_writes_them() {
        assert_eq!(pair("32768\t60999\n"), Some((32_768, 60_999)));
        assert_eq!(ranges("80,8000-8010\n"), [(80, 80), (8000, 8010)]);
        assert_eq!((ranges("\n"), pair("1")), (vec![], None));
        let netstat = "TcpExt: SyncookiesSent TW TWKilled\nTcpExt: 1 22 3\nIpExt: TW\nIpExt: 9\n";
        assert_eq!((counter(netstat, "TcpExt:", "TW"), counter(netstat, "TcpExt:", "No")), (Some(22), None));
        assert_eq!(sockets("sockets: used 5\nTCP: inuse 1 orphan 0 tw 44 alloc 1 mem 3\n"), Some(44));
    }

    #[test]
    fn reserved_ports_count_where_they_are_in_the_range() {
        let settings = Settings { reserved: vec![(80, 80), (32_000, 32_777), (60_999, 61_005)], ..Settings::default() };
        assert_eq!(settings.reserved_in(32_768, 60_999), 11);
        assert_eq!(settings.reserved_in(5, 4), 0);
    }

    #[test]
    fn this_kernel_has_the_settings() {
        let settings = Settings::read();
        assert!(settings.fin_timeout_s.is_some() && settings.port_range.is_some(), "{settings:?}");
        assert!(Counters::read().expect("readable").expired.is_some());
    }
}
