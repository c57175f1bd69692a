//! Labels of what is counted for every request: made without allocating, since every request pays
//! for it.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use super::Exchange;
use crate::request::RouteId;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    route: RouteLabel,
    method: &'static str,
    status: u16,
    source: &'static str,
    /// `client`, or `fleet` if another gateway passed it on: that one has counted it too.
    arrival: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RouteLabels {
    route: RouteLabel,
    source: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StageLabels {
    pub stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RefusalLabels {
    pub r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct HitLabels {
    pub hit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CallLabels {
    pub cluster: NameLabel,
    pub status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ClusterLabels {
    pub cluster: NameLabel,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct QuotaLabels {
    pub rule: NameLabel,
    pub outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OperationLabels {
    pub operation: &'static str,
}

/// A name from the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct NameLabel(pub Arc<str>);

impl EncodeLabelValue for NameLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        (&*self.0).encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RouteLabel(Option<RouteId>);

impl EncodeLabelValue for RouteLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.0.as_ref().map_or("none", RouteId::as_str).encode(encoder)
    }
}

impl RequestLabels {
    pub fn of(exchange: &Exchange<'_>) -> Self {
        Self {
            route: RouteLabel(exchange.route.cloned()),
            method: method_word(exchange.method),
            status: exchange.status,
            source: exchange.source.word(),
            arrival: if exchange.passed_on { "fleet" } else { "client" },
        }
    }
}

impl RouteLabels {
    pub fn of(exchange: &Exchange<'_>) -> Self {
        Self { route: RouteLabel(exchange.route.cloned()), source: exchange.source.word() }
    }
}

/// A method made up by a caller must not make a series.
fn method_word(method: &str) -> &'static str {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("other")
}

/// `2xx` and the like; `none` for no answer.
pub(super) const fn status_class(status: Option<u16>) -> &'static str {
    match status {
        None => "none",
        Some(100..=199) => "1xx",
        Some(200..=299) => "2xx",
        Some(300..=399) => "3xx",
        Some(400..=499) => "4xx",
        Some(500..=599) => "5xx",
        // Backends may say anything that has three digits (RFC 9110 section 15).
        Some(_) => "other",
    }
}
