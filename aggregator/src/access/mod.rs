//! Access control for connections and check-ins: tokens, origins, and limits for
//! each address.
//!
//! Everything that may change while the server runs is in [`Settings`] and is
//! replaced as a whole. All state about unauthenticated clients has a bound.

mod address;
mod capacity;
mod claims;
mod connections;
mod crypto;
mod denied;
#[cfg(any(test, fuzzing))]
pub(crate) mod forged;
mod keys;
mod rates;
#[cfg(test)]
mod tests;
mod tokens;
mod used;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use fedra_protocol::{SubjectId, TaskId, Token};
use http::HeaderMap;
use http::header::ORIGIN;
use tokio::time::Instant;

use crate::config::{AccessConfig, OperatorToken, Origins, ServerConfig, Tokens};
use crate::credentials::FileError;
use crate::metrics::Metrics;
use address::{Block, Proxies};
pub(crate) use capacity::TaskSlot;
use capacity::{CapacityLimits, Full, TaskCapacity};
use connections::ConnectionCounts;
pub(crate) use connections::ConnectionSlot;
pub(crate) use denied::{Denied, Reason};
pub(crate) use keys::TokenKeys;
use rates::{Bucket, Rate, RateLimits, Rates};
use tokens::SingleUse;
use used::{NotNew, UsedTokens};

/// The config of access control, ready for use.
pub(crate) struct Settings {
    keys: TokenKeys,
    /// Lets operators in; without it there is no way in for them.
    pub operator: Option<OperatorToken>,
    pub origins: Origins,
    proxies: Proxies,
    connections_each: Option<usize>,
    handshakes: RateLimits,
}

/// Decides who is let in, and counts and logs who is not.
pub(crate) struct Access {
    settings: RwLock<Arc<Settings>>,
    connections: Arc<ConnectionCounts>,
    tls_handshakes: Rates,
    upgrades: Rates,
    capacity: Arc<TaskCapacity>,
    used: Mutex<UsedTokens>,
    log: Mutex<Log>,
    metrics: Arc<Metrics>,
}

/// A WebSocket that may be opened.
pub(crate) struct AdmittedConnection {
    /// Address of the client, behind any proxies.
    pub address: IpAddr,
    /// Its place among the connections of that address.
    pub place: Option<ConnectionSlot>,
}

/// A client that may take part, for as long as this is kept.
pub(crate) struct AdmittedClient {
    /// The client's subject: by its token if the task asks for one, else as it claims.
    pub subject: Option<SubjectId>,
    /// Its place among the task's clients.
    pub slot: TaskSlot,
}

impl Settings {
    fn load(config: &ServerConfig) -> Result<Self, FileError> {
        let limits = &config.limits;
        let per_second = limits.handshakes_per_second_per_address;
        let burst = f64::from(limits.handshake_burst_per_address);
        let all = f64::from(limits.handshakes_per_second);
        Ok(Self {
            keys: TokenKeys::load(&config.token_keys)?,
            operator: config.admin,
            origins: Origins::of(config.allowed_origins.as_deref()),
            proxies: Proxies {
                networks: limits.trusted_proxies.clone(),
                header: limits.client_address_header,
            },
            connections_each: Some(limits.connections_per_address).filter(|most| *most > 0),
            handshakes: RateLimits {
                each: (per_second > 0.0).then_some(Rate { per_second, burst }),
                all: (all > 0.0).then_some(Rate { per_second: all, burst: all }),
            },
        })
    }
}

impl Settings {
    /// The address that a request came from, behind any proxies.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        self.proxies.client(peer, headers)
    }
}

impl Access {
    /// Reads the files that the config names.
    pub(crate) fn new(config: &ServerConfig, metrics: Arc<Metrics>) -> Result<Self, FileError> {
        crypto::install();
        Ok(Self {
            settings: RwLock::new(Arc::new(Settings::load(config)?)),
            connections: Arc::default(),
            tls_handshakes: Rates::default(),
            upgrades: Rates::default(),
            capacity: Arc::default(),
            used: Mutex::default(),
            log: Mutex::new(Log::new(Instant::now())),
            metrics,
        })
    }

    /// Goes by this config from now on; if a file of it cannot be used, by the
    /// earlier one.
    pub(crate) fn reload(&self, config: &ServerConfig) -> Result<(), FileError> {
        let settings = Arc::new(Settings::load(config)?);
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
        Ok(())
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Decides if a new TCP connection may stay. That of a trusted proxy may, because
    /// the client behind it is known only when a request has come.
    pub(crate) fn connection(&self, peer: IpAddr) -> Result<Option<ConnectionSlot>, Denied> {
        let settings = self.settings();
        if settings.proxies.trusts(peer) {
            return Ok(None);
        }
        self.place(&settings, peer)
    }

    /// Decides if a new TCP connection may have its TLS handshake.
    pub(crate) fn tls_handshake(&self, peer: IpAddr, now: Instant) -> Result<(), Denied> {
        let settings = self.settings();
        let mut limits = settings.handshakes;
        if settings.proxies.trusts(peer) {
            limits.each = None;
        }
        let taken = self.tls_handshakes.take(&limits, Block::from(peer), now);
        taken.map_err(|too_fast| self.turn_away(too_fast, None, peer))
    }

    /// Decides if a request on a connection from `peer` may become a WebSocket.
    pub(crate) fn upgrade(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
        now: Instant,
    ) -> Result<AdmittedConnection, Denied> {
        let settings = self.settings();
        let address = settings.proxies.client(peer, headers);
        if !headers.get_all(ORIGIN).iter().all(|origin| settings.origins.allow(origin)) {
            return Err(self.turn_away(Reason::ForeignOrigin, None, address));
        }
        let taken = self.upgrades.take(&settings.handshakes, Block::from(address), now);
        taken.map_err(|too_fast| self.turn_away(too_fast, None, address))?;
        // A connection that does not come through a proxy has its place already.
        let proxied = settings.proxies.trusts(peer);
        let place = if proxied { self.place(&settings, address)? } else { None };
        Ok(AdmittedConnection { address, place })
    }

    fn place(
        &self,
        settings: &Settings,
        address: IpAddr,
    ) -> Result<Option<ConnectionSlot>, Denied> {
        let Some(most) = settings.connections_each else { return Ok(None) };
        match self.connections.enter(Block::from(address), most) {
            Some(place) => Ok(Some(place)),
            None => Err(self.turn_away(Reason::TooManyConnections, None, address)),
        }
    }

    /// Decides if a client may check in to a task, and as which subject.
    pub(crate) fn admit(
        &self,
        task: &TaskId,
        rules: &AccessConfig,
        token: Option<&Token>,
        claimed: Option<SubjectId>,
        address: IpAddr,
        now: SystemTime,
    ) -> Result<AdmittedClient, Denied> {
        let deny = |reason: Reason| self.turn_away(reason, Some(task), address);
        let (subject, single_use) = match rules.tokens {
            Tokens::None => (claimed, None),
            Tokens::Required => {
                let token = token.ok_or_else(|| deny(Reason::Missing))?;
                let settings = self.settings();
                let lifetime = rules.max_token_lifetime;
                let verified = tokens::verify(token, task, &settings.keys, lifetime, now);
                let verified = verified.map_err(deny)?;
                (Some(verified.subject), verified.single_use)
            }
        };
        let most = |limit: usize| Some(limit).filter(|most| *most > 0);
        let limits = CapacityLimits {
            all: most(rules.max_clients),
            each: most(rules.max_clients_per_address),
        };
        let entered = self.capacity.enter(task, subject, Block::from(address), limits);
        let slot = entered.map_err(|full| {
            deny(match full {
                Full::All => Reason::TooManyClients,
                Full::Block => Reason::TooManyFromAddress,
            })
        })?;
        // Last, so that a token is not used up by being turned away.
        if let Some(SingleUse { name, until }) = single_use {
            let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let taken =
                self.used.lock().unwrap_or_else(PoisonError::into_inner).take(name, until, now);
            taken.map_err(|not_new| {
                deny(match not_new {
                    NotNew::Used => Reason::Replayed,
                    NotNew::NoRoom => Reason::TooManyTokens,
                })
            })?;
        }
        Ok(AdmittedClient { subject, slot })
    }

    fn turn_away(
        &self,
        denied: impl Into<Denied>,
        task: Option<&TaskId>,
        address: IpAddr,
    ) -> Denied {
        let denied = denied.into();
        let reason = denied.reason.label();
        self.metrics.denied(reason);
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(unlogged) = log.line(Instant::now()) {
            let task = task.map(TaskId::as_str);
            let why = denied.reason.sentence();
            tracing::info!(reason, why, task, %address, unlogged, "turned away");
        }
        denied
    }
}

/// Limits log lines per second, because refused clients must not fill the disk.
/// Counts the lines left out.
struct Log {
    bucket: Bucket,
    unlogged: u64,
}

impl Log {
    const RATE: Rate = Rate { per_second: 5.0, burst: 50.0 };

    fn new(now: Instant) -> Self {
        Self { bucket: Bucket::full(Self::RATE, now), unlogged: 0 }
    }

    /// If a line may be logged, the number of lines left out since the last one.
    fn line(&mut self, now: Instant) -> Option<u64> {
        if self.bucket.take(Self::RATE, now).is_err() {
            self.unlogged += 1;
            return None;
        }
        Some(std::mem::take(&mut self.unlogged))
    }
}
