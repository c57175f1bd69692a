use std::error::Error as _;
use std::time::Duration;

/// Why the outside world could not be asked. The texts are for operators: no URL stands in them,
/// since one may carry a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// A PEM bundle without a certificate that can be used.
    #[error("the bundle of authorities holds no usable certificate: {0}")]
    Authorities(String),
    /// The TLS library refused to make a client.
    #[error("the HTTP client can't be made: {0}")]
    Client(String),
    /// Not an absolute `http` or `https` URL.
    #[error("not an absolute http or https URL: {0}")]
    Url(String),
    /// Refused, unreachable, unknown name, or TLS failed.
    #[error("can't connect: {0}")]
    Connect(String),
    /// No whole answer in the time allowed.
    #[error("no complete answer in time")]
    TimedOut,
    /// The answer broke off or is not HTTP.
    #[error("the answer broke off or is not HTTP: {0}")]
    Broken(String),
    /// The body is larger than allowed; the rest was not read.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// A name has no address.
    #[error("'{host}' has no address: {why}")]
    Unresolved {
        /// The name asked for.
        host: String,
        /// What the resolver said.
        why: String,
    },
    /// The name servers did not answer in time.
    #[error("no name server answered for '{host}' within {allowed:?}")]
    ResolverTimedOut {
        /// The name asked for.
        host: String,
        /// Time allowed.
        allowed: Duration,
    },
}

impl NetError {
    /// What a failed call means.
    pub(super) fn from_call(error: reqwest::Error) -> Self {
        let timed_out = error.is_timeout();
        let connecting = error.is_connect();
        let building = error.is_builder();
        let text = causes(error);
        if timed_out {
            Self::TimedOut
        } else if building {
            Self::Url(text)
        } else if connecting {
            Self::Connect(text)
        } else {
            Self::Broken(text)
        }
    }
}

/// The innermost causes: reqwest's own text only says that something failed.
pub(super) fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut texts = Vec::new();
    let mut cause = error.source();
    while let Some(inner) = cause {
        texts.push(inner.to_string());
        cause = inner.source();
    }
    // Causes often repeat the text of the cause below them.
    texts.dedup();
    if texts.is_empty() { error.to_string() } else { texts.join(": ") }
}
