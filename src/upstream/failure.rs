use std::fmt;

use pingora::{Error, ErrorType};

use super::picked::Outcome;

/// Why a try gave no whole answer. The texts are for operators: nothing of the answer stands in
/// them, since it may be an account's data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection came about: refused, no route, not in time, or no TLS.
    #[error("no connection: {0}")]
    Connect(String),
    /// TLS refused the backend's certificate: an unknown authority, another name, or expired.
    #[error("the certificate is refused: {0}")]
    Untrusted(String),
    /// The connection broke before the answer began.
    #[error("the connection broke before an answer")]
    Reset,
    /// Something did not come in time.
    #[error("{0}")]
    TimedOut(Wait),
    /// What came is not HTTP.
    #[error("the answer is not HTTP")]
    Garbage,
    /// The answer broke off: fewer bytes than it said, or no last chunk.
    #[error("the answer broke off")]
    Cut,
    /// More bytes came than the answer said it has.
    #[error("the answer is longer than it says")]
    WrongLength,
    /// The answer is larger than the caller takes.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// Bytes allowed.
        limit: u64,
    },
}

/// What was waited for in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The backend to take the request.
    Request,
    /// The answer's head.
    FirstByte,
    /// The next part of the answer.
    NextPart,
    /// The whole answer, tries included.
    Total,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "the request was not taken in time",
            Self::FirstByte => "no first byte in time",
            Self::NextPart => "the answer stopped",
            Self::Total => "no whole answer in time",
        })
    }
}

const PREMATURE_END: ErrorType = ErrorType::new("PrematureBodyEnd");
const BAD_CHUNK: ErrorType = ErrorType::new("InvalidChunk");
const BAD_TRAILER: ErrorType = ErrorType::new("InvalidTrailerEnd");

impl Failure {
    /// What an error means while connecting.
    pub fn connecting(error: &Error) -> Self {
        use ErrorType as T;
        match &error.etype {
            T::InvalidCert => Self::Untrusted(context(error)),
            T::ConnectRefused => Self::Connect("refused".into()),
            T::ConnectNoRoute => Self::Connect("no route".into()),
            T::ConnectTimedout | T::TLSHandshakeTimedout => Self::Connect("not in time".into()),
            T::TLSHandshakeFailure | T::HandshakeError => Self::Connect(context(error)),
            _ => Self::Connect(error.root_cause().to_string()),
        }
    }

    /// What an error means between the request and the answer's head.
    pub fn waiting(error: &Error) -> Self {
        use ErrorType as T;
        match &error.etype {
            T::InvalidHTTPHeader | T::H1Error | T::InvalidH2 => Self::Garbage,
            T::ReadTimedout => Self::TimedOut(Wait::FirstByte),
            T::WriteTimedout => Self::TimedOut(Wait::Request),
            _ => Self::Reset,
        }
    }

    /// What an error means within the answer's body.
    pub fn reading(error: &Error) -> Self {
        match &error.etype {
            etype if *etype == BAD_CHUNK || *etype == BAD_TRAILER => Self::Garbage,
            ErrorType::InvalidHTTPHeader => Self::Garbage,
            ErrorType::ReadTimedout => Self::TimedOut(Wait::NextPart),
            _ => Self::Cut,
        }
    }

    /// What it says of the endpoint; `None` where the caller's own limit ended the try.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Connect(_) | Self::Untrusted(_) => Some(Outcome::ConnectFailed),
            Self::Reset | Self::Cut => Some(Outcome::Reset),
            Self::TimedOut(Wait::Request | Wait::FirstByte | Wait::NextPart) => {
                Some(Outcome::TimedOut)
            }
            Self::Garbage | Self::WrongLength => Some(Outcome::Garbage),
            Self::TimedOut(Wait::Total) | Self::TooLarge { .. } => None,
        }
    }
}

impl Outcome {
    /// What an error of Pingora's says of the backend that a request was proxied to. Only for
    /// errors whose source is the upstream.
    pub fn of(error: &Error) -> Self {
        use ErrorType as T;
        match &error.etype {
            T::ConnectTimedout
            | T::ConnectRefused
            | T::ConnectNoRoute
            | T::ConnectError
            | T::ConnectProxyFailure
            | T::BindError
            | T::SocketError
            | T::TLSWantX509Lookup
            | T::TLSHandshakeFailure
            | T::TLSHandshakeTimedout
            | T::InvalidCert
            | T::HandshakeError => Self::ConnectFailed,
            T::ReadTimedout | T::WriteTimedout => Self::TimedOut,
            T::InvalidHTTPHeader | T::H1Error | T::InvalidH2 => Self::Garbage,
            etype if *etype == BAD_CHUNK || *etype == BAD_TRAILER => Self::Garbage,
            etype if *etype == PREMATURE_END => Self::Reset,
            _ => Self::Reset,
        }
    }
}

/// Pingora's context of a connection error: the TLS library's reason and the name asked for.
fn context(error: &Error) -> String {
    error
        .context
        .as_ref()
        .map_or_else(|| error.etype.as_str().to_owned(), |text| text.as_str().to_owned())
}
