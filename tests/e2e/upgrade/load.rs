//! Clients of every kind that ask on and on, and put up with nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::support::{Tollgate, eventually};

/// Between a client's requests.
const PAUSE: Duration = Duration::from_millis(5);
/// A request that takes longer has failed.
const LONGEST: Duration = Duration::from_secs(30);

/// How a client keeps its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    KeepsAlive,
    Http2,
    ConnectsAnew,
}

const KINDS: [Kind; 3] = [Kind::KeepsAlive, Kind::Http2, Kind::ConnectsAnew];
const RULES: [&str; 2] = ["strict", "fast"];

/// A client and its own account.
struct Client {
    kind: Kind,
    rule: &'static str,
    account: String,
    served: AtomicU64,
}

pub struct Load {
    clients: Vec<Arc<Client>>,
    tasks: Vec<JoinHandle<()>>,
    stopped: Arc<AtomicBool>,
    failed: Arc<Mutex<Vec<String>>>,
}

impl Load {
    pub fn start(base: String) -> Self {
        let kinds = KINDS.iter().flat_map(|kind| RULES.map(|rule| (*kind, rule)));
        let clients: Vec<_> = (0..)
            .zip(kinds)
            .map(|(number, (kind, rule))| {
                let account = format!("47{number:02}");
                Arc::new(Client { kind, rule, account, served: AtomicU64::new(0) })
            })
            .collect();
        let (stopped, failed) = (Arc::default(), Arc::default());
        let start = |client: &Arc<Client>| {
            let (stopped, failed) = (Arc::clone(&stopped), Arc::clone(&failed));
            tokio::spawn(client.clone().ask_on_and_on(base.clone(), stopped, failed))
        };
        let tasks = clients.iter().map(start).collect();
        Self { clients, tasks, stopped, failed }
    }

    /// Waits until each client has had another answer.
    pub async fn until_served_again(&self) {
        let served = || self.clients.iter().map(|client| client.served.load(Ordering::SeqCst));
        let before: Vec<u64> = served().collect();
        eventually("each client to be served again", async || {
            let failed = self.failed.lock().unwrap().clone();
            assert!(failed.is_empty(), "{failed:#?}");
            let all = served().zip(&before).all(|(now, before)| now > *before);
            if all { Ok(()) } else { Err(served().collect::<Vec<_>>()) }
        })
        .await;
    }

    /// Ends the load, and finds every use counted once, by the gateway that serves now.
    pub async fn stop_and_judge(self, gateway: &Tollgate) {
        self.stopped.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        let failed = self.failed.lock().unwrap().clone();
        assert!(failed.is_empty(), "{failed:#?}");
        for client in self.clients {
            let served = client.served.load(Ordering::SeqCst);
            // Uses of a fast rule are written a moment later.
            eventually("every use to be counted once", async || {
                let used = used(gateway, &client.account, client.rule).await;
                let what = (client.kind, client.rule, &client.account);
                if used == served { Ok(()) } else { Err(format!("{what:?}: {used} of {served}")) }
            })
            .await;
        }
    }
}

/// What an account has used of a rule.
pub async fn used(gateway: &Tollgate, account: &str, rule: &str) -> u64 {
    let view = gateway.view(&format!("/quotas/{account}")).await;
    let quotas = view["quotas"].as_array().cloned().unwrap_or_default();
    let mine = quotas.iter().filter(|quota| quota["rule"] == rule);
    mine.filter_map(|quota| quota["used"].as_u64()).sum()
}

impl Client {
    async fn ask_on_and_on(
        self: Arc<Self>,
        base: String,
        stopped: Arc<AtomicBool>,
        failed: Arc<Mutex<Vec<String>>>,
    ) {
        let client = reqwest::Client::builder().timeout(LONGEST);
        let client = match self.kind {
            Kind::KeepsAlive => client,
            Kind::Http2 => client.http2_prior_knowledge(),
            Kind::ConnectsAnew => client.pool_max_idle_per_host(0),
        };
        let client = client.build().unwrap();
        let url = format!("{base}/{}/{}", self.rule, self.account);
        while !stopped.load(Ordering::SeqCst) {
            match ask(&client, &url).await {
                Ok(()) => _ = self.served.fetch_add(1, Ordering::SeqCst),
                Err(why) => failed.lock().unwrap().push(format!("{:?}: {why}", self.kind)),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn ask(client: &reqwest::Client, url: &str) -> Result<(), String> {
    let answer = client.get(url).send().await.map_err(|error| format!("{error:?}"))?;
    let status = answer.status();
    let body = answer.text().await.map_err(|error| format!("{status}: {error:?}"))?;
    if status == 200 && body == "answer" { Ok(()) } else { Err(format!("{status} {body}")) }
}
