//! The real server on a port of its own, against raw WebSocket clients that
//! speak the protocol with made-up updates. Nothing is trained here.

mod evaluated;
mod hostile;
mod hostile_load;
mod ledger;
mod manual;
mod private;
mod restart;
mod rounds;
mod routes;
mod support;
