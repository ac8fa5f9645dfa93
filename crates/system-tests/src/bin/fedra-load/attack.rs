//! Attacks of hostile clients: each kind over and over, on a given number of
//! connections at a time. A connection that the server ends is replaced.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use fedra_protocol::limits::MAX_MESSAGE_BYTES;
use fedra_protocol::{Availability, ClientMessage};
use rand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::target::{Stream, Visitors};

/// Kind of an attack.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Kind {
    /// Connects and says nothing.
    Silent,
    /// Sends the head of an HTTP request, a byte a second.
    SlowHead,
    /// Announces a large WebSocket frame and sends it a byte a second.
    SlowFrame,
    /// Checks in, sends fragments of a message that has no end, and holds on to it.
    Endless,
    /// Checks in, asks for answers and reads none.
    Deaf,
    /// Checks in, and announces a message that is too large.
    Oversize,
    /// Sends all sorts of garbage and hangs up.
    Garbage,
}

/// Pause of a slow client before its next byte.
const DRIP: Duration = Duration::from_secs(1);
/// Longest time that a connection of garbage takes.
const BRIEF: Duration = Duration::from_secs(2);
/// Payload of one fragment.
const FRAGMENT: usize = 16 << 10;
/// Opcodes and the final bit, as in RFC 6455.
const FINAL: u8 = 0x80;
const BINARY: u8 = 0x02;
const CONTINUATION: u8 = 0x00;
const PONG: u8 = 0x0a;

#[derive(Default)]
struct Counts {
    opened: AtomicU64,
    closed: AtomicU64,
    refused: AtomicU64,
}

/// Attacks for `time`, with at most `connections` at once and `rate` new ones a second.
pub async fn run(
    kind: Kind,
    visitors: Arc<Visitors>,
    connections: usize,
    rate: u32,
    time: Duration,
) -> anyhow::Result<()> {
    let counts = Arc::new(Counts::default());
    let attackers = attackers(kind, visitors, connections, rate, Arc::clone(&counts));
    tokio::select! {
        () = attackers => {}
        () = report(&counts) => {}
        () = sleep(time) => {}
    }
    println!("{}", line(&counts));
    Ok(())
}

async fn attackers(
    kind: Kind,
    visitors: Arc<Visitors>,
    connections: usize,
    rate: u32,
    counts: Arc<Counts>,
) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let places = Arc::new(Semaphore::new(connections));
    let mut pace = interval(Duration::from_secs(1) / rate);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        pace.tick().await;
        let place = Arc::clone(&places).acquire_owned().await;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (visitors, counts) = (Arc::clone(&visitors), Arc::clone(&counts));
        tokio::spawn(async move {
            let attack = Attack { kind, visitors: &visitors, number, counts: &counts };
            let count = match attack.run().await {
                Ok(()) => &counts.closed,
                Err(_) => &counts.refused,
            };
            count.fetch_add(1, Ordering::Relaxed);
            drop(place);
        });
    }
}

/// One connection. An error is how the server ends most of them.
struct Attack<'a> {
    kind: Kind,
    visitors: &'a Visitors,
    number: usize,
    counts: &'a Counts,
}

impl Attack<'_> {
    async fn run(&self) -> io::Result<()> {
        match self.kind {
            Kind::Silent => until_closed(&mut self.plain().await?).await,
            Kind::SlowHead => self.slow_head().await,
            Kind::SlowFrame => self.slow_frame().await,
            Kind::Endless => self.endless().await,
            Kind::Deaf => self.deaf().await,
            Kind::Oversize => self.oversize().await,
            Kind::Garbage => {
                // Whatever the server makes of it.
                timeout(BRIEF, self.garbage()).await.unwrap_or(Ok(()))
            }
        }
    }

    async fn plain(&self) -> io::Result<Stream> {
        let stream = self.visitors.connect(self.number, None).await?;
        self.counts.opened.fetch_add(1, Ordering::Relaxed);
        Ok(stream)
    }

    async fn upgraded(&self, receive_buffer: Option<u32>) -> io::Result<Stream> {
        let stream = self.visitors.upgraded(self.number, receive_buffer).await?;
        self.counts.opened.fetch_add(1, Ordering::Relaxed);
        Ok(stream)
    }

    async fn checked_in(&self, receive_buffer: Option<u32>) -> io::Result<Stream> {
        let mut stream = self.upgraded(receive_buffer).await?;
        for message in
            [self.visitors.hello(), self.visitors.check_in(self.number, Availability::Available)]
        {
            stream.write_all(&frame(FINAL | BINARY, &message.encode())).await?;
        }
        Ok(stream)
    }

    async fn slow_head(&self) -> io::Result<()> {
        let mut stream = self.plain().await?;
        stream.write_all(b"GET /v1/connect HTTP/1.1\r\nhost: loopback\r\nx-more: ").await?;
        loop {
            sleep(DRIP).await;
            stream.write_all(b"x").await?;
        }
    }

    async fn slow_frame(&self) -> io::Result<()> {
        let mut stream = self.upgraded(None).await?;
        let whole = frame(FINAL | BINARY, &vec![0; MAX_MESSAGE_BYTES]);
        for byte in &whole {
            stream.write_u8(*byte).await?;
            sleep(DRIP).await;
        }
        Ok(())
    }

    /// Sends as much as a message may have, and never its end. Pongs keep the server
    /// from taking the client for dead.
    async fn endless(&self) -> io::Result<()> {
        let mut stream = self.checked_in(None).await?;
        let mut opcode = BINARY;
        for _ in 1..MAX_MESSAGE_BYTES / FRAGMENT {
            stream.write_all(&frame(opcode, &[0; FRAGMENT])).await?;
            opcode = CONTINUATION;
        }
        let (mut reader, mut writer) = tokio::io::split(stream);
        let pongs = async {
            loop {
                writer.write_all(&frame(FINAL | PONG, b"")).await?;
                sleep(DRIP).await;
            }
        };
        tokio::select! {
            ended = until_closed(&mut reader) => ended,
            failed = pongs => failed,
        }
    }

    async fn deaf(&self) -> io::Result<()> {
        let mut stream = self.checked_in(Some(4096)).await?;
        let ping = frame(FINAL | BINARY, &ClientMessage::Ping { nonce: u64::MAX }.encode());
        let many = ping.repeat(100);
        loop {
            stream.write_all(&many).await?;
        }
    }

    async fn oversize(&self) -> io::Result<()> {
        let mut stream = self.checked_in(None).await?;
        let whole = frame(FINAL | BINARY, &vec![0; 4 * MAX_MESSAGE_BYTES]);
        stream.write_all(&whole).await?;
        until_closed(&mut stream).await
    }

    async fn garbage(&self) -> io::Result<()> {
        let mut junk = [0; 512];
        rand::rng().fill_bytes(&mut junk);
        let mut stream = match self.number % 4 {
            0 => {
                let mut stream = self.plain().await?;
                stream.write_all(&junk).await?;
                stream
            }
            1 => {
                let mut stream = self.plain().await?;
                stream.write_all(b"POST /v1/connect HTTP/1.1\r\nhost: x\r\n\r\n").await?;
                stream
            }
            2 => {
                let mut stream = self.upgraded(None).await?;
                stream.write_all(&junk).await?;
                stream
            }
            _ => {
                let mut stream = self.upgraded(None).await?;
                stream.write_all(&frame(FINAL | BINARY, &junk)).await?;
                stream
            }
        };
        until_closed(&mut stream).await
    }
}

/// Reads until there is nothing more.
async fn until_closed<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) -> io::Result<()> {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// A frame as clients send it, with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASKED: u8 = 0x80;
    let mut frame = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..126), _) => frame.push(MASKED | length),
        (_, Ok(length)) => {
            frame.push(MASKED | 126);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(MASKED | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

async fn report(counts: &Counts) {
    let mut pace = interval(Duration::from_secs(1));
    loop {
        pace.tick().await;
        println!("{}", line(counts));
    }
}

fn line(counts: &Counts) -> String {
    let Counts { opened, closed, refused } = counts;
    let [opened, closed, refused] = [opened, closed, refused].map(|n| n.load(Ordering::Relaxed));
    format!("opened {opened} closed {closed} refused {refused}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_their_length_in_the_shortest_form() {
        for (length, head) in [
            (0, vec![0x82, 0x80]),
            (125, vec![0x82, 0x80 | 125]),
            (126, vec![0x82, 0x80 | 126, 0, 126]),
            (65_535, vec![0x82, 0x80 | 126, 0xff, 0xff]),
            (65_536, vec![0x82, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = frame(FINAL | BINARY, &vec![7; length]);
            assert_eq!(frame[..head.len()], head);
            assert_eq!(frame[head.len()..head.len() + 4], [0; 4]);
            assert_eq!(frame.len(), head.len() + 4 + length);
        }
    }
}
