//! Where other gateways are, by their names; also while their names can't be looked up.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::time::timeout;

use crate::net::{NetError, Resolved};

/// How long an address that was found before is used without asking again, once a look-up fails.
const PAUSE: Duration = Duration::from_secs(2);

/// The addresses of gateways, as they were found last.
pub(super) struct Names {
    found: ArcSwap<BTreeMap<Box<str>, Found>>,
    pause: Duration,
}

#[derive(Clone, Copy)]
struct Found {
    address: IpAddr,
    /// Until then nobody asks again.
    good_until: Instant,
    /// It has been asked for again since, and no answer has come yet.
    is_old: bool,
}

impl Default for Names {
    fn default() -> Self {
        Self { found: ArcSwap::default(), pause: PAUSE }
    }
}

impl Names {
    /// The address of a host: as `look_up` says, or where it was found last if that says nothing
    /// within a time.
    ///
    /// # Errors
    /// It was never found.
    pub async fn address<F>(
        self: &Arc<Self>,
        host: &str,
        within: Duration,
        look_up: impl FnOnce() -> F,
    ) -> Result<IpAddr, NetError>
    where
        F: Future<Output = Result<Resolved, NetError>> + Send + 'static,
    {
        let known = self.found.load().get(host).copied();
        let Some(known) = known else { return self.ask(host, within, look_up()).await };
        let now = Instant::now();
        if now < known.good_until {
            return Ok(known.address);
        }
        // One asks. The others go on with what is known until it has been told.
        self.keep(host, Found { good_until: now + self.pause, is_old: true, ..known });
        let asked = self.ask(host, within, look_up()).await;
        if let Err(error) = &asked
            && !known.is_old
        {
            let address = known.address;
            tracing::warn!(host, %address, %error, "a gateway's last address is used");
        }
        Ok(asked.unwrap_or(known.address))
    }

    /// Asks in a task of its own: an answer that comes too late for this request is there for the
    /// next one.
    async fn ask(
        self: &Arc<Self>,
        host: &str,
        within: Duration,
        look_up: impl Future<Output = Result<Resolved, NetError>> + Send + 'static,
    ) -> Result<IpAddr, NetError> {
        let (this, name) = (Arc::clone(self), host.to_owned());
        let asked = tokio::spawn(async move { this.take(&name, look_up.await?) });
        match timeout(within, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => {
                Err(NetError::ResolverTimedOut { host: host.to_owned(), allowed: within })
            }
        }
    }

    fn take(&self, host: &str, answer: Resolved) -> Result<IpAddr, NetError> {
        let Some(address) = answer.addresses.first().copied() else {
            let why = "the answer has no address".to_owned();
            return Err(NetError::Unresolved { host: host.to_owned(), why });
        };
        let good_until = Instant::now() + answer.valid_for;
        self.keep(host, Found { address, good_until, is_old: false });
        Ok(address)
    }

    fn keep(&self, host: &str, found: Found) {
        self.found.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.insert(host.into(), found);
            all
        });
    }
}

/// Where a port of this gateway's own is reached: no name is needed for that.
pub(super) fn own_port(listen: SocketAddr) -> SocketAddr {
    let host = match listen.ip() {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        one => one,
    };
    SocketAddr::new(host, listen.port())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    /// Far above what an answer from memory takes.
    const WITHIN: Duration = Duration::from_secs(30);
    const LAST: Duration = Duration::from_secs(3600);

    fn names(pause: Duration) -> Arc<Names> {
        Arc::new(Names { pause, ..Names::default() })
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn found(last: u8, valid_for: Duration) -> Result<Resolved, NetError> {
        Ok(Resolved { addresses: vec![address(last)], valid_for })
    }

    fn nothing() -> Result<Resolved, NetError> {
        Err(NetError::Unresolved { host: "b.internal".into(), why: "no record".into() })
    }

    #[tokio::test]
    async fn an_address_is_kept_while_look_ups_fail_and_given_up_for_a_new_one() {
        let names = names(Duration::ZERO);
        let unknown = names.address("b.internal", WITHIN, || async { nothing() }).await;
        let error = unknown.unwrap_err();
        assert!(error.to_string().starts_with("'b.internal' has no address"), "{error}");
        let soon_over = || async { found(1, Duration::ZERO) };
        assert_eq!(names.address("b.internal", WITHIN, soon_over).await, Ok(address(1)));
        for _ in 0..3 {
            let kept = names.address("b.internal", WITHIN, || async { nothing() }).await;
            assert_eq!(kept, Ok(address(1)));
        }
        let other = names.address("c.internal", WITHIN, || async { nothing() }).await;
        assert!(other.is_err(), "only its own: {other:?}");
        let moved = names.address("b.internal", WITHIN, || async { found(2, LAST) }).await;
        assert_eq!(moved, Ok(address(2)));
    }

    #[tokio::test]
    async fn a_name_is_asked_for_again_when_its_time_is_over_and_not_with_every_request() {
        let names = names(LAST);
        let asked = Arc::new(AtomicU32::new(0));
        let look_up = |answer: fn() -> Result<Resolved, NetError>| {
            let asked = Arc::clone(&asked);
            move || async move {
                asked.fetch_add(1, Ordering::SeqCst);
                answer()
            }
        };
        let soon_over = || found(1, Duration::ZERO);
        names.address("b.internal", WITHIN, look_up(soon_over)).await.unwrap();
        for _ in 0..3 {
            names.address("b.internal", WITHIN, look_up(nothing)).await.unwrap();
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2, "it rests after a failure");
        names.address("c.internal", WITHIN, look_up(|| found(3, LAST))).await.unwrap();
        names.address("c.internal", WITHIN, look_up(nothing)).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 3, "it is good for as long as its record");
    }

    #[tokio::test]
    async fn an_answer_that_comes_too_late_is_there_for_the_next_request() {
        let names = names(Duration::ZERO);
        let (answer, awaited) = oneshot::channel();
        let late = move || async move { awaited.await.unwrap() };
        let error = names.address("b.internal", Duration::from_millis(5), late).await.unwrap_err();
        assert!(matches!(error, NetError::ResolverTimedOut { .. }), "{error:?}");
        answer.send(found(1, LAST)).unwrap();
        let kept = async {
            let unknown = || async { nothing() };
            while names.address("b.internal", WITHIN, unknown).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        timeout(WITHIN, kept).await.expect("the answer to be kept");
    }

    #[test]
    fn its_own_port_is_reached_without_a_name() {
        for (listens, reached) in [
            ("0.0.0.0:7443", "127.0.0.1:7443"),
            ("[::]:7443", "[::1]:7443"),
            ("10.1.2.3:7443", "10.1.2.3:7443"),
        ] {
            assert_eq!(own_port(listens.parse().unwrap()), reached.parse().unwrap());
        }
    }
}
