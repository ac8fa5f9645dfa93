//! `fedra-load`: what an aggregator has to stand. Thousands of clients that are
//! connected and do nothing, or hostile ones. `cargo xtask load` and `cargo xtask
//! hostile` start it beside the aggregator that they measure.
//!
//! It trains nothing and judges nothing: it prints a line a second about its
//! connections, and the measuring is done elsewhere. Only for aggregators on this
//! machine: it knows no other address than loopback.

mod attack;
mod bridge;
mod certificate;
mod idle;
mod target;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use fedra_protocol::TaskId;

use crate::attack::Kind;
use crate::target::{Target, Visitors};

/// Load for an aggregator on this machine.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check clients in that are never selected, and keep them until SIGTERM.
    /// Prints `connected N lost N` once a second.
    Idle {
        #[command(flatten)]
        whom: Whom,
        /// Number of connections.
        #[arg(long)]
        connections: usize,
        /// Most new connections a second.
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
        rate: u32,
    },
    /// Do what hostile clients do for a while. Prints `opened N closed N` once a second.
    Attack {
        kind: Kind,
        #[command(flatten)]
        whom: Whom,
        /// Number of connections at the same time.
        #[arg(long)]
        connections: usize,
        /// Most new connections a second.
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
        rate: u32,
        /// For how long.
        #[arg(long)]
        seconds: u64,
    },
    /// Take connections without TLS and pass them on with TLS, until SIGTERM: for
    /// clients that cannot be given a certificate to trust.
    Bridge {
        /// The port to listen on, on 127.0.0.1.
        #[arg(long)]
        listen: u16,
        /// The aggregator's port on 127.0.0.1.
        #[arg(long)]
        port: u16,
        /// The certificate to trust, and no other (PEM).
        #[arg(long, value_name = "FILE")]
        trust: PathBuf,
    },
    /// Write a certificate for loopback and its private key, as PEM files.
    Certificate {
        #[arg(long)]
        certificate: PathBuf,
        #[arg(long)]
        private_key: PathBuf,
    },
}

/// The aggregator, and from where it is talked to.
#[derive(Args)]
struct Whom {
    /// Its port on 127.0.0.1.
    #[arg(long)]
    port: u16,
    #[arg(long)]
    task: TaskId,
    /// Speak TLS, and trust this certificate alone (PEM).
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// Connect from this number of addresses, 127.0.0.2 and on.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=200))]
    addresses: u8,
}

impl Whom {
    fn visitors(&self) -> anyhow::Result<Arc<Visitors>> {
        let target = Target::new(self.port, self.trust.as_deref())?;
        let (task, addresses) = (self.task.clone(), self.addresses);
        Ok(Arc::new(Visitors { target, task, addresses }))
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fedra-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    // One thread: the cores belong to the aggregator.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match command {
        Command::Idle { whom, connections, rate } => {
            runtime.block_on(idle::run(whom.visitors()?, connections, rate))
        }
        Command::Attack { kind, whom, connections, rate, seconds } => {
            let time = Duration::from_secs(seconds);
            runtime.block_on(attack::run(kind, whom.visitors()?, connections, rate, time))
        }
        Command::Bridge { listen, port, trust } => {
            runtime.block_on(bridge::run(listen, Arc::new(Target::new(port, Some(&trust))?)))
        }
        Command::Certificate { certificate, private_key } => {
            certificate::write(&certificate, &private_key)
        }
    }
}

/// Resolves at ctrl-c, and where there is such a thing at SIGTERM.
pub(crate) async fn stop_signal() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
