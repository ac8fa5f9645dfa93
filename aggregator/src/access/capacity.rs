//! The clients that are checked in to each task, against the task's limits on
//! how many there may be, in all and from one address.
//!
//! A subject counts once: its later connection takes the place of its earlier
//! one, and for a moment there are both.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fedra_protocol::{SubjectId, TaskId};

use super::address::Block;

/// Most clients of a task; `None` is no limit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CapacityLimits {
    pub all: Option<usize>,
    pub each: Option<usize>,
}

/// The limit that a client exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    All,
    Block,
}

/// Checked-in clients by task.
#[derive(Debug, Default)]
pub(super) struct TaskCapacity {
    tasks: Mutex<HashMap<TaskId, Clients>>,
}

#[derive(Debug, Default)]
struct Clients {
    count: usize,
    blocks: HashMap<Block, usize>,
    subjects: HashMap<SubjectId, Connections>,
}

/// The connections of one subject, and the block that the first came from.
#[derive(Debug)]
struct Connections {
    count: usize,
    block: Block,
}

/// A client's place in a task; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct TaskSlot {
    capacity: Arc<TaskCapacity>,
    task: TaskId,
    block: Block,
    subject: Option<SubjectId>,
}

impl TaskCapacity {
    pub(super) fn enter(
        self: &Arc<Self>,
        task: &TaskId,
        subject: Option<SubjectId>,
        block: Block,
        limits: CapacityLimits,
    ) -> Result<TaskSlot, Full> {
        let mut tasks = self.lock();
        let clients = tasks.entry(task.clone()).or_default();
        let known = subject.and_then(|subject| clients.subjects.get_mut(&subject));
        if let Some(connections) = known {
            connections.count += 1;
        } else {
            clients.admit(block, limits)?;
            if let Some(subject) = subject {
                clients.subjects.insert(subject, Connections { count: 1, block });
            }
        }
        drop(tasks);
        Ok(TaskSlot { capacity: Arc::clone(self), task: task.clone(), block, subject })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TaskId, Clients>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clients {
    fn admit(&mut self, block: Block, limits: CapacityLimits) -> Result<(), Full> {
        if limits.all.is_some_and(|most| self.count >= most) {
            return Err(Full::All);
        }
        let here = self.blocks.get(&block).copied().unwrap_or(0);
        if limits.each.is_some_and(|most| here >= most) {
            return Err(Full::Block);
        }
        self.count += 1;
        self.blocks.insert(block, here + 1);
        Ok(())
    }

    fn leave(&mut self, mut block: Block, subject: Option<SubjectId>) {
        if let Some(subject) = subject
            && let Some(connections) = self.subjects.get_mut(&subject)
        {
            connections.count -= 1;
            if connections.count > 0 {
                return;
            }
            block = connections.block;
            self.subjects.remove(&subject);
        }
        self.count -= 1;
        match self.blocks.get_mut(&block) {
            Some(here) if *here > 1 => *here -= 1,
            _ => {
                self.blocks.remove(&block);
            }
        }
    }
}

impl Drop for TaskSlot {
    fn drop(&mut self) {
        let mut tasks = self.capacity.lock();
        if let Some(clients) = tasks.get_mut(&self.task) {
            clients.leave(self.block, self.subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Block = Block::V4(1);
    const THERE: Block = Block::V4(2);

    fn enter(
        capacity: &Arc<TaskCapacity>,
        subject: Option<u8>,
        block: Block,
    ) -> Result<TaskSlot, Full> {
        let task = TaskId::new("tiny").expect("valid");
        let subject = subject.map(|byte| SubjectId::from_bytes([byte; 16]));
        let limits = CapacityLimits { all: Some(3), each: Some(2) };
        capacity.enter(&task, subject, block, limits)
    }

    #[test]
    fn limits_hold_in_all_and_for_each_block() {
        let capacity = Arc::new(TaskCapacity::default());
        let first = enter(&capacity, None, HERE).expect("room");
        let second = enter(&capacity, Some(1), HERE).expect("room");
        assert_eq!(enter(&capacity, None, HERE).expect_err("full"), Full::Block);
        let third = enter(&capacity, Some(2), THERE).expect("room");
        assert_eq!(enter(&capacity, None, THERE).expect_err("full"), Full::All);
        drop(first);
        let fourth = enter(&capacity, None, HERE).expect("room again");
        drop((second, third, fourth));
        let tasks = capacity.lock();
        let left = tasks.values().next().expect("the task");
        assert_eq!((left.count, left.blocks.len(), left.subjects.len()), (0, 0, 0));
    }

    #[test]
    fn a_subject_that_comes_again_counts_once() {
        let capacity = Arc::new(TaskCapacity::default());
        let other = enter(&capacity, None, HERE).expect("room");
        let earlier = enter(&capacity, Some(1), HERE).expect("room");
        // Both limits are reached here, and the subject may move all the same.
        let later = enter(&capacity, Some(1), THERE).expect("the same client");
        drop(earlier);
        assert_eq!(enter(&capacity, None, HERE).expect_err("full"), Full::Block);
        drop(later);
        let again = enter(&capacity, None, HERE).expect("the place of the subject");
        drop((other, again));
        assert_eq!(capacity.lock().values().next().expect("the task").count, 0);
    }

    #[test]
    fn another_task_has_its_own_places() {
        let capacity = Arc::new(TaskCapacity::default());
        let limits = CapacityLimits { all: Some(1), each: None };
        let task = |id| TaskId::new(id).expect("valid");
        let _first = capacity.enter(&task("one"), None, HERE, limits).expect("room");
        let _other = capacity.enter(&task("two"), None, HERE, limits).expect("room");
        assert!(capacity.enter(&task("one"), None, THERE, limits).is_err());
    }
}
