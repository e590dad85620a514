//! What `conntrack -S` shows (`struct ip_conntrack_stat`).

/// Counters since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Packets that are INVALID.
    pub invalid: u64,
    /// Flows that were put in the table.
    pub insert: u64,
    /// New flows that could not be put there, because another one has their tuple.
    pub insert_failed: u64,
    /// Packets that were dropped because of that, or because the table was full.
    pub drop: u64,
    /// Flows that made way for new ones.
    pub early_drop: u64,
    /// ICMP errors that are INVALID.
    pub error: u64,
    /// Clashes that were resolved.
    pub clash_resolve: u64,
    /// Events that nobody fetched in time.
    pub events_lost: u64,
}
