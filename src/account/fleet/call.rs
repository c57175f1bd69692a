use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::Fleet;

/// The path on the fleet's port at which gateways ask something of each other.
pub const ERRANDS: &str = "/.tollgate/errands";

/// Why an errand was not done, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The other gateway was not reached: it has done nothing.
    #[error("it can't be reached: {0}")]
    NotReached(String),
    /// It was reached, and it is not known what it did.
    #[error("it gave no answer: {0}")]
    NoAnswer(String),
    /// It does not do that.
    #[error("it refused with status {0}")]
    Refused(StatusCode),
}

impl Fleet {
    /// Sends an errand to the gateway of this name and gives back what it answers.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call(
        &self,
        name: &str,
        errand: Vec<u8>,
        within: Duration,
    ) -> Result<Bytes, CallError> {
        let client = self.credentials.load().client.clone();
        let call = client
            .post(format!("https://{name}{ERRANDS}"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .timeout(within)
            .body(errand);
        let answer = call.send().await.map_err(|error| {
            self.look_into(name);
            match error.is_connect() {
                true => CallError::NotReached(error.to_string()),
                false => CallError::NoAnswer(error.to_string()),
            }
        })?;
        if answer.status() != StatusCode::OK {
            return Err(CallError::Refused(answer.status()));
        }
        answer.bytes().await.map_err(|error| CallError::NoAnswer(error.to_string()))
    }
}
