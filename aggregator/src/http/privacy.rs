//! `/v1/tasks/{id}/privacy/ledger`: what a task's privacy budget has paid for,
//! one JSON object a line. How many took part is told, not who.

use std::sync::Arc;

use fedra_http_api::LedgerEntry;
use fedra_protocol::TaskId;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use super::problem::{not_found, problem, unavailable};
use super::reading::read;
use super::{from_disk, uncached};
use crate::server::Server;
use fedra_coordinator::storage::{Debit, Storage, StoreError};

/// An entry of the ledger without its subjects.
fn entry(debit: &Debit) -> LedgerEntry {
    let Debit { round, attempt, unix_seconds, rho, .. } = *debit;
    LedgerEntry { round, attempt, unix_seconds, rho, subjects: debit.subjects.len() as u64 }
}

pub(super) fn routes(server: &Arc<Server>) -> BoxedFilter<(Response,)> {
    let server = Arc::clone(server);
    warp::path!("v1" / "tasks" / String / "privacy" / "ledger")
        .and(read())
        .then(move |id: String| ledger(Arc::clone(&server), id))
        .boxed()
}

async fn ledger(server: Arc<Server>, id: String) -> Response {
    let task = TaskId::new(id).ok().filter(|id| server.task(id).is_some());
    let Some(task) = task else { return not_found("there is no task of this name") };
    let store = server.store.clone();
    match from_disk(move || lines(&store, &task)).await {
        Ok(Ok(lines)) => {
            let reply = warp::reply::with_header(lines, "content-type", "application/jsonl");
            uncached(reply.into_response())
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "the privacy ledger cannot be read");
            problem(http::StatusCode::INTERNAL_SERVER_ERROR, "the ledger cannot be read")
        }
        // Only when the server's runtime is shutting down.
        Err(_) => unavailable("the server is going away"),
    }
}

fn lines(store: &Storage, task: &TaskId) -> Result<String, StoreError> {
    let debits = store.tasks.debits(task)?;
    let line = |debit: &Debit| {
        let json = serde_json::to_string(&entry(debit));
        json.expect("an entry is plain numbers") + "\n"
    };
    Ok(debits.iter().map(line).collect())
}
