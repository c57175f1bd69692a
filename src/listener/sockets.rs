use std::io;
use std::net::{SocketAddr, TcpListener};

use super::error::ListenerError;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 65_535;

/// The sockets on which a process listens: opened by it, or by whoever started it.
///
/// Connections that come while nobody accepts wait in a socket, as long as any process holds it:
/// this is what a restart behind the service manager's sockets and an upgrade rest on.
#[derive(Debug, Default)]
pub struct Sockets {
    given: Vec<(SocketAddr, TcpListener)>,
    giver: Giver,
    /// Whether somebody else holds them too, for as long as the service is wanted.
    kept: bool,
}

/// Who opened the sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Giver {
    /// Nobody did yet.
    #[default]
    Nobody,
    /// The service manager (sd_listen_fds(3)).
    Manager,
    /// The process that this one replaces.
    Predecessor,
}

impl Sockets {
    /// Those that the service manager passes (`LISTEN_FDS`), or none.
    ///
    /// It takes what it finds out of the environment: to be called once, before any other thread
    /// is started.
    ///
    /// # Errors
    /// [`ListenerError::BadSocket`]: one of them can't be used.
    pub fn from_manager() -> Result<Self, ListenerError> {
        let mut passed = listenfd::ListenFd::from_env();
        let bad = |source| ListenerError::BadSocket { source };
        let mut given = Vec::with_capacity(passed.len());
        for index in 0..passed.len() {
            if let Some(socket) = passed.take_tcp_listener(index).map_err(bad)? {
                given.push((socket.local_addr().map_err(bad)?, socket));
            }
        }
        let is_used = !given.is_empty();
        let giver = if is_used { Giver::Manager } else { Giver::Nobody };
        Ok(Self { given, giver, kept: is_used })
    }

    /// Those of the process that this one replaces, by the addresses of its configuration. `kept`
    /// says whether the service manager holds them too.
    pub fn from_predecessor(given: Vec<(SocketAddr, TcpListener)>, kept: bool) -> Self {
        Self { given, giver: Giver::Predecessor, kept }
    }

    /// Whether the service manager holds them too: then connections wait through a restart.
    pub fn are_kept(&self) -> bool {
        self.kept
    }

    /// The socket for an address. From the service manager it must come; else it is opened if it
    /// was not given.
    ///
    /// # Errors
    /// [`ListenerError::NotGiven`], or why it can't be opened.
    pub fn take(&mut self, address: SocketAddr) -> Result<TcpListener, ListenerError> {
        match self.take_given(address) {
            // Also after an upgrade: the next start would fail on it, when nobody is looking.
            None if self.kept => Err(ListenerError::NotGiven(address)),
            given => ready(address, given),
        }
    }

    /// The socket for an address that the service manager need not know: the operators' port.
    ///
    /// # Errors
    /// Why it can't be opened.
    pub fn take_or_open(&mut self, address: SocketAddr) -> Result<TcpListener, ListenerError> {
        let given = self.take_given(address);
        ready(address, given)
    }

    fn take_given(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let place = self.given.iter().position(|(given, _)| *given == address)?;
        Some(self.given.swap_remove(place).1)
    }

    /// All that are wanted were taken. What is left of the service manager's is a mistake: it
    /// would let connections in that nobody ever answers. What is left of a predecessor's is a
    /// port that the configuration no longer has.
    ///
    /// # Errors
    /// [`ListenerError::NotWanted`].
    pub fn finish(self) -> Result<(), ListenerError> {
        match self.given.first() {
            Some((address, _)) if self.giver == Giver::Manager => {
                Err(ListenerError::NotWanted(*address))
            }
            Some((address, _)) => {
                tracing::info!(%address, "the port is no longer in the configuration");
                if self.kept {
                    tracing::warn!(%address, "the service manager still has it: the next start will be refused");
                }
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// Makes a given socket ready, or opens one as Pingora does, but at once: Pingora would try for
/// half a minute and then end a task, not the process.
fn ready(address: SocketAddr, given: Option<TcpListener>) -> Result<TcpListener, ListenerError> {
    let ready = || {
        let socket = given.map_or_else(|| TcpListener::bind(address), Ok)?;
        // Once more, with room for the clients of a whole restart: the standard library asks for
        // too little. The system bounds it by `net.core.somaxconn`.
        rustix::net::listen(&socket, BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    ready().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ListenerError::AddressInUse(address),
        _ => ListenerError::Bind { address, source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> (SocketAddr, TcpListener) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        (socket.local_addr().unwrap(), socket)
    }

    fn from_manager(given: Vec<(SocketAddr, TcpListener)>) -> Sockets {
        Sockets { given, giver: Giver::Manager, kept: true }
    }

    #[test]
    fn the_manager_s_sockets_are_taken_by_their_addresses() {
        let (one, two) = (socket(), socket());
        let (first, second) = (one.0, two.0);
        let mut sockets = from_manager(vec![one, two]);
        assert_eq!(sockets.take(second).unwrap().local_addr().unwrap(), second);
        assert_eq!(sockets.take_or_open(first).unwrap().local_addr().unwrap(), first);
        sockets.finish().unwrap();
    }

    #[test]
    fn a_port_without_a_socket_and_a_socket_without_a_port_are_mistakes() {
        let (given, other) = (socket(), "127.0.0.1:9".parse().unwrap());
        let address = given.0;
        let mut sockets = from_manager(vec![given]);
        let missing = sockets.take(other).unwrap_err().to_string();
        assert!(missing.contains("no socket for 127.0.0.1:9"), "{missing}");
        let left = sockets.finish().unwrap_err().to_string();
        assert!(left.contains(&address.to_string()), "{left}");
    }

    #[test]
    fn what_a_predecessor_did_not_have_is_opened_and_what_is_no_longer_wanted_is_let_go_of() {
        let given = socket();
        let address = given.0;
        let mut sockets = Sockets::from_predecessor(vec![given], false);
        let opened = sockets.take("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(opened.local_addr().unwrap(), address);
        sockets.finish().unwrap();
        TcpListener::bind(address).expect("the port is free again");
    }
}
