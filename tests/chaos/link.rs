//! A network between two places that can be cut: a TCP proxy that passes everything on, until it
//! is told otherwise.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// Bytes taken at once, and such pieces that may be on their way.
const PIECE: usize = 32 << 10;
const PIECES: usize = 64;

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Clear,
    /// Nothing arrives and nobody is told. What was sent meanwhile arrives afterwards, as TCP
    /// sends it again.
    Silent,
    /// Connections are reset, also new ones.
    Resetting,
    /// All that is sent takes so long, each way.
    Slow(Duration),
}

/// Who a connection comes from: the place of its weather.
pub type Whence = Arc<dyn Fn(SocketAddr) -> Option<usize> + Send + Sync>;

/// A way to one place, with a weather for each that takes it.
pub struct Link {
    weathers: Vec<watch::Sender<Weather>>,
    open: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Link {
    /// Everybody meets the same weather.
    pub fn start(listen: SocketAddr, target: SocketAddr) -> Self {
        Self::start_for(listen, target, 1, Arc::new(|_| Some(0)))
    }

    /// So many may come, each in a weather of its own.
    pub fn start_for(
        listen: SocketAddr,
        target: SocketAddr,
        travellers: usize,
        whence: Whence,
    ) -> Self {
        let weathers: Vec<_> =
            (0..travellers).map(|_| watch::Sender::new(Weather::Clear)).collect();
        let (open, opened) = watch::channel(true);
        let listening = Listening { listen, target, weathers: weathers.clone(), whence };
        let task = tokio::spawn(listening.run(opened));
        Self { weathers, open, task }
    }

    pub fn set(&self, traveller: usize, weather: Weather) {
        self.weathers[traveller].send_replace(weather);
    }

    pub fn set_all(&self, weather: Weather) {
        (0..self.weathers.len()).for_each(|traveller| self.set(traveller, weather));
    }

    /// Whether connections are taken: they are refused where the target is gone, as they would be
    /// by its machine.
    pub fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Listening {
    listen: SocketAddr,
    target: SocketAddr,
    weathers: Vec<watch::Sender<Weather>>,
    whence: Whence,
}

impl Listening {
    async fn run(self, mut open: watch::Receiver<bool>) {
        loop {
            if open.wait_for(|open| *open).await.is_err() {
                return;
            }
            let Ok(listener) = TcpListener::bind(self.listen).await else {
                sleep(Duration::from_millis(5)).await;
                continue;
            };
            loop {
                tokio::select! {
                    closed = open.wait_for(|open| !*open) => match closed {
                        Ok(_) => break,
                        Err(_) => return,
                    },
                    Ok((stream, peer)) = listener.accept() => self.take(stream, peer),
                }
            }
        }
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr) {
        let Some(weather) = (self.whence)(peer).and_then(|place| self.weathers.get(place)) else {
            return;
        };
        tokio::spawn(connect(stream, self.target, weather.subscribe()));
    }
}

async fn connect(mut near: TcpStream, target: SocketAddr, mut weather: watch::Receiver<Weather>) {
    let _ = near.set_nodelay(true);
    if weather.wait_for(|now| *now != Weather::Silent).await.is_err() {
        return;
    }
    let now = *weather.borrow();
    let far = match now {
        Weather::Resetting => return reset(&near),
        _ => TcpSocket::new_v4().unwrap().connect(target).await,
    };
    let Ok(mut far) = far else { return reset(&near) };
    let _ = far.set_nodelay(true);
    let ((near_in, near_out), (far_in, far_out)) = (near.split(), far.split());
    let there = pass(near_in, far_out, weather.clone());
    let back = pass(far_in, near_out, weather.clone());
    let broken = async { weather.wait_for(|now| *now == Weather::Resetting).await.is_ok() };
    // Borrowed halves: what is left of both ends together when this ends.
    let is_broken = tokio::select! {
        ((), ()) = async { tokio::join!(there, back) } => false,
        is_broken = broken => is_broken,
    };
    if is_broken {
        reset(&near);
        reset(&far);
    }
}

fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// Carries what comes in to the other side, each piece as late as the weather says. An end is
/// passed on like anything else.
async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut weather: watch::Receiver<Weather>,
) {
    let (sender, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let sent_in = weather.clone();
    let take = async move {
        let mut piece = vec![0; PIECE];
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            let late = match *sent_in.borrow() {
                Weather::Slow(late) => late,
                _ => Duration::ZERO,
            };
            if sender.send((Instant::now() + late, piece[..length].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let give = async move {
        while let Some((due, piece)) = under_way.recv().await {
            sleep_until(due).await;
            if arrives(&mut weather).await.is_err() || to.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = arrives(&mut weather).await;
        let _ = to.shutdown().await;
    };
    tokio::join!(take, give);
}

async fn arrives(weather: &mut watch::Receiver<Weather>) -> Result<(), watch::error::RecvError> {
    weather.wait_for(|now| *now != Weather::Silent).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link to a place that says everything back.
    async fn echo() -> (Link, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let listen = SocketAddr::from((crate::support::own_address(), 7000));
        (Link::start(listen, target), listen)
    }

    async fn connected(address: SocketAddr) -> TcpStream {
        crate::support::eventually("a connection", async || TcpStream::connect(address).await).await
    }

    async fn says_back(stream: &mut TcpStream) -> bool {
        stream.write_all(b"x").await.unwrap();
        let mut byte = [0];
        matches!(stream.read(&mut byte).await, Ok(1))
    }

    #[tokio::test]
    async fn what_is_sent_in_silence_arrives_when_it_ends() {
        let (link, address) = echo().await;
        let mut stream = connected(address).await;
        assert!(says_back(&mut stream).await);
        link.set_all(Weather::Silent);
        let quiet = Duration::from_millis(200);
        assert!(tokio::time::timeout(quiet, says_back(&mut stream)).await.is_err());
        link.set_all(Weather::Clear);
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_slow_link_is_late_and_a_resetting_one_breaks_off() {
        let (link, address) = echo().await;
        let mut stream = connected(address).await;
        link.set_all(Weather::Slow(Duration::from_millis(50)));
        let started = Instant::now();
        assert!(says_back(&mut stream).await);
        assert!(started.elapsed() >= Duration::from_millis(100));
        link.set_all(Weather::Resetting);
        let mut byte = [0];
        assert!(stream.read(&mut byte).await.is_err());
        link.set_open(false);
        crate::support::eventually("refusal", async || match TcpStream::connect(address).await {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
            other => Err(other.map(|_| ())),
        })
        .await;
    }
}
