//! Secrets of tasks, apart from their records: they may have a keeper of their own.

use fedra_protocol::TaskId;

use super::StoreError;

/// Durable secrets of all tasks.
pub trait SecretStore: Send + Sync + 'static {
    /// The task's secret, from which noise is derived: `fresh` at the first call, the same
    /// again at every later one, whichever server makes it.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be read or written.
    fn secret(&self, task: &TaskId, fresh: [u8; 32]) -> Result<[u8; 32], StoreError>;
}
