use std::time::Duration;

use tokio::sync::watch;

use super::{Fault, Setting};

/// The fault switch of one port. Clones are the same switch.
#[derive(Clone)]
pub struct FaultSwitch {
    setting: watch::Sender<Setting>,
    /// Whether the port is open, as its accept loop reports it.
    open: watch::Sender<bool>,
}

impl FaultSwitch {
    /// A switch at `ok`, of a port that is open.
    pub fn new() -> Self {
        Self { setting: watch::Sender::new(Setting::default()), open: watch::Sender::new(true) }
    }

    /// Sets the switch. Everybody who waits on it is told, even when the setting is the same.
    pub fn set(&self, setting: Setting) {
        self.setting.send_replace(setting);
    }

    /// How the switch stands.
    pub fn setting(&self) -> Setting {
        *self.setting.borrow()
    }

    /// What strikes the request that has just arrived; uses up one of its `times`.
    pub fn take(&self) -> Setting {
        let now = self.setting();
        if now.times.is_none() {
            return now;
        }
        let mut struck = Setting::default();
        self.setting.send_if_modified(|setting| {
            struck = *setting;
            setting.times = setting.times.map(|times| times.saturating_sub(1));
            if setting.times == Some(0) {
                *setting = Setting::default();
            }
            // Nobody is told: the requests that the fault did strike go on as they are.
            false
        });
        struck
    }

    /// Told at each setting from now on.
    pub fn watch(&self) -> watch::Receiver<Setting> {
        self.setting.subscribe()
    }

    /// Waits this long, or until the switch is set again.
    pub async fn pause(&self, length: Duration) {
        let mut settings = self.watch();
        let _ = tokio::time::timeout(length, settings.changed()).await;
    }

    /// Waits until the port is refused, or no longer.
    pub async fn until_refusing(&self, refusing: bool) {
        let is_so = |setting: &Setting| (setting.fault == Fault::Refuse) == refusing;
        // The switch owns a sender, so the wait can't fail.
        let _ = self.watch().wait_for(is_so).await;
    }

    /// The accept loop says whether its port is open.
    pub fn report_open(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// Waits until the port is as the switch says: closed for `refuse`, else open. False when that takes longer than `limit`.
    pub async fn in_effect(&self, limit: Duration) -> bool {
        let wanted = self.setting().fault != Fault::Refuse;
        let mut open = self.open.subscribe();
        tokio::time::timeout(limit, open.wait_for(|open| *open == wanted)).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_for_two_requests_spares_the_third() {
        let switch = FaultSwitch::new();
        switch.set(Setting { fault: Fault::Cut, ms: None, times: Some(2) });
        let struck: Vec<Fault> = (0..4).map(|_| switch.take().fault).collect();
        assert_eq!(struck, [Fault::Cut, Fault::Cut, Fault::Ok, Fault::Ok]);
        assert_eq!(switch.setting(), Setting::default());
    }

    #[tokio::test]
    async fn a_slow_answer_comes_when_the_switch_is_set_again() {
        let switch = FaultSwitch::new();
        let waiting = tokio::spawn({
            let switch = switch.clone();
            async move { switch.pause(Duration::from_secs(3_600)).await }
        });
        while switch.setting.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
        switch.set(Setting::default());
        tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    }
}
