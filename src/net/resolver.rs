use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{MAX_TTL, TokioResolver};

use super::NetError;

/// A name with a TTL of zero is still asked for at most once in this time.
const SHORTEST: Duration = Duration::from_secs(1);
/// Literal addresses and names of the hosts file: as long as any TTL may be (RFC 8767).
const LONGEST: Duration = Duration::from_secs(MAX_TTL as u64);
/// All attempts at all name servers and search domains together.
const ALLOWED: Duration = Duration::from_secs(10);

/// Turns host names into addresses as the system would: name servers, search domains and options
/// of `/etc/resolv.conf`, names of `/etc/hosts`. Answers are kept for their TTL.
///
/// Use one from one runtime: its connections to name servers live where they were first used.
#[derive(Clone)]
pub struct Resolver {
    names: TokioResolver,
}

/// The addresses of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// IPv4 addresses, or IPv6 addresses where there are no others; never empty, none twice, in
    /// the name server's order.
    pub addresses: Vec<IpAddr>,
    /// How long they may be used: the rest of the records' TTL, one second to one day.
    pub valid_for: Duration,
}

impl Resolver {
    /// Reads the system's configuration. Where that is missing or broken, asks a name server on
    /// this machine, as the C library does, and still knows the hosts file.
    pub fn from_system() -> Result<Self, NetError> {
        Self::or_local(read_system_conf())
    }

    fn or_local<E: fmt::Display>(
        read: Result<(ResolverConfig, ResolverOpts), E>,
    ) -> Result<Self, NetError> {
        let (config, options) = read.unwrap_or_else(|error| {
            tracing::warn!(%error, "no usable resolv.conf; asking the name server on 127.0.0.1");
            let local = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
            (ResolverConfig::from_name_servers(vec![local]), ResolverOpts::default())
        });
        Self::with(config, options)
    }

    fn with(config: ResolverConfig, mut options: ResolverOpts) -> Result<Self, NetError> {
        // One family: a host with both would stand twice among the endpoints, once by way of
        // IPv6 that many networks announce and don't route.
        options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let names = builder.build().map_err(|error| NetError::Client(error.to_string()))?;
        Ok(Self { names })
    }

    /// The addresses of a host name or of a literal address, with or without brackets.
    pub async fn lookup(&self, host: &str) -> Result<Resolved, NetError> {
        if let Some(address) = literal(host) {
            return Ok(Resolved { addresses: vec![address], valid_for: LONGEST });
        }
        let answer = tokio::time::timeout(ALLOWED, self.names.lookup_ip(host))
            .await
            .map_err(|_| NetError::ResolverTimedOut { host: host.into(), allowed: ALLOWED })?
            .map_err(|error| unresolved(host, error.to_string()))?;
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in answer.iter() {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(unresolved(host, "the answer has no address record".into()));
        }
        let rest = answer.valid_until().saturating_duration_since(Instant::now());
        Ok(Resolved { addresses, valid_for: rest.clamp(SHORTEST, LONGEST) })
    }
}

fn unresolved(host: &str, why: String) -> NetError {
    NetError::Unresolved { host: host.into(), why }
}

fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hickory_resolver::Hosts;
    use hickory_resolver::config::ConnectionConfig;
    use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
    use hickory_resolver::proto::rr::{RData, Record, RecordType};
    use tokio::net::UdpSocket;

    use super::*;

    /// A name server that knows `api.bank.example` (two A records, TTL 7), `v6.bank.example` (one
    /// AAAA record, TTL 0) and nothing else.
    async fn name_server() -> (Resolver, Arc<AtomicUsize>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut connection = ConnectionConfig::udp();
        connection.port = socket.local_addr().unwrap().port();
        let server = NameServerConfig::new(Ipv4Addr::LOCALHOST.into(), true, vec![connection]);
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut packet = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                counter.fetch_add(1, Ordering::SeqCst);
                let question = Message::from_vec(&packet[..length]).unwrap();
                socket.send_to(&answer(&question).to_vec().unwrap(), from).await.unwrap();
            }
        });
        let config = ResolverConfig::from_name_servers(vec![server]);
        (Resolver::with(config, ResolverOpts::default()).unwrap(), asked)
    }

    fn answer(question: &Message) -> Message {
        let query = question.queries.first().unwrap().clone();
        let name = query.name().clone();
        let mut message = Message::response(question.id, OpCode::Query);
        match (name.to_utf8().as_str(), query.query_type()) {
            ("api.bank.example.", RecordType::A) => {
                for last in [1, 2, 1] {
                    let address = IpAddr::from([10, 0, 0, last]);
                    message.add_answer(Record::from_rdata(name.clone(), 7, RData::from(address)));
                }
            }
            ("v6.bank.example.", RecordType::AAAA) => {
                let address = IpAddr::from(Ipv6Addr::LOCALHOST);
                message.add_answer(Record::from_rdata(name.clone(), 0, RData::from(address)));
            }
            ("api.bank.example." | "v6.bank.example.", _) => {}
            _ => message.metadata.response_code = ResponseCode::NXDomain,
        }
        message.add_query(query);
        message
    }

    #[tokio::test]
    async fn addresses_come_once_each_with_the_time_their_ttl_leaves() {
        let (resolver, asked) = name_server().await;
        let resolved = resolver.lookup("api.bank.example").await.unwrap();
        assert_eq!(
            resolved.addresses,
            ["10.0.0.1".parse::<IpAddr>().unwrap(), [10, 0, 0, 2].into()]
        );
        assert!(resolved.valid_for <= Duration::from_secs(7), "{:?}", resolved.valid_for);
        assert!(resolved.valid_for > Duration::from_secs(3), "{:?}", resolved.valid_for);

        let before = asked.load(Ordering::SeqCst);
        resolver.lookup("api.bank.example").await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), before, "asked again before the TTL was over");
    }

    #[tokio::test]
    async fn a_host_with_ipv6_alone_is_found_and_a_ttl_of_zero_lasts_a_second() {
        let (resolver, _) = name_server().await;
        let resolved = resolver.lookup("v6.bank.example").await.unwrap();
        assert_eq!(resolved.addresses, [IpAddr::from(Ipv6Addr::LOCALHOST)]);
        assert_eq!(resolved.valid_for, SHORTEST);
    }

    #[tokio::test]
    async fn an_unknown_name_says_which() {
        let (resolver, _) = name_server().await;
        let error = resolver.lookup("nowhere.bank.example").await.unwrap_err();
        assert!(error.to_string().starts_with("'nowhere.bank.example' has no address"), "{error}");
    }

    #[tokio::test]
    async fn literal_addresses_need_no_name_server() {
        let (resolver, asked) = name_server().await;
        for (text, address) in [
            ("192.0.2.7", IpAddr::from([192, 0, 2, 7])),
            ("::1", Ipv6Addr::LOCALHOST.into()),
            ("[::1]", Ipv6Addr::LOCALHOST.into()),
        ] {
            let resolved = resolver.lookup(text).await.unwrap();
            assert_eq!(resolved, Resolved { addresses: vec![address], valid_for: LONGEST });
        }
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn localhost_and_names_of_the_hosts_file_need_no_name_server() {
        let (mut resolver, asked) = name_server().await;
        let mut hosts = Hosts::default();
        hosts.read_hosts_conf("10.9.8.7 ledger.internal ledger\n".as_bytes()).unwrap();
        resolver.names.set_hosts(Arc::new(hosts));
        for (host, address) in [("localhost", [127, 0, 0, 1]), ("ledger.internal", [10, 9, 8, 7])] {
            let resolved = resolver.lookup(host).await.unwrap();
            assert_eq!(resolved.addresses, [IpAddr::from(address)], "{host}");
            assert!(resolved.valid_for <= LONGEST);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn without_a_resolv_conf_local_names_still_work() {
        let resolver = Resolver::or_local(Err("no such file")).unwrap();
        let resolved = resolver.lookup("localhost").await.unwrap();
        assert_eq!(resolved.addresses, [IpAddr::from(Ipv4Addr::LOCALHOST)]);
        assert!(Resolver::from_system().unwrap().lookup("localhost").await.is_ok());
    }

    #[tokio::test]
    async fn names_that_are_no_names_are_refused() {
        let (resolver, _) = name_server().await;
        for host in ["", &"a".repeat(64), &"a.".repeat(200), "a..b"] {
            assert!(resolver.lookup(host).await.is_err(), "{host:?}");
        }
    }
}
