//! Failures between client and server, below the messages: told apart, because some
//! mend by themselves and others only once something is changed.

use fedra_data::memory::OutOfMemory;

use crate::origin::ServerUrlError;

/// Reason why a connection or a file did not come about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The network or the server's machine: an unknown host, a closed port, a
    /// connection that broke.
    #[error("{0}")]
    Network(String),
    /// The TLS handshake failed.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Something else than HTTP came, or nothing, over a connection without TLS.
    #[error(
        "no answer in HTTP came; if the server speaks TLS on this port, the address begins with \
         https:// or wss://"
    )]
    NotHttp,
    /// The server answered, and not as it was asked to.
    #[error("the server answered {status}{hint}")]
    Status {
        /// The number of the answer's status.
        status: u16,
        /// Advice about it, after a space or a mark; may be empty.
        hint: String,
    },
    /// The answer has more bytes than were announced.
    #[error("more bytes came than the {0} that were announced")]
    TooLong(u64),
    /// There is too little memory for the answer.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// The address of a file is none.
    #[error(transparent)]
    Address(#[from] ServerUrlError),
}

/// Reason why a TLS handshake failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The server's certificate comes from an authority that is not trusted.
    #[error(
        "the server's certificate comes from an authority that is not trusted here; if it is the \
         right server, name a file with that authority's certificate with --ca"
    )]
    UnknownIssuer,
    /// The server's certificate is for other names.
    #[error(
        "the server's certificate is for {presented}, not for {expected}; write the address with \
         a name of the certificate"
    )]
    WrongName {
        /// The host of the address.
        expected: String,
        /// The names in the certificate.
        presented: String,
    },
    /// The server's certificate has expired.
    #[error(
        "the server's certificate has expired: its operator has to renew it, unless the clock of \
         this machine is wrong"
    )]
    Expired,
    /// The server's certificate is valid from a later time on.
    #[error(
        "the server's certificate is not valid yet: the clock of this machine may be wrong, or \
         the certificate was made for later"
    )]
    NotYetValid,
    /// The server shows the certificate of an authority as its own.
    #[error(
        "the server's certificate is one of an authority (CA:TRUE), which cannot stand for a \
         server: its operator has to make one without that mark"
    )]
    IsAuthority,
    /// The server's certificate cannot be used for another reason.
    #[error("the server's certificate cannot be used: {0}")]
    Certificate(String),
    /// The received bytes are not TLS.
    #[error(
        "the server does not speak TLS on this port; without TLS the address begins with http:// \
         or ws://"
    )]
    NotTls,
    /// The connection ended before the handshake did.
    #[error(
        "the server ended the connection in the TLS handshake; if it does not speak TLS on this \
         port, the address begins with http:// or ws://"
    )]
    BrokenOff,
    /// The two sides do not agree on how to speak.
    #[error("the TLS handshake failed: {0}")]
    Handshake(String),
    /// There is no authority to trust.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// Reason why certificates to trust cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("cannot read {path}: {problem}")]
    Unreadable {
        /// The file.
        path: String,
        /// Message of the system.
        problem: String,
    },
    /// The file has no certificate.
    #[error(
        "{0} has no certificate in it; it has to be in PEM form, which begins with \
         -----BEGIN CERTIFICATE-----"
    )]
    Empty(String),
    /// A certificate in the file is damaged.
    #[error("certificate {number} in {path} is damaged: {problem}")]
    Damaged {
        /// The file.
        path: String,
        /// Number of the certificate, from 1.
        number: usize,
        /// Problem with the certificate.
        problem: String,
    },
    /// The system has no certificates to trust.
    #[error(
        "this system has no certificates of authorities to trust{0}; install its package \
         ca-certificates, or name a file with --ca"
    )]
    NoneOnSystem(String),
}
