use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use reqwest::Client;

use super::fetch::{FetchError, FetchedKeys, fetch_keys};
use super::keyring::Shared;

/// However short a plan's bounds are, the clock isn't looked at in a busy loop.
const SHORTEST_LOOK: Duration = Duration::from_secs(1);

/// The task of a keyring: fetches when it is due or asked for, until it is aborted.
pub(super) async fn refresh_forever(shared: Arc<Shared>, client: Client) {
    loop {
        until_due(&shared).await;
        shared.begin();
        shared.end(fetch(&shared, &client).await);
    }
}

/// Waits for the next fetch that is planned, or that a request may ask for.
async fn until_due(shared: &Shared) {
    loop {
        let now = shared.clock.now();
        let next = shared.progress().next;
        if now >= next {
            return;
        }
        // A clock that was set back must not put the next fetch off for long.
        let wait = next.since(now).min(shared.plan.refresh_max.max(SHORTEST_LOOK));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shared.asked.notified() => {
                let now = shared.clock.now();
                if shared.progress().allows_asking(shared.plan.unknown_key_wait, now) {
                    return;
                }
            }
        }
    }
}

/// One fetch, bounded in time. A panic in it must not end the task: keys would never change again.
async fn fetch(shared: &Shared, client: &Client) -> Result<FetchedKeys, FetchError> {
    let fetching = AssertUnwindSafe(fetch_keys(client, &shared.plan.source)).catch_unwind();
    match tokio::time::timeout(shared.plan.timeout, fetching).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(FetchError::Panicked),
        Err(_) => Err(FetchError::TimedOut),
    }
}
