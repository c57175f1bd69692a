//! The operators' port: health, metrics, views, and the calls that change something.

mod routes;

use std::net::TcpListener;

use axum::Router;

use crate::gateway::AdminGate;

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

    /// Serves whenever the gate is open, until the process ends. Calls that are being answered
    /// when it shuts are answered.
    pub async fn serve(self, router: Router, gate: AdminGate) {
        loop {
            gate.until_open().await;
            if let Err(error) = self.begin(&router, &gate) {
                tracing::error!(%error, "the admin port has failed");
            }
            gate.until_shut().await;
        }
    }

    fn begin(&self, router: &Router, gate: &AdminGate) -> std::io::Result<()> {
        let socket = tokio::net::TcpListener::from_std(self.socket.try_clone()?)?;
        let (round, shut) = (gate.round(), gate.clone());
        let serving = axum::serve(socket, router.clone())
            .with_graceful_shutdown(async move { shut.until_shut().await });
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the admin port has failed");
            }
            drop(round);
        });
        Ok(())
    }
}
