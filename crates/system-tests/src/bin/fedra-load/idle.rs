//! Observers: clients that check in and stay. They send a ping at each heartbeat and
//! read what the server tells them; they are never selected.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use fedra_protocol::{Availability, ClientMessage, ServerMessage};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::stop_signal;
use crate::target::{Stream, Visitors};

/// Handshakes at the same time: a server that is slow slows the rest down.
const HANDSHAKES: usize = 64;
/// Losses that are explained on standard error, at most.
const EXPLAINED: usize = 20;

#[derive(Default)]
struct Counts {
    connected: AtomicUsize,
    lost: AtomicUsize,
}

/// Keeps `connections` clients connected until SIGTERM. One that is lost stays away.
pub async fn run(visitors: Arc<Visitors>, connections: usize, rate: u32) -> anyhow::Result<()> {
    let counts = Arc::new(Counts::default());
    let coming = tokio::spawn(come(visitors, connections, rate, Arc::clone(&counts)));
    tokio::select! {
        () = report(&counts) => {}
        stopped = stop_signal() => stopped.context("cannot wait for a signal")?,
    }
    coming.abort();
    Ok(())
}

/// Brings the clients in, `rate` of them a second.
async fn come(visitors: Arc<Visitors>, connections: usize, rate: u32, counts: Arc<Counts>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let mut pace = interval(Duration::from_secs(1) / rate);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0..connections {
        pace.tick().await;
        let permit = Arc::clone(&handshakes).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let (visitors, counts) = (Arc::clone(&visitors), Arc::clone(&counts));
        tokio::spawn(async move {
            let Err(error) = stay(&visitors, number, permit, &counts).await;
            if counts.lost.fetch_add(1, Ordering::Relaxed) < EXPLAINED {
                eprintln!("client {number} is lost: {error:#}");
            }
        });
    }
}

/// One client; it ends only by an error. It counts as connected until then.
async fn stay(
    visitors: &Visitors,
    number: usize,
    handshake: OwnedSemaphorePermit,
    counts: &Counts,
) -> anyhow::Result<std::convert::Infallible> {
    let (mut socket, heartbeat) = Box::pin(check_in(visitors, number)).await?;
    drop(handshake);
    let mut pings = interval(heartbeat);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    counts.connected.fetch_add(1, Ordering::Relaxed);
    let end = loop {
        let ended = tokio::select! {
            received = socket.next() => match received {
                Some(Ok(Message::Close(frame))) => {
                    frame.map_or_else(|| "closed".to_owned(), |frame| frame.to_string())
                }
                Some(Ok(_)) => continue,
                Some(Err(error)) => error.to_string(),
                None => "closed without a close frame".to_owned(),
            },
            _ = pings.tick() => {
                let ping = ClientMessage::Ping { nonce: 0 }.encode();
                match socket.send(Message::Binary(ping)).await {
                    Ok(()) => continue,
                    Err(error) => error.to_string(),
                }
            }
        };
        break ended;
    };
    counts.connected.fetch_sub(1, Ordering::Relaxed);
    bail!(end);
}

/// A checked-in observer, and the longest time for which it may send nothing.
async fn check_in(
    visitors: &Visitors,
    number: usize,
) -> anyhow::Result<(WebSocketStream<Stream>, Duration)> {
    let mut socket = visitors.websocket(number).await.context("cannot connect")?;
    let mut send = async |message: ClientMessage| {
        socket.send(Message::Binary(message.encode())).await.context("cannot send")
    };
    send(visitors.hello()).await?;
    send(visitors.check_in(number, Availability::Paused)).await?;
    let mut heartbeat = None;
    loop {
        match socket.next().await.context("closed before the check-in")?? {
            Message::Binary(bytes) => match ServerMessage::decode(bytes)? {
                ServerMessage::Welcome(welcome) => heartbeat = Some(welcome.heartbeat),
                ServerMessage::CheckedIn(_) => break,
                other => bail!("not checked in: {other:?}"),
            },
            Message::Ping(_) | Message::Pong(_) => {}
            other => bail!("not checked in: {other:?}"),
        }
    }
    Ok((socket, heartbeat.context("checked in without a welcome")?))
}

/// A line a second, for ever.
async fn report(counts: &Counts) {
    let mut pace = interval(Duration::from_secs(1));
    loop {
        pace.tick().await;
        let connected = counts.connected.load(Ordering::Relaxed);
        let lost = counts.lost.load(Ordering::Relaxed);
        println!("connected {connected} lost {lost}");
        // Standard output may have no reader.
        let _ = std::io::stdout().flush();
    }
}
