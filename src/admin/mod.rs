//! The operators' port: health, metrics, views, and the calls that change something.

mod routes;

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;

pub use routes::router;

/// The operators' port, bound.
pub struct AdminPort {
    listener: TcpListener,
}

impl AdminPort {
    /// Takes the port.
    ///
    /// # Errors
    /// The address is taken or not allowed.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await? })
    }

    /// Serves until the process ends.
    pub async fn serve(self, router: Router) {
        if let Err(error) = axum::serve(self.listener, router).await {
            tracing::error!(%error, "the admin port has failed");
        }
    }
}
