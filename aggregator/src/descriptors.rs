//! The division of the process's file descriptors: a reserve for the store, the
//! rest for connections. Pure: the numbers are arguments.

/// Descriptors reserved for files of the store, the config and the page.
const FILES: u64 = 32;
/// The same for each task: its model's file and folder while they are written.
const FILES_PER_TASK: u64 = 2;
/// Descriptors taken to be open where the system does not tell.
const OPEN: u64 = 64;

/// Demands among which the limit on descriptors is divided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demand {
    /// Most connections that the config allows.
    pub max_connections: usize,
    /// Connections beyond these that are turned away with an answer.
    pub turned_away: usize,
    /// Descriptors that are open before anything connects.
    pub open: Option<u64>,
    pub tasks: usize,
}

/// Connections for which there are descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Most connections at a time.
    pub connections: usize,
    /// The limit on descriptors that `max_connections` needs.
    pub needed: u64,
}

impl Demand {
    /// The share of connections under this limit; `None` is no limit. At least one
    /// connection is taken.
    pub(crate) fn share(self, limit: Option<u64>) -> Share {
        let others = self.open.unwrap_or(OPEN)
            + FILES
            + FILES_PER_TASK * self.tasks as u64
            + self.turned_away as u64;
        let needed = others.saturating_add(self.max_connections as u64);
        let left = limit.map_or(u64::MAX, |limit| limit.saturating_sub(others)).max(1);
        let connections = usize::try_from(left).unwrap_or(usize::MAX).min(self.max_connections);
        Share { connections, needed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMAND: Demand =
        Demand { max_connections: 10_000, turned_away: 32, open: Some(20), tasks: 3 };

    #[test]
    fn connections_leave_a_reserve() {
        let needed = 10_000 + 32 + 20 + 32 + 6;
        assert_eq!(DEMAND.share(None), Share { connections: 10_000, needed });
        assert_eq!(DEMAND.share(Some(needed)), Share { connections: 10_000, needed });
        assert_eq!(DEMAND.share(Some(needed - 1)), Share { connections: 9_999, needed });
        assert_eq!(DEMAND.share(Some(1024)), Share { connections: 934, needed });
        assert_eq!(DEMAND.share(Some(16)), Share { connections: 1, needed });
    }

    #[test]
    fn what_the_system_does_not_tell_is_taken_to_be_open() {
        let unknown = Demand { open: None, ..DEMAND };
        assert_eq!(unknown.share(Some(1024)).connections, 1024 - 134);
    }
}
