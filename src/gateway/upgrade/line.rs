//! The line between a process and the one that takes over from it: a pair of Unix sockets, the
//! new process's end being its standard input. First the listening sockets cross it, then it
//! speaks HTTP/2: the old process asks, the new one answers.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use crate::config::model::Config;

/// In the environment of a process that takes over: its standard input is the line.
pub(super) const TAKES_OVER: &str = "TOLLGATE_TAKES_OVER";

/// Answered once the new process could take over.
pub(super) const PREPARE: &str = "/prepare";
/// The state is free: answered once the new process serves.
pub(super) const TAKE: &str = "/take";
/// The service manager knows the new process.
pub(super) const MAIN: &str = "/main";
/// An errand about quotas.
pub(super) const ERRAND: &str = "/errand";
/// Answers about an account are no longer true; the body is the account's key.
pub(super) const CHANGED: &str = "/changed";

/// Sockets that cross at most: far more than anybody listens on, and fewer than the system allows.
const MOST: usize = 128;

/// What the new process is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Handed {
    /// The sockets' addresses, as the configuration had them.
    pub addresses: Vec<SocketAddr>,
    /// Whether the service manager holds the sockets too.
    pub kept: bool,
    /// What it takes over.
    pub state: Estate,
}

/// By what a state is known: a process with another one can't take this one over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Estate {
    directory: PathBuf,
    partitions: u32,
    fleet: bool,
}

impl Estate {
    pub fn of(config: &Config) -> Self {
        Self {
            directory: config.state.directory.clone(),
            partitions: config.state.partitions,
            fleet: config.kafka.is_some(),
        }
    }

    /// What a configuration changes that needs a restart.
    pub fn differs(&self, new: &Self) -> Option<&'static str> {
        if self.directory != new.directory {
            Some("state.directory changed")
        } else if self.partitions != new.partitions {
            Some("state.partitions changed")
        } else if self.fleet != new.fleet {
            Some("kafka came or went")
        } else {
            None
        }
    }
}

/// What the new process says of itself once it is prepared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Prepared {
    pub version: String,
    pub commit: String,
}

/// Sends the sockets and what belongs to them. Never waits: it fits the line.
pub(super) fn hand(line: &UnixStream, handed: &Handed, sockets: &[TcpListener]) -> io::Result<()> {
    if sockets.len() > MOST {
        return Err(io::Error::other(format!("no more than {MOST} sockets can be handed over")));
    }
    let text = serde_json::to_vec(handed)?;
    let length = u32::try_from(text.len()).map_err(io::Error::other)?.to_be_bytes();
    let descriptors: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("the sockets don't fit in a message"));
    }
    let parts = [IoSlice::new(&length), IoSlice::new(&text)];
    let sent = sendmsg(line, &parts, &mut beside, SendFlags::NOSIGNAL)?;
    match sent == length.len() + text.len() {
        true => Ok(()),
        false => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// Receives them.
pub(super) fn receive(line: &UnixStream) -> io::Result<(Handed, Vec<TcpListener>)> {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let parts = &mut [IoSliceMut::new(&mut length)];
    let received = recvmsg(line, parts, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes != 4 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    let mut text = Vec::new();
    line.take(u32::from_be_bytes(length).into()).read_to_end(&mut text)?;
    let handed: Handed = serde_json::from_slice(&text)?;
    if handed.addresses.len() != descriptors.len() {
        return Err(io::Error::other("some of the sockets did not arrive"));
    }
    Ok((handed, descriptors.into_iter().map(TcpListener::from).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_arrive_with_their_addresses_and_nothing_of_what_follows_is_read() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let sockets: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let state = Estate { directory: "/state".into(), partitions: 4, fleet: false };
        let handed = Handed { addresses, kept: true, state };
        hand(&ours, &handed, &sockets).unwrap();
        io::Write::write_all(&mut &ours, b"PRI").unwrap();
        drop(sockets);

        let (seen, received) = receive(&theirs).unwrap();
        assert_eq!(seen, handed);
        for (socket, address) in received.iter().zip(&seen.addresses) {
            assert_eq!(socket.local_addr().unwrap(), *address);
            std::net::TcpStream::connect(address).expect("it listens");
        }
        let mut next = [0; 3];
        (&theirs).read_exact(&mut next).unwrap();
        assert_eq!(&next, b"PRI");
    }

    #[test]
    fn a_line_without_a_message_is_an_error() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(ours);
        assert!(receive(&theirs).is_err());
    }
}
