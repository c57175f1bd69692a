use std::fmt;
use std::net::SocketAddr;

use crate::request::UnixMillis;

/// A certificate in use.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Certificate {
    /// What for.
    pub shown: Shown,
    /// When it ends.
    pub ends: UnixMillis,
}

/// To whom a certificate is shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shown {
    /// To clients.
    Listener {
        /// By which port.
        address: SocketAddr,
        /// The first name that it is for; empty if it is for none.
        name: String,
    },
    /// To the other gateways.
    Fleet,
    /// To Kafka's brokers.
    Kafka,
    /// To a cluster's backends.
    Backend {
        /// The cluster.
        cluster: String,
    },
}

impl Shown {
    /// What tells it from others in metrics.
    pub(super) fn labels(&self) -> Vec<(&'static str, String)> {
        let mut labels = vec![("use", self.word().to_owned())];
        match self {
            Self::Listener { address, name } => {
                labels.push(("listener", address.to_string()));
                labels.push(("name", name.clone()));
            }
            Self::Backend { cluster } => labels.push(("cluster", cluster.clone())),
            Self::Fleet | Self::Kafka => {}
        }
        labels
    }

    const fn word(&self) -> &'static str {
        match self {
            Self::Listener { .. } => "listener",
            Self::Fleet => "fleet",
            Self::Kafka => "kafka",
            Self::Backend { .. } => "backend",
        }
    }
}

/// For the log: `listener 10.0.0.1:8443 api.bank.example`.
impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::Listener { address, name } => write!(f, " {address} {name}"),
            Self::Backend { cluster } => write!(f, " {cluster}"),
            Self::Fleet | Self::Kafka => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Metrics, Moment};

    #[test]
    fn each_use_has_a_series_that_tells_what_ends() {
        let address = "10.0.0.1:8443".parse().unwrap();
        let listener = Shown::Listener { address, name: "api.bank.example".to_owned() };
        assert_eq!(listener.to_string(), "listener 10.0.0.1:8443 api.bank.example");
        let backend = Shown::Backend { cluster: "cards".to_owned() };
        let ends = UnixMillis(2_000_000_000_500);
        let certificates = [listener, Shown::Fleet, Shown::Kafka, backend];
        let certificates = certificates.map(|shown| Certificate { shown, ends }).to_vec();
        let moment = Moment { certificates, ..Moment::default() };
        let text = Metrics::default().exposition_with(&moment);
        for labels in [
            r#"use="listener",listener="10.0.0.1:8443",name="api.bank.example""#,
            r#"use="fleet""#,
            r#"use="kafka""#,
            r#"use="backend",cluster="cards""#,
        ] {
            let name = "tollgate_certificate_not_after_timestamp_seconds";
            let line = format!("{name}{{{labels}}} 2000000000\n");
            assert!(text.contains(&line), "{line} is missing from\n{text}");
        }
    }
}
