//! Addresses below `/v1/admin/`, and the method that each answers.

use http::Method;

use fedra_coordinator::round::Operation;

/// Address below `/v1/admin/`, with the name of its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Status,
    Tasks,
    Task(&'a str),
    Export(&'a str),
    Operate(&'a str, Operation),
    RollBack(&'a str),
}

impl<'a> Route<'a> {
    /// The address with this path, if there is one.
    pub(super) fn of(path: &'a str) -> Option<Self> {
        let path: Vec<&str> = path.split('/').collect();
        Some(match path.as_slice() {
            ["status"] => Self::Status,
            ["tasks"] => Self::Tasks,
            ["tasks", id] => Self::Task(id),
            ["tasks", id, "export"] => Self::Export(id),
            ["tasks", id, "pause"] => Self::Operate(id, Operation::Pause),
            ["tasks", id, "resume"] => Self::Operate(id, Operation::Resume),
            ["tasks", id, "stop"] => Self::Operate(id, Operation::Stop),
            ["tasks", id, "rollback"] => Self::RollBack(id),
            _ => return None,
        })
    }

    /// Its methods, as in `Allow`.
    pub(super) fn methods(self) -> &'static str {
        if self.is_read() { "GET, HEAD, OPTIONS" } else { "POST, OPTIONS" }
    }

    /// True if the address answers this method, beside OPTIONS.
    pub(super) fn takes(self, method: &Method) -> bool {
        if self.is_read() {
            // The head of an answer to GET; its body is not sent.
            method == Method::GET || method == Method::HEAD
        } else {
            method == Method::POST
        }
    }

    fn is_read(self) -> bool {
        matches!(self, Self::Status | Self::Task(_) | Self::Export(_))
    }
}
