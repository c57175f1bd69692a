//! The state directory and, in a fleet, Kafka: what one process at a time has open.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::keys;
use super::serve_error::ServeError;
use super::shared::{Ground, Parts, Shared};
use super::starting::{Starting, Step};
use crate::account::{AccountHasher, Fleet};
use crate::config::model::{CacheSettings, Config};
use crate::journal::{Embedded, Journal, JournalError, Kafka, topics};
use crate::net::Resolver;
use crate::observe::{AccessLog, Metrics};
use crate::quota::{Patience, Quotas};
use crate::request::Clock;
use crate::vault::{Vault, VaultError};

/// How long a start waits for Kafka: the two are often started together.
const KAFKA_PATIENCE: Duration = Duration::from_secs(60);

/// Opens what one process at a time may have open.
///
/// # Errors
/// See [`ServeError`].
pub(super) async fn open(
    config: &Config,
    runtime: &Runtime,
    ground: Ground,
    access_log: AccessLog,
    starting: &Starting,
) -> Result<Shared, ServeError> {
    let (clock, metrics) = (ground.clock.clone(), ground.metrics.clone());
    let directory = &config.state.directory;
    std::fs::create_dir_all(directory)
        .map_err(|error| ServeError::File { path: directory.to_owned(), error })?;
    let fleet = open_fleet(config, runtime)?;
    let quotas = begin_quotas(config, fleet.clone(), &clock, &metrics).await?;
    starting.at(Step::Counts(quotas.clone()));
    quotas.until_taken().await?;
    let counted = quotas.partitions().iter().any(|partition| partition.accounts > 0);
    let cache = keys::cache_settings(directory, &config.cache)?;
    let accounts = keys::account_hasher(&config.state, counted)?;
    starting.at(Step::Cache);
    let vault = open_vault(config, &cache, &accounts, &clock, &metrics)?;
    Ok(Shared::new(Parts { ground, access_log, accounts, quotas, fleet, vault }))
}

fn open_fleet(config: &Config, runtime: &Runtime) -> Result<Option<Arc<Fleet>>, ServeError> {
    let Some(settings) = &config.fleet else { return Ok(None) };
    // A resolver of its own: it belongs to the runtime that serves requests.
    let fleet = Fleet::open((**settings).clone(), Arc::new(Resolver::from_system()?))?;
    let fleet = Arc::new(fleet);
    let refreshed = fleet.clone();
    runtime.spawn(async move { refreshed.refresh_for_ever().await });
    Ok(Some(fleet))
}

/// Counts are exact only on topics that are set up for it. `patience`: how long to wait for Kafka.
pub(super) async fn refuse_unsafe_topics(
    config: &Config,
    patience: Duration,
) -> Result<(), ServeError> {
    let config = config.clone();
    let asked = tokio::task::spawn_blocking(move || topics::refuse_unsafe(&config, patience));
    for finding in asked.await.map_err(|_| JournalError::Closed)?? {
        tracing::warn!(%finding, "`tollgate kafka check` says more");
    }
    Ok(())
}

/// Opens the journal and begins to read it.
async fn begin_quotas(
    config: &Config,
    fleet: Option<Arc<Fleet>>,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<Arc<Quotas>, ServeError> {
    let directory = config.state.directory.join("journal");
    let mut patience = Patience::default();
    let journal: Arc<dyn Journal> = match &config.kafka {
        Some(kafka) => {
            refuse_unsafe_topics(config, KAFKA_PATIENCE).await?;
            // Others may have been given its partitions after a whole session.
            patience.silence = kafka.session_timeout / 2;
            patience.renewal = Some(topics::claim_renewal(config));
            let key = keys::fleet_key(&config.state)?;
            Arc::new(Kafka::open(kafka, &directory, &key, metrics.clone()).await?)
        }
        None => Arc::new(Embedded::open(&directory, config.state.partitions, metrics.clone())?),
    };
    let name = fleet.as_ref().map_or_else(|| "embedded".into(), |fleet| fleet.name().clone());
    let (clock, metrics) = (clock.clone(), metrics.clone());
    Ok(Quotas::begin(journal, clock, metrics, &name, fleet, patience))
}

fn open_vault(
    config: &Config,
    cache: &CacheSettings,
    accounts: &AccountHasher,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<&'static Vault, VaultError> {
    let directory = &config.state.directory;
    let (clock, metrics) = (clock.clone(), metrics.clone());
    let vault = match &config.kafka {
        Some(kafka) => Vault::open_fed(directory, cache, kafka, accounts.clone(), clock, metrics)?,
        None => Vault::open(directory, cache, clock, metrics)?,
    };
    vault.know_routes(&config.routes);
    Ok(vault)
}
