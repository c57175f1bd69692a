use tokio::sync::watch;

/// Whether the ports accept connections. Shut and opened again, as an upgrade needs it: the
/// process that is replaced stops accepting before its successor begins, and goes on if that one
/// fails.
pub(super) struct Gate {
    wanted: watch::Sender<bool>,
    accepting: watch::Sender<bool>,
    closing: watch::Sender<bool>,
}

impl Default for Gate {
    fn default() -> Self {
        let [accepting, closing] = [false; 2].map(watch::Sender::new);
        Self { wanted: watch::Sender::new(true), accepting, closing }
    }
}

impl Gate {
    /// Has nothing more accepted; returns when that is so.
    pub async fn shut(&self) {
        self.wanted.send_replace(false);
        // Fails only without a sender, and this is one.
        let _ = self.accepting.subscribe().wait_for(|accepting| !accepting).await;
    }

    pub fn open(&self) {
        self.wanted.send_replace(true);
    }

    pub async fn until_shut(&self) {
        let _ = self.wanted.subscribe().wait_for(|wanted| !wanted).await;
    }

    pub async fn until_open(&self) {
        let _ = self.wanted.subscribe().wait_for(|wanted| *wanted).await;
    }

    pub fn note_accepting(&self, accepting: bool) {
        self.accepting.send_replace(accepting);
    }

    /// Has connections end that wait for a request.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    pub fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }
}
