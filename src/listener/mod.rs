//! Ports: connections, TLS, client certificates, and deadlines up to the end of a request's body.
//!
//! Pingora accepts connections and speaks HTTP; between the two stands a door of our own
//! for each port, because Pingora 0.9.1 by itself
//! - counts no connections: its `ConnectionFilter` sees them come but not go;
//! - gives a TLS handshake 60 s, an HTTP/2 preface any time, and a request's head 60 s for *each
//!   read*, so that a client sending a byte a minute holds a connection for ever;
//! - answers an unreadable head in a form of its own and drops a Content-Length that stands beside
//!   a Transfer-Encoding, where no hook sees either;
//! - has one choice of h2c and of idle time-out for all ports of a service.
//!
//! The door takes the plain TCP stream right after `accept`. It gives the connection a
//! seat, does the TLS handshake, reads the whole head of each HTTP/1 request within its
//! deadline and judges its form, and hands Pingora a stream that replays what was read,
//! holds the body to its deadline and a stalled answer to its time, and frees the seat when it is
//! dropped: only then is the connection closed.

mod arrival;
mod body;
mod certificates;
mod connection;
mod door;
mod error;
mod gate;
mod head;
mod http2;
mod outgoing;
mod port;
mod ports;
mod seats;
mod sketch;
mod sockets;
mod stream;
mod target;
mod tls;

pub use connection::{Connection, body_timeout, timed_out};
pub use error::ListenerError;
pub use port::{EarlyAnswer, EarlyRequest, ListenerView};
pub use ports::{Ports, PortsHandle, PreparedPorts};
pub use sockets::Sockets;
pub use tls::CertificateView;

#[cfg(test)]
mod tests;
