use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a port can't be opened, or its certificates not be used.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// Another process, or another listener of this one, has the port.
    #[error("{0} is in use by another process")]
    AddressInUse(SocketAddr),
    /// The port can't be opened for another reason.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The port.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The service manager passed something that is no listening socket of TCP.
    #[error("the service manager passed a socket that can't be used: {source}")]
    BadSocket {
        /// What is wrong with it.
        source: io::Error,
    },
    /// The service manager passed sockets, but none for this port.
    #[error(
        "the service manager passed sockets, but no socket for {0}: add `ListenStream={0}` to the \
         socket unit, or start without it"
    )]
    NotGiven(SocketAddr),
    /// The service manager passed a socket that no port of the configuration has.
    #[error(
        "the service manager passed a socket for {0}, which is no port of the configuration: take \
         it out of the socket unit, or add it to `listen`"
    )]
    NotWanted(SocketAddr),
    /// A file can't be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file has no certificate, or something that is none.
    #[error("{path} has no usable certificate: {reason}", path = path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// What OpenSSL said.
        reason: String,
    },
    /// A file has no private key without a passphrase.
    #[error("{path} has no usable private key", path = path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
    },
    /// A key belongs to another certificate.
    #[error(
        "the key in {key} does not belong to the certificate in {certificate}",
        key = key.display(), certificate = certificate.display()
    )]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// TLS without a certificate.
    #[error("{0} has TLS but no certificate")]
    NoCertificate(SocketAddr),
    /// OpenSSL refused a setting.
    #[error("TLS can't be set up: {0}")]
    Tls(#[from] openssl::error::ErrorStack),
    /// A reload can't open or close ports.
    #[error("ports can't be opened or closed while running ({0} is new or gone): restart")]
    NeedsRestart(SocketAddr),
}
