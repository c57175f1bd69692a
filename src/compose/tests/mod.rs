//! What a composite route's caller and its backends see, over real sockets on this machine.

mod backend;
mod failing;
mod graph;
pub(super) mod inputs;
mod items;
mod proxy;
mod sending;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderMap;
use serde_json::Value;

use super::{ComposeReport, ComposedAnswer, Composer};
use crate::config::model::{
    BackendProtocol, Balance, Cluster, Compose, Conflict, Deadlines, Endpoint, ForEach,
    HeaderEdits, Need, Part,
};
use crate::net::{NetError, Resolved};
use crate::observe::Metrics;
use crate::request::{JsonPointer, RouteId, SystemClock};
use crate::upstream::discovery::Names;
use crate::upstream::{Clusters, Shared};

/// Long against what a busy machine does in a test, short for one who waits for a failing test.
const AMPLE: Duration = Duration::from_secs(20);

/// A deadline that no test waits for: longer than [`AMPLE`], so that nothing that should end at
/// once passes for having ended when its deadline did.
const LATER: Duration = Duration::from_secs(120);

/// Knows no name: backends are addresses here.
#[derive(Debug)]
struct NoNames;

#[async_trait]
impl Names for NoNames {
    async fn addresses(&self, host: &str) -> Result<Resolved, NetError> {
        Err(NetError::Unresolved { host: host.into(), why: "no such name".into() })
    }
}

/// A plan in the making.
struct Plan {
    address: SocketAddr,
    parts: Vec<Part>,
    conflict: Conflict,
    edits: HeaderEdits,
    metrics: Arc<Metrics>,
}

/// A plan whose parts ask the backend at this address.
fn plan(address: SocketAddr) -> Plan {
    Plan {
        address,
        parts: Vec::new(),
        conflict: Conflict::Error,
        edits: HeaderEdits::default(),
        metrics: Arc::default(),
    }
}

impl Plan {
    /// One more part, required, whose answer goes to the member of its name.
    fn part(self, name: &str, path: &str) -> Self {
        let cluster = cluster("bank", self.address);
        self.part_of(cluster, name, path)
    }

    fn part_of(mut self, cluster: Cluster, name: &str, path: &str) -> Self {
        let names: Vec<Arc<str>> = self.parts.iter().map(|part| part.name.clone()).collect();
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        self.parts.push(Part {
            name: name.into(),
            cluster: Arc::new(cluster),
            path: inputs::template(path, &names),
            into: vec![name.into()],
            deadline: LATER,
            need: Need::Required,
            empty_on: Vec::new(),
            needs: Vec::new(),
            for_each: None,
            edits: Vec::new(),
            max_body: 1 << 20,
        });
        self
    }

    /// Changes the part that was added last.
    fn but(mut self, change: impl FnOnce(&mut Part)) -> Self {
        change(self.parts.last_mut().unwrap());
        self
    }

    fn optional(self) -> Self {
        self.but(|part| part.need = Need::Optional)
    }

    fn into(self, dotted: &str) -> Self {
        let into = dotted.split('.').filter(|name| !name.is_empty()).map(Arc::from).collect();
        self.but(|part| part.into = into)
    }

    /// One call for each item of the list at `at` in the part `index`.
    fn for_each(self, index: usize, at: &str, concurrency: usize, max_items: usize) -> Self {
        let list = JsonPointer::parse(at).unwrap();
        self.but(|part| {
            part.for_each = Some(ForEach { part: index, list, concurrency, max_items });
        })
    }

    fn build(self) -> Arc<Composer> {
        let models: BTreeMap<_, _> =
            self.parts.iter().map(|it| (it.cluster.name.clone(), it.cluster.clone())).collect();
        let shared = Shared {
            resolver: Arc::new(NoNames),
            clock: Arc::new(SystemClock),
            metrics: Arc::clone(&self.metrics),
        };
        let clusters = Clusters::new(&models, None, shared).unwrap();
        let plan = Compose {
            parts: self.parts,
            conflict: self.conflict,
            partial_member: "partial".into(),
        };
        let route = RouteId::new("summary");
        let composer =
            Composer::new(route, Arc::new(plan), &self.edits, &clusters, self.metrics).unwrap();
        Arc::new(composer)
    }

    async fn run(self) -> Ran {
        run(&self.build()).await
    }
}

/// A composition as its caller sees it.
struct Ran {
    answer: ComposedAnswer,
    report: ComposeReport,
}

async fn run(composer: &Composer) -> Ran {
    run_with(composer, &inputs::inputs("4711"), &HeaderMap::new()).await
}

async fn run_with(composer: &Composer, inputs: &super::ComposeInputs, fields: &HeaderMap) -> Ran {
    let composing = composer.compose(inputs, fields);
    let (answer, report) = tokio::time::timeout(AMPLE, composing).await.expect("it ends");
    Ran { answer, report }
}

impl Ran {
    fn text(&self) -> &str {
        assert_eq!(self.answer.status, 200, "{:?}", self.report);
        std::str::from_utf8(&self.answer.body).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(self.text()).unwrap()
    }

    fn partial(&self) -> Option<&str> {
        self.answer.headers.get(super::X_PARTIAL).map(|value| value.to_str().unwrap())
    }
}

fn cluster(name: &str, address: SocketAddr) -> Cluster {
    Cluster {
        name: name.into(),
        endpoints: vec![Endpoint {
            host: address.ip().to_string().into(),
            port: address.port(),
            weight: 1,
        }],
        balance: Balance::RoundRobin,
        protocol: BackendProtocol::Http1,
        tls: None,
        health: None,
        ejection: None,
        deadlines: Deadlines { connect: LATER, first_byte: LATER, idle: LATER, total: LATER },
        retries: None,
    }
}

/// Waits until something holds that happens in the background.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let looked = async {
        let mut looks = tokio::time::interval(Duration::from_millis(2));
        while !holds() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(AMPLE, looked).await.unwrap_or_else(|_| panic!("never: {what}"));
}
