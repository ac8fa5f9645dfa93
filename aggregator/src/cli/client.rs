//! Calls to the admin API of a running server, with the operator's token.
//!
//! The token comes from the environment or from a file, never from an argument:
//! arguments can be read by every user of the machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use fedra_http_api::{Mistake, Problem};
use http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG};
use http::{Response, StatusCode, Uri};
use serde::de::DeserializeOwned;
use tokio_rustls::rustls::crypto::ring;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use super::Failure;

/// Variable that may hold the token, instead of a file.
const TOKEN_VARIABLE: &str = "FEDRA_ADMIN_TOKEN";
/// Longest time of a call. A roll-back waits for the disk, an export for the network.
const PATIENCE: Duration = Duration::from_secs(120);
/// Most bytes of an answer that is no model.
const ANSWER_BYTES: u64 = 64 << 20;

/// Address of the server, and access to it.
#[derive(Args, Debug)]
pub struct ServerOptions {
    /// The server's address.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "FEDRA_SERVER_URL",
        default_value = "http://127.0.0.1:8080"
    )]
    server: String,
    /// File with the operator's token. Without it, FEDRA_ADMIN_TOKEN has the token.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file with the certificates to trust, instead of the system's.
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Prints the server's JSON instead of text.
    #[arg(long, global = true)]
    pub json: bool,
}

impl ServerOptions {
    /// The server at this address.
    pub fn at(server: String, ca: Option<PathBuf>) -> Self {
        Self { server, token_file: None, ca, json: false }
    }

    /// A client that shows the token.
    pub fn operator(&self) -> Result<Client, Failure> {
        let mut client = self.visitor()?;
        let token = match &self.token_file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| usage(format!("cannot read {}: {error}", path.display())))?,
            None => std::env::var(TOKEN_VARIABLE).unwrap_or_default(),
        };
        let token = token.trim();
        if token.is_empty() {
            return Err(usage(format!(
                "this needs the operator's token: give --token-file, or set {TOKEN_VARIABLE}"
            )));
        }
        if !client.is_private() {
            eprintln!(
                "fedra-aggregator: warning: the token goes to {} unencrypted; use https",
                client.base
            );
        }
        client.authorization = Some(format!("Bearer {token}"));
        Ok(client)
    }

    /// A client for public calls, without the token.
    pub fn visitor(&self) -> Result<Client, Failure> {
        let base = self.server.trim_end_matches('/').to_owned();
        let uri: Option<Uri> = base.parse().ok();
        let scheme = uri.as_ref().and_then(Uri::scheme_str);
        let host = uri.as_ref().and_then(Uri::host).map(str::to_owned);
        let (Some("http" | "https"), Some(host)) = (scheme, host) else {
            return Err(usage(format!(
                "{base:?} is no address of a server; write it like http://127.0.0.1:8080"
            )));
        };
        let config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            // The token goes to this server only.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None);
        let config = match scheme {
            Some("https") => config.tls_config(tls(self.ca.as_deref())?).build(),
            _ => config.build(),
        };
        let agent = Agent::new_with_config(config);
        Ok(Client { agent, base, host, authorization: None })
    }
}

/// Trusts the certificates in this PEM file, or the system's.
fn tls(ca: Option<&Path>) -> Result<TlsConfig, Failure> {
    let roots = match ca {
        Some(path) => read_certificates(path)
            .map_err(|error| usage(format!("{}: {error}", path.display())))?,
        None => {
            let found = rustls_native_certs::load_native_certs().certs;
            found.iter().map(|der| Certificate::from_der(der).to_owned()).collect()
        }
    };
    if roots.is_empty() {
        let problem = "there are no certificates to trust; --ca names a PEM file with some";
        return Err(usage(problem.to_owned()));
    }
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build())
}

fn read_certificates(path: &Path) -> anyhow::Result<Vec<Certificate<'static>>> {
    let pem = std::fs::read(path)?;
    let certificates = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
        Ok(_) => None,
        Err(error) => Some(Err(error.into())),
    });
    certificates.collect()
}

fn usage(problem: String) -> Failure {
    Failure::Usage(problem)
}

/// Calls one server.
pub struct Client {
    agent: Agent,
    base: String,
    host: String,
    authorization: Option<String>,
}

/// A model as it came.
pub struct Export {
    pub bytes: Vec<u8>,
    /// SHA-256 of the model as the server states it.
    pub sha256: String,
    /// The round that it is of.
    pub round: String,
}

impl Client {
    /// The JSON at a path, as text.
    pub fn get(&self, path: &str) -> Result<String, Failure> {
        let mut request = self.agent.get(self.url(path));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        text(self.accepted(request.call())?)
    }

    /// The server's answer to a body of this content type.
    pub fn post(&self, path: &str, kind: &str, body: &[u8]) -> Result<String, Failure> {
        let mut request = self.agent.post(self.url(path)).header(CONTENT_TYPE, kind);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        text(self.accepted(request.send(body))?)
    }

    /// A model.
    pub fn export(&self, path: &str) -> Result<Export, Failure> {
        let mut request = self.agent.get(self.url(path));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let mut answer = self.accepted(request.call())?;
        let header = |name: &str| {
            let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
            let value = value.unwrap_or_default().trim_start_matches("W/").trim_matches('"');
            value.to_owned()
        };
        let (sha256, round) = (header(ETAG.as_str()), header("fedra-round"));
        let read = answer.body_mut().with_config().limit(u64::MAX).read_to_vec();
        let bytes = read.map_err(|error| anyhow!("the model broke off: {error}"))?;
        Ok(Export { bytes, sha256, round })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// True if what is sent cannot be read on the way.
    fn is_private(&self) -> bool {
        let host = self.host.trim_matches(['[', ']']);
        let is_local = host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        is_local || self.base.starts_with("https:")
    }

    /// The answer if it is a success, the reason if it is not.
    fn accepted(
        &self,
        answer: Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, Failure> {
        let mut answer = answer.map_err(|error| {
            let error = error.to_string();
            let hint = match error.contains("certificate") {
                true => "--ca names the certificate to trust",
                false => "Is the server running there? --server or FEDRA_SERVER_URL says where",
            };
            anyhow!("no answer from {}: {error}. {hint}", self.base)
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES).read_to_string();
        let problem = body.ok().and_then(|body| serde_json::from_str::<Problem>(&body).ok());
        Err(Failure::Failed(match (status, problem) {
            (StatusCode::UNAUTHORIZED, _) => anyhow!(
                "the server at {} does not take this token; it is the one of its \
                 server.admin.token_file",
                self.base
            ),
            (_, Some(problem)) => anyhow!(describe(&problem)),
            (status, None) => anyhow!(
                "{} answers {status}, and not as a Fedra aggregator would; is the address right?",
                self.base
            ),
        }))
    }
}

/// The sentence, and every mistake on a line of its own.
fn describe(problem: &Problem) -> String {
    let mistakes = problem.mistakes.as_deref().unwrap_or_default();
    if mistakes.is_empty() {
        return problem.detail.clone();
    }
    let count = mistakes.len();
    let plural = if count == 1 { "" } else { "s" };
    let mut text = format!("{count} mistake{plural} in the task's config");
    for Mistake { path, problem } in mistakes {
        let colon = if path.is_empty() { "" } else { ": " };
        text += &format!("\n  {path}{colon}{problem}");
    }
    text
}

fn text(mut answer: Response<Body>) -> Result<String, Failure> {
    let read = answer.body_mut().with_config().limit(ANSWER_BYTES).read_to_string();
    Ok(read.context("the answer broke off")?)
}

/// JSON of the server as what a command needs of it.
pub fn parse<T: DeserializeOwned>(json: &str) -> Result<T, Failure> {
    let parsed = serde_json::from_str(json);
    Ok(parsed.context("the server's answer is not what this version expects of it")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(server: &str) -> ServerOptions {
        ServerOptions::at(server.to_owned(), None)
    }

    #[test]
    fn only_addresses_of_servers_are_taken() {
        for bad in ["", "127.0.0.1:8080", "ftp://x", "http://", "not an address"] {
            assert!(matches!(options(bad).visitor(), Err(Failure::Usage(_))), "{bad}");
        }
        let client = options("http://localhost:8080/").visitor().expect("good");
        assert_eq!(client.url("/v1/tasks"), "http://localhost:8080/v1/tasks");
    }

    #[test]
    fn the_token_is_safe_at_home_and_under_tls() {
        for (server, private) in [
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("http://localhost", true),
            ("https://fl.example.org", true),
            ("http://fl.example.org", false),
            ("http://10.0.0.1:8080", false),
        ] {
            assert_eq!(options(server).visitor().expect("good").is_private(), private, "{server}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let missing = Some(PathBuf::from("/nowhere/token"));
        let asked = ServerOptions { token_file: missing, ..options("http://localhost") }.operator();
        let Err(Failure::Usage(problem)) = asked else { panic!("no file") };
        assert!(problem.contains("/nowhere/token"), "{problem}");
    }

    #[test]
    fn every_mistake_is_told() {
        let json = r#"{"detail": "two", "mistakes": [{"path": "task[x].model", "problem": "missing"},
            {"path": "", "problem": "no TOML"}]}"#;
        let problem: Problem = serde_json::from_str(json).expect("JSON");
        assert_eq!(
            describe(&problem),
            "2 mistakes in the task's config\n  task[x].model: missing\n  no TOML"
        );
    }
}
