//! Source of a client's token: asked before every connection, since a token should not
//! live long. Nothing here prints one.

use std::fmt;
use std::future::{self, Future};
use std::rc::Rc;

use fedra_protocol::Token;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use crate::callback::CallbackError;

type Answer = Result<Option<Token>, CallbackError>;

/// A source of tokens.
#[derive(Clone)]
pub struct TokenSource(Rc<dyn Fn() -> LocalBoxFuture<'static, Answer>>);

impl TokenSource {
    /// No token, for tasks that are open to all clients.
    pub fn none() -> Self {
        Self(Rc::new(|| future::ready(Ok(None)).boxed_local()))
    }

    /// Always the same one.
    pub fn fixed(token: Token) -> Self {
        Self(Rc::new(move || future::ready(Ok(Some(token.clone()))).boxed_local()))
    }

    /// Asks `ask` each time. After an error the client asks again later.
    pub fn new<F>(ask: impl Fn() -> F + 'static) -> Self
    where
        F: Future<Output = Result<Token, CallbackError>> + 'static,
    {
        Self(Rc::new(move || {
            let asking = ask();
            async move { asking.await.map(Some) }.boxed_local()
        }))
    }

    /// A token for the next connection; `None` if the task needs none.
    ///
    /// # Errors
    ///
    /// Reason why there is none though there should be.
    pub(crate) fn get(&self) -> LocalBoxFuture<'static, Answer> {
        (self.0)()
    }
}

impl Default for TokenSource {
    fn default() -> Self {
        Self::none()
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSource")
    }
}
