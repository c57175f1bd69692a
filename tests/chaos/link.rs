//! A network between two places that can be cut: a TCP proxy that passes everything on, until it
//! is told otherwise.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OnceCell, mpsc, watch};
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

/// Who a connection comes from: the place of its weather. It may take a while to find out, so
/// that it is asked only while weathers differ.
pub type Whence = Arc<dyn Fn(SocketAddr) -> Option<usize> + Send + Sync>;

/// A way to one place, with a weather for each that takes it.
pub struct Link {
    sky: watch::Sender<Vec<Weather>>,
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
        let (sky, seen) = watch::channel(vec![Weather::Clear; travellers]);
        let (open, opened) = watch::channel(true);
        let task = tokio::spawn(listen_for(listen, target, seen, whence, opened));
        Self { sky, open, task }
    }

    pub fn set(&self, traveller: usize, weather: Weather) {
        self.sky.send_modify(|sky| sky[traveller] = weather);
    }

    pub fn set_all(&self, weather: Weather) {
        self.sky.send_modify(|sky| sky.fill(weather));
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

async fn listen_for(
    listen: SocketAddr,
    target: SocketAddr,
    sky: watch::Receiver<Vec<Weather>>,
    whence: Whence,
    mut open: watch::Receiver<bool>,
) {
    while open.wait_for(|open| *open).await.is_ok() {
        let Ok(listener) = TcpListener::bind(listen).await else {
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        loop {
            tokio::select! {
                closed = open.wait_for(|open| !*open) => match closed {
                    Ok(_) => break,
                    Err(_) => return,
                },
                Ok((stream, peer)) = listener.accept() => {
                    let place = Arc::default();
                    let above = Above { sky: sky.clone(), whence: Arc::clone(&whence), peer, place };
                    tokio::spawn(connect(stream, target, above));
                }
            }
        }
    }
}

/// The weather above one connection.
#[derive(Clone)]
struct Above {
    sky: watch::Receiver<Vec<Weather>>,
    whence: Whence,
    peer: SocketAddr,
    place: Arc<OnceCell<Option<usize>>>,
}

impl Above {
    async fn now(&mut self) -> Weather {
        let sky = self.sky.borrow_and_update().clone();
        if sky.iter().all(|weather| *weather == sky[0]) {
            return sky[0];
        }
        let place = self.place.get_or_init(async || {
            let (whence, peer) = (Arc::clone(&self.whence), self.peer);
            tokio::task::spawn_blocking(move || whence(peer)).await.unwrap_or(None)
        });
        place.await.map_or(Weather::Clear, |place| sky[place])
    }

    /// Waits for a weather; an error is the link's end.
    async fn until(
        &mut self,
        wanted: impl Fn(Weather) -> bool,
    ) -> Result<Weather, watch::error::RecvError> {
        loop {
            let now = self.now().await;
            if wanted(now) {
                return Ok(now);
            }
            self.sky.changed().await?;
        }
    }

    async fn arrives(&mut self) -> Result<Weather, watch::error::RecvError> {
        self.until(|now| now != Weather::Silent).await
    }
}

async fn connect(mut near: TcpStream, target: SocketAddr, mut above: Above) {
    let _ = near.set_nodelay(true);
    let far = match above.arrives().await {
        Ok(Weather::Resetting) => return reset(&near),
        Ok(_) => TcpSocket::new_v4().unwrap().connect(target).await,
        Err(_) => return,
    };
    let Ok(mut far) = far else { return reset(&near) };
    let _ = far.set_nodelay(true);
    let ((near_in, near_out), (far_in, far_out)) = (near.split(), far.split());
    let there = pass(near_in, far_out, above.clone());
    let back = pass(far_in, near_out, above.clone());
    let broken = async { above.until(|now| now == Weather::Resetting).await.is_ok() };
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
    mut above: Above,
) {
    let (sender, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let mut sent_in = above.clone();
    let take = async move {
        let mut piece = vec![0; PIECE];
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            let late = match sent_in.now().await {
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
            if above.arrives().await.is_err() || to.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = above.arrives().await;
        let _ = to.shutdown().await;
    };
    tokio::join!(take, give);
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
