//! `fedra-aggregator serve`: logging and the listener around the library's server.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use clap::ValueEnum;
use fedra_aggregator::config::{Config, stray_variables};
use fedra_aggregator::{Signals, run};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

use super::check::explain;

/// Format of log lines.
#[derive(Clone, Copy, ValueEnum)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Runs the server until it is told to stop.
pub fn serve(path: &Path, log_format: LogFormat) -> ExitCode {
    start_logging(log_format);
    for warning in stray_variables() {
        tracing::warn!("{warning}");
    }
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(mistakes) => return explain(&mistakes),
    };
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            runtime.block_on(async {
                let address = config.server.listen;
                let listener = TcpListener::bind(address)
                    .await
                    .map_err(|error| anyhow::anyhow!("cannot listen on {address}: {error}"))?;
                Ok(run(config, listener, Signals::of_process(path.to_owned())).await?)
            })
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fedra-aggregator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start_logging(format: LogFormat) {
    let wanted = std::env::var("RUST_LOG").ok().filter(|wanted| !wanted.is_empty());
    let wanted = wanted.unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::try_new(&wanted).unwrap_or_else(|error| {
        eprintln!("fedra-aggregator: RUST_LOG is {wanted:?}: {error}; the log is at info");
        EnvFilter::new("info")
    });
    // At its most talkative this library logs whole messages, with tokens in them.
    let quiet = "tungstenite=off".parse().expect("a directive");
    let filter = filter.add_directive(quiet);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
