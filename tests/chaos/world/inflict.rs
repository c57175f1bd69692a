//! How each fault is done and ended. Each returns when the fleet has what it needs again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{PATIENCE, World};
use crate::broker::Broker;
use crate::fault::{Fault, GATEWAYS};
use crate::link::Weather;

impl World {
    /// Does a fault and ends it.
    ///
    /// # Errors
    /// Something did not come back that had to.
    pub async fn inflict(&self, fault: &Fault) -> Result<(), String> {
        match *fault {
            Fault::Kill { gateway, away } => self.kill(gateway, away).await,
            Fault::Freeze { gateway, lasts } => self.freeze(gateway, lasts).await,
            Fault::Restart { gateway } => self.restart(gateway).await,
            Fault::RollingRestart => {
                for gateway in 0..GATEWAYS {
                    self.restart(gateway).await?;
                    // A balancer sends requests again.
                    sleep(Duration::from_secs(1)).await;
                }
                Ok(())
            }
            Fault::Reload { gateway, wrong } => self.reload(gateway, wrong).await,
            Fault::CutFromKafka { gateway, weather, lasts } => {
                self.weather_to_kafka(gateway, weather, lasts).await;
                self.until_ready(gateway).await
            }
            Fault::SlowKafka { gateway, late, lasts } => {
                self.weather_to_kafka(gateway, Weather::Slow(late), lasts).await;
                self.until_ready(gateway).await
            }
            Fault::CutFromFleet { gateway, from, weather, lasts } => {
                self.weather_in_fleet(gateway, from, weather, lasts).await;
                self.until_ready(gateway).await
            }
            Fault::StepClock { gateway, seconds, lasts } => {
                self.step_clock(gateway, seconds, lasts).await;
                self.until_ready(gateway).await
            }
            Fault::FillDisk { gateway, lasts } => {
                self.fill_disk(gateway, lasts).await;
                self.until_ready(gateway).await
            }
            Fault::KillBroker { broker, away } => {
                self.broker(move |brokers| brokers.kill(broker)).await;
                sleep(away).await;
                self.broker(move |brokers| brokers.start(broker)).await;
                Ok(())
            }
            Fault::RestartBroker { broker } => {
                self.broker(move |brokers| brokers.stop(broker)).await;
                self.broker(move |brokers| brokers.start(broker)).await;
                Ok(())
            }
            Fault::FreezeBroker { broker, lasts } => {
                self.broker(move |brokers| brokers.signal(broker, "STOP")).await;
                sleep(lasts).await;
                self.broker(move |brokers| brokers.signal(broker, "CONT")).await;
                Ok(())
            }
        }
    }

    async fn kill(&self, number: usize, away: Duration) -> Result<(), String> {
        let member = &self.members[number];
        let mut gateway = member.gateway.lock().await;
        member.is_down.store(true, Ordering::SeqCst);
        gateway.process().kill();
        member.to_fleet.set_open(false);
        sleep(away).await;
        self.start_again(number, &mut gateway);
        self.until_ready(number).await
    }

    async fn freeze(&self, number: usize, lasts: Duration) -> Result<(), String> {
        let mut gateway = self.members[number].gateway.lock().await;
        gateway.process().signal("STOP");
        sleep(lasts).await;
        gateway.process().signal("CONT");
        self.until_ready(number).await
    }

    async fn restart(&self, number: usize) -> Result<(), String> {
        let mut gateway = self.members[number].gateway.lock().await;
        self.members[number].is_down.store(true, Ordering::SeqCst);
        gateway.terminate();
        let asked = Instant::now();
        let status = loop {
            if let Some(status) = gateway.process().exited() {
                break status;
            }
            if asked.elapsed() > PATIENCE {
                return Err(format!("gateway {number} has not ended {PATIENCE:?} after SIGTERM"));
            }
            sleep(Duration::from_millis(10)).await;
        };
        self.members[number].to_fleet.set_open(false);
        self.start_again(number, &mut gateway);
        self.until_ready(number).await?;
        let stopped = format!("gateway {number} stopped with {status}");
        if status.success() { Ok(()) } else { Err(stopped) }
    }

    /// A wrong configuration changes nothing, and the next right one is taken.
    async fn reload(&self, number: usize, wrong: bool) -> Result<(), String> {
        let gateway = self.members[number].gateway.lock().await;
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        let config = self.config(number, version);
        if wrong {
            gateway.rewrite_config(&config.replace("limit: 5,", "limit: five,"));
            gateway.hang_up();
            sleep(Duration::from_secs(2)).await;
        }
        gateway.rewrite_config(&config);
        gateway.hang_up();
        drop(gateway);
        self.until_version(number, version).await
    }

    async fn until_version(&self, number: usize, version: u64) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let answer = self.client.get(self.url(number, "/version")).send().await;
            let said = match answer {
                Ok(answer) => answer.text().await.unwrap_or_default(),
                Err(error) => format!("{error:?}"),
            };
            if said == version.to_string() {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("gateway {number} did not take version {version}: {said}"));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn weather_to_kafka(&self, number: usize, weather: Weather, lasts: Duration) {
        let links = &self.members[number].to_kafka;
        links.iter().for_each(|link| link.set_all(weather));
        sleep(lasts).await;
        links.iter().for_each(|link| link.set_all(Weather::Clear));
    }

    async fn weather_in_fleet(
        &self,
        number: usize,
        from: Option<usize>,
        weather: Weather,
        lasts: Duration,
    ) {
        let link = &self.members[number].to_fleet;
        let set = |weather| match from {
            Some(from) => link.set(from, weather),
            None => (0..GATEWAYS).filter(|from| *from != number).for_each(|from| {
                link.set(from, weather);
            }),
        };
        set(weather);
        sleep(lasts).await;
        set(Weather::Clear);
    }

    async fn step_clock(&self, number: usize, seconds: i64, lasts: Duration) {
        let Some(clock) = &self.members[number].clock else { return };
        // Nothing starts meanwhile: librdkafka waits for its first answers by the wall clock.
        let _gateway = self.members[number].gateway.lock().await;
        clock.set(seconds);
        sleep(lasts).await;
        clock.set(0);
    }

    async fn fill_disk(&self, number: usize, lasts: Duration) {
        let Some(disk) = &self.members[number].disk else { return };
        let ballast = tokio::task::block_in_place(|| disk.fill());
        sleep(lasts).await;
        std::fs::remove_file(ballast).unwrap();
    }

    async fn broker(&self, what: impl FnOnce(&Broker) + Send + 'static) {
        let broker = Arc::clone(&self.broker);
        tokio::task::spawn_blocking(move || what(&broker)).await.unwrap();
    }
}
