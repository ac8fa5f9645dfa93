//! Bridge from plain TCP to TLS, on one machine.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Context;
use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;

use crate::stop_signal;
use crate::target::Target;

/// Passes connections on until SIGTERM.
pub async fn run(port: u16, target: Arc<Target>) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| format!("cannot listen on port {port}"))?;
    let mut stop = std::pin::pin!(stop_signal());
    loop {
        let (mut near, _) = tokio::select! {
            accepted = listener.accept() => accepted.context("cannot accept a connection")?,
            stopped = &mut stop => return stopped.context("cannot wait for a signal"),
        };
        let target = Arc::clone(&target);
        tokio::spawn(async move {
            // Either end closing is the end of both, and needs no words.
            if let Ok(mut far) = target.connect(Ipv4Addr::LOCALHOST, None).await {
                let _ = copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}
