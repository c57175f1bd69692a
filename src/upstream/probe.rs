use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use pingora::http::RequestHeader;
use tokio::time::timeout;

use super::cluster::LiveCluster;
use super::endpoint::Endpoint;
use super::exchange::Exchange;
use super::failure::Failure;
use super::peer::probing;
use crate::config::model::{Deadlines, HealthCheck, HealthProbe};

/// What backends see in their logs.
const USER_AGENT: &str = concat!("tollgate/", env!("CARGO_PKG_VERSION"), " health check");

/// Why a check failed.
#[derive(Debug)]
pub(super) enum Unfit {
    /// No whole answer.
    Failed(Failure),
    /// Not one of the statuses that are healthy.
    Status(StatusCode),
    /// Not in the time allowed for a check.
    Late,
}

impl LiveCluster {
    /// Checks an endpoint once, over a connection of its own and with the TLS of requests.
    pub(super) async fn probe(
        &self,
        endpoint: &Endpoint,
        check: &HealthCheck,
    ) -> Result<(), Unfit> {
        let asked = async {
            match &check.probe {
                HealthProbe::Tcp => self.probe_connection(endpoint).await,
                HealthProbe::Http { path, host, expect } => {
                    let status = self.probe_http(endpoint, check, path, host.as_ref()).await?;
                    if expect.contains(&status) { Ok(()) } else { Err(Unfit::Status(status)) }
                }
            }
        };
        timeout(check.timeout, asked).await.unwrap_or(Err(Unfit::Late))
    }

    async fn probe_connection(&self, endpoint: &Endpoint) -> Result<(), Unfit> {
        let peer = probing(endpoint.peer.clone());
        match self.transport_connector().new_stream(&peer).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Unfit::Failed(Failure::connecting(&error))),
        }
    }

    async fn probe_http(
        &self,
        endpoint: &Endpoint,
        check: &HealthCheck,
        path: &str,
        host: Option<&Arc<str>>,
    ) -> Result<StatusCode, Unfit> {
        let host = host.map_or(&*endpoint.authority, |host| host);
        let head = request(path, host).map_err(|_| {
            Unfit::Failed(Failure::Connect("the check's request can't be written".into()))
        })?;
        let allowed = check.timeout;
        let deadlines =
            Deadlines { connect: allowed, first_byte: allowed, idle: allowed, total: allowed };
        let peer = probing(endpoint.peer.clone());
        let mut exchange = Exchange::open(self.connector(), peer, deadlines).await?;
        // A connection that was kept says nothing of whether new ones still come about.
        exchange.distrust();
        exchange.send(head, Bytes::new()).await?;
        let (status, _) = exchange.head().await?;
        Ok(status)
    }
}

fn request(path: &str, host: &str) -> pingora::Result<RequestHeader> {
    let mut head = RequestHeader::build(Method::GET, path.as_bytes(), Some(2))?;
    head.insert_header(header::HOST, host)?;
    head.insert_header(header::USER_AGENT, USER_AGENT)?;
    Ok(head)
}

impl From<super::exchange::Broken> for Unfit {
    fn from(broken: super::exchange::Broken) -> Self {
        Self::Failed(broken.failure)
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => failure.fmt(f),
            Self::Status(status) => write!(f, "answered {}", status.as_u16()),
            Self::Late => f.write_str("no answer in time"),
        }
    }
}
