//! Delay, faults, and back to the start.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Control, read};
use crate::fault::{FaultSwitch, Setting};
use crate::problem::Problem;
use crate::service::Service;

/// Nobody waits longer on purpose.
const LONGEST_DELAY_MS: u64 = 3_600_000;

/// A port that takes this long to close or to open again is stuck: somebody else may have taken it.
const EFFECT_LIMIT: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delay {
    ms: u64,
}

/// Whose switch is meant.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// All five account services.
    All,
    /// The identity provider.
    Identity,
    /// One account service.
    #[serde(untagged)]
    Service(Service),
}

/// `PUT /delay`
pub async fn delay(
    State(control): State<Arc<Control>>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let Delay { ms } = read(&body)?;
    if ms > LONGEST_DELAY_MS {
        return Err(Problem::bad_request(format!("`ms` is at most {LONGEST_DELAY_MS}")));
    }
    control.bank.set_delay(Duration::from_millis(ms));
    Ok(Json(json!({ "ms": ms })))
}

/// `PUT /fault/{place}`. Answers when the fault is in effect.
pub async fn fault(
    State(control): State<Arc<Control>>,
    Path(place): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let known = serde_json::from_value(json!(place)).map_err(|_| {
        Problem::not_found(
            "faults are those of checking, savings, cards, loans, investments, all, identity",
        )
    })?;
    let setting = read::<Setting>(&body)?
        .checked()
        .map_err(|error| Problem::bad_request(error.to_string()))?;
    let switches = control.switches(&known);
    for switch in &switches {
        switch.set(setting);
    }
    in_effect(&switches).await?;
    let mut view = Map::new();
    view.insert("place".to_owned(), json!(place));
    if let Value::Object(setting) = json!(setting) {
        view.extend(setting);
    }
    Ok(Json(Value::Object(view)))
}

/// `POST /reset`
pub async fn reset(
    State(control): State<Arc<Control>>,
) -> Result<Json<Map<String, Value>>, Problem> {
    control.bank.reset();
    control.identity.reset();
    let mut switches = control.switches(&Place::All);
    switches.extend(control.switches(&Place::Identity));
    in_effect(&switches).await?;
    Ok(super::state(State(control)).await)
}

async fn in_effect(switches: &[FaultSwitch]) -> Result<(), Problem> {
    for switch in switches {
        if !switch.in_effect(EFFECT_LIMIT).await {
            return Err(Problem::unavailable(
                "the port could not be opened again: somebody else has it",
            ));
        }
    }
    Ok(())
}

impl Control {
    fn switches(&self, place: &Place) -> Vec<FaultSwitch> {
        let of = |service: Service| self.bank.desk(service).faults.clone();
        match place {
            Place::All => Service::ALL.into_iter().map(of).collect(),
            Place::Identity => vec![self.identity.faults.clone()],
            Place::Service(service) => vec![of(*service)],
        }
    }
}
