//! Admission of a check-in: the task, whether the client may take part in it, and its
//! place among the task's clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use fedra_coordinator::messages::{Command, ConnectionId, Departure, Leave};
use fedra_coordinator::participation::Participation;
use fedra_coordinator::session::{Admitted, CheckIn};
use fedra_protocol::{Refusal, RefusalCode};
use std::net::IpAddr;
use tokio::sync::mpsc;

use super::End;
use crate::access::{self, TaskSlot};
use crate::server::Server;
use crate::task::{Message, Task};

/// Time for which a client stays away from a task that could not start.
const SET_ASIDE: Duration = Duration::from_secs(300);

/// A connection's place among its task's clients. Dropping it tells the task's core.
pub(super) struct Membership {
    pub(super) task: Arc<Task>,
    leave: LeaveOnDrop,
    /// Its place among those that the task lets in.
    _slot: TaskSlot,
}

impl Membership {
    /// Gives the participation back.
    pub(super) fn leave(mut self, departure: Departure, participation: Participation) {
        self.leave.take(departure, participation);
    }
}

/// Notice to the core that the connection has left: sent once, at the latest on drop.
struct LeaveOnDrop {
    connection: ConnectionId,
    /// Reserved at the check-in, so that leaving never waits.
    permit: Option<mpsc::OwnedPermit<Message>>,
}

impl LeaveOnDrop {
    fn take(&mut self, departure: Departure, participation: Participation) {
        if let Some(permit) = self.permit.take() {
            let leave = Leave { connection: self.connection, departure, participation };
            permit.send(Message::Command(Box::new(Command::Leave(leave))));
        }
    }
}

impl Drop for LeaveOnDrop {
    fn drop(&mut self) {
        self.take(Departure::Lost, Participation::default());
    }
}

/// Admits a check-in, or says why not.
pub(super) async fn admit(
    check_in: CheckIn,
    address: IpAddr,
    server: &Server,
) -> Result<(Membership, Admitted), End> {
    let id = &check_in.task;
    let Some(task) = server.task(id) else {
        let refusal = if server.set_aside.reason(id).is_some() {
            set_aside()
        } else {
            let message = format!("there is no task {id} on this server");
            Refusal { code: RefusalCode::UnknownTask, message, retry_after: None }
        };
        return Err(End::Refused(refusal));
    };
    check_in.check_capabilities(&task.settings).map_err(End::Refused)?;
    let CheckIn { subject, token, .. } = check_in;
    let now = SystemTime::now();
    let admitted =
        server.access.admit(&task.settings.id, &task.access, token.as_ref(), subject, address, now);
    let access::AdmittedClient { subject, slot } =
        admitted.map_err(|denied| End::Refused(denied.into()))?;
    let permit = task.messages.clone().reserve_owned().await.map_err(|_| End::GoingAway)?;
    let connection = next_connection();
    let admitted = Admitted {
        connection,
        subject,
        settings: Arc::clone(&task.settings),
        metrics: task.metrics.clone(),
        view: task.view.borrow().clone(),
        now: task.now(),
    };
    let leave = LeaveOnDrop { connection, permit: Some(permit) };
    Ok((Membership { task, leave, _slot: slot }, admitted))
}

fn next_connection() -> ConnectionId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    ConnectionId(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Refusal of a task that could not start. It may after the server's next start.
fn set_aside() -> Refusal {
    Refusal {
        code: RefusalCode::Overloaded,
        message: "the server could not start this task; its operator has been told. Try again \
                  later"
            .to_owned(),
        retry_after: Some(SET_ASIDE),
    }
}
