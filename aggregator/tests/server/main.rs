//! The real server on a port of its own, against raw WebSocket clients that
//! speak the protocol with made-up updates. Only `regression` and
//! `frozen` train.

mod access;
mod admin;
mod client_evaluation;
mod codecs;
mod command_line;
mod contract;
mod deployed;
mod estimated;
mod evaluated;
mod examples;
mod formats;
mod frozen;
mod gate;
mod health;
mod hostile;
mod hostile_load;
mod ledger;
mod limits;
mod manual;
mod masking_groups;
mod mint;
mod page;
mod participant;
mod private;
mod regression;
mod restart;
mod rounds;
mod routes;
mod scaffold;
mod startup;
mod support;
mod tls;
