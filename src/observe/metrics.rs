use super::Event;

/// The one registry of metrics.
#[derive(Debug, Default)]
pub struct Metrics {}

impl Metrics {
    /// Counts something that happened.
    pub fn record(&self, _event: Event<'_>) {}
}
