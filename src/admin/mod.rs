//! The operators' port: health, metrics, views, and the calls that change something.

mod routes;

use std::net::TcpListener;

use axum::Router;

pub use routes::router;

/// The operators' port.
pub struct AdminPort {
    socket: TcpListener,
}

impl AdminPort {
    /// On a socket that listens and does not block.
    pub fn new(socket: TcpListener) -> Self {
        Self { socket }
    }

    /// Serves until the process ends.
    pub async fn serve(self, router: Router) {
        if let Err(error) = self.serve_on(router).await {
            tracing::error!(%error, "the admin port has failed");
        }
    }

    async fn serve_on(self, router: Router) -> std::io::Result<()> {
        axum::serve(tokio::net::TcpListener::from_std(self.socket)?, router).await
    }
}
