//! The tables of the database and how entries look in them. It opens nothing.

use std::ops::RangeInclusive;

use fedra_protocol::TaskId;
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::Serialize;

/// A table with one entry for each task.
pub(in crate::storage) type OfTask = TableDefinition<'static, &'static str, &'static [u8]>;
/// A table whose entries are numbered within each task.
pub(in crate::storage) type Numbered = TableDefinition<'static, (&'static str, u64), &'static [u8]>;
/// A table of models' hashes by task and round.
pub(in crate::storage) type Hashes =
    TableDefinition<'static, (&'static str, u64), &'static [u8; 32]>;

/// Task id -> its model specification, JSON.
pub(in crate::storage) const TASKS: OfTask = TableDefinition::new("tasks");
/// (task id, round) -> [`RoundRecord`](crate::storage::RoundRecord), JSON.
pub(in crate::storage) const ROUNDS: Numbered = TableDefinition::new("rounds");
/// (task id, round) -> the hash of its model, as long as that is kept.
pub(in crate::storage) const KEPT: Hashes = TableDefinition::new("kept_models");
/// (task id, round) -> the hash of its model, which should be kept, but was damaged
/// or gone. If it is put back it is kept again.
pub(in crate::storage) const SET_ASIDE: Hashes = TableDefinition::new("models_set_aside");
/// Task id -> its privacy policy, JSON, for tasks that have one.
pub(in crate::storage) const POLICIES: OfTask = TableDefinition::new("privacy_policies");
/// (task id, number) -> [`Debit`](crate::storage::Debit), JSON.
pub(in crate::storage) const DEBITS: Numbered = TableDefinition::new("privacy_debits");
/// Task id -> its secret.
pub(in crate::storage) const SECRETS: TableDefinition<'static, &'static str, &'static [u8; 32]> =
    TableDefinition::new("secrets");
/// (task id, number) -> [`Decision`](crate::storage::Decision), JSON.
pub(in crate::storage) const DECISIONS: Numbered = TableDefinition::new("decisions");
/// Task id -> its section of a config, TOML, for tasks added by an operator.
pub(in crate::storage) const ADDED: TableDefinition<'static, &'static str, &'static str> =
    TableDefinition::new("added_tasks");
/// Task id -> number of its leader.
pub(in crate::storage) const EPOCHS: TableDefinition<'static, &'static str, u64> =
    TableDefinition::new("epochs");
/// "format" -> version of this layout.
pub(in crate::storage) const META: TableDefinition<'static, &'static str, u64> =
    TableDefinition::new("meta");

/// The version of this layout. Tables may be added without a new one.
pub(in crate::storage) const FORMAT: u64 = 1;

/// Makes the tables that are not there yet; returns the format.
pub(in crate::storage) fn make(transaction: &WriteTransaction) -> Result<u64, redb::Error> {
    transaction.open_table(TASKS)?;
    transaction.open_table(ROUNDS)?;
    transaction.open_table(KEPT)?;
    transaction.open_table(SET_ASIDE)?;
    transaction.open_table(POLICIES)?;
    transaction.open_table(DEBITS)?;
    transaction.open_table(SECRETS)?;
    transaction.open_table(DECISIONS)?;
    transaction.open_table(ADDED)?;
    transaction.open_table(EPOCHS)?;
    let mut meta = transaction.open_table(META)?;
    let format = meta.get("format")?.map(|format| format.value());
    if format.is_none() {
        meta.insert("format", FORMAT)?;
    }
    Ok(format.unwrap_or(FORMAT))
}

/// The keys of a task in a table that numbers its entries.
pub(in crate::storage) fn all_of(task: &TaskId) -> RangeInclusive<(&str, u64)> {
    (task.as_str(), 0)..=(task.as_str(), u64::MAX)
}

/// Adds an entry after a task's last one.
pub(in crate::storage) fn append<T: Serialize>(
    table: &mut Table<'_, (&'static str, u64), &'static [u8]>,
    task: &TaskId,
    entry: &T,
) -> Result<(), redb::Error> {
    let last = table.range(all_of(task))?.next_back().transpose()?;
    let number = last.map_or(0, |(key, _)| key.value().1 + 1);
    table.insert((task.as_str(), number), json(entry).as_slice())?;
    Ok(())
}

pub(in crate::storage) fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("records are plain data with text keys")
}
