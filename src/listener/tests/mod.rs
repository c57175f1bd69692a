//! Real ports, real sockets, OpenSSL clients. Deadlines are short; every wait is bounded.

mod caps;
mod deadlines;
mod heads;
mod http;
mod leftovers;
mod reload;
mod tls;
mod world;
