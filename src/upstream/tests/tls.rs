use openssl::ssl::{AlpnError, SslAcceptor, SslVerifyMode, select_next_proto};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;

use super::super::{CallError, ClusterError, Failure, TransportError};
use super::backend::{Backend, Reply};
use super::*;
use crate::config::model::{BackendTls, HealthCheck, HealthProbe, Secret};
use crate::testing::authority::Authority;

const NAME: &str = "accounts.bank.example";

fn an_authority() -> Authority {
    Authority::new("An authority of the test")
}

/// A server with a certificate for this name; `clients` must show one of that authority.
fn acceptor(servers: &Authority, name: &str, clients: Option<&Authority>) -> SslAcceptor {
    let mut builder = servers.sign("server", &[name]).acceptor();
    builder.set_alpn_select_callback(|_, offered| {
        select_next_proto(b"\x08http/1.1", offered).ok_or(AlpnError::NOACK)
    });
    if let Some(clients) = clients {
        let mut store = X509StoreBuilder::new().unwrap();
        store.add_cert(X509::from_pem(clients.pem().as_bytes()).unwrap()).unwrap();
        builder.set_verify_cert_store(store.build()).unwrap();
        builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    }
    builder.build()
}

async fn serve(servers: &Authority, name: &str) -> Backend {
    Backend::with_tls(acceptor(servers, name, None), |_| Reply::ok("fine")).await
}

fn trusted(authority: &Authority) -> Option<Arc<[u8]>> {
    Some(authority.pem().into_bytes().into())
}

fn secured(backend: &Backend, authorities: Option<Arc<[u8]>>) -> Cluster {
    let tls = BackendTls { server_name: Some(NAME.into()), authorities, client: None };
    Cluster { tls: Some(tls), ..cluster([backend.address]) }
}

async fn untrusted(model: &Cluster) -> String {
    match live(model, shared()).call(&get(), limits(), None).await {
        Err(CallError::Failed { failure: Failure::Untrusted(why), .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_backend_with_the_right_name_and_authority_is_called_over_one_connection() {
    let authority = an_authority();
    let backend = serve(&authority, NAME).await;
    let cluster = live(&secured(&backend, trusted(&authority)), shared());
    for _ in 0..5 {
        let answer = cluster.call(&get(), limits(), None).await.unwrap();
        assert_eq!(&answer.body[..], b"fine");
    }
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn a_backend_with_another_name_is_refused_before_it_sees_the_request() {
    let authority = an_authority();
    let backend = serve(&authority, "evil.example").await;
    let why = untrusted(&secured(&backend, trusted(&authority))).await;
    assert!(why.contains(NAME), "{why}");
    assert_eq!(backend.hits(), 0);
}

#[tokio::test]
async fn a_backend_of_another_authority_is_refused_before_it_sees_the_request() {
    let backend = serve(&an_authority(), NAME).await;
    untrusted(&secured(&backend, trusted(&an_authority()))).await;
    // Nor does the system trust it.
    untrusted(&secured(&backend, None)).await;
    assert_eq!(backend.hits(), 0);
}

#[tokio::test]
async fn a_connection_does_not_outlive_the_authorities_it_was_made_with() {
    let authority = an_authority();
    let backend = serve(&authority, NAME).await;
    let model = secured(&backend, trusted(&authority));
    let before = clusters_of(&[&model], None, shared());
    before.get(&model.name).unwrap().call(&get(), limits(), None).await.unwrap();
    let model = secured(&backend, trusted(&an_authority()));
    let after = clusters_of(&[&model], Some(&before), shared()).get(&model.name).unwrap();
    let error = after.call(&get(), limits(), None).await.unwrap_err();
    assert!(matches!(error, CallError::Failed { failure: Failure::Untrusted(_), .. }), "{error:?}");
    assert_eq!(backend.hits(), 1);
}

#[tokio::test]
async fn the_client_certificate_is_shown_to_a_backend_that_asks() {
    let (servers, clients) = (an_authority(), an_authority());
    let acceptor = acceptor(&servers, NAME, Some(&clients));
    let backend = Backend::with_tls(acceptor, |_| Reply::ok("fine")).await;
    let bare = secured(&backend, trusted(&servers));
    live(&bare, shared()).call(&get(), limits(), None).await.unwrap_err();
    assert_eq!(backend.hits(), 0);
    let own = clients.sign("client", &["gateway.bank.example"]);
    let mut model = bare;
    let tls = model.tls.as_mut().unwrap();
    tls.client = Some((own.certificate.into_bytes().into(), Secret::new(own.key)));
    live(&model, shared()).call(&get(), limits(), None).await.unwrap();
    assert_eq!(backend.hits(), 1);
}

#[tokio::test]
async fn a_backend_without_tls_is_a_failed_connection() {
    let backend = Backend::saying(Reply::raw("HTTP/1.1 400 Bad Request\r\n\r\n")).await;
    let model = secured(&backend, trusted(&an_authority()));
    // The handshake is no request: the backend goes on waiting for its end.
    let mut model = model;
    model.deadlines.connect = Duration::from_millis(200);
    let error = live(&model, shared()).call(&get(), limits(), None).await.unwrap_err();
    assert!(matches!(error, CallError::Failed { failure: Failure::Connect(_), .. }), "{error:?}");
}

#[tokio::test]
async fn an_http2_cluster_falls_back_to_http1_where_alpn_says_so() {
    let authority = an_authority();
    let backend = serve(&authority, NAME).await;
    let model = secured(&backend, trusted(&authority));
    let model = Cluster { protocol: BackendProtocol::Http2, ..model };
    live(&model, shared()).call(&get(), limits(), None).await.unwrap();
}

#[tokio::test]
async fn health_checks_go_over_tls_and_verify_the_name() {
    let authority = an_authority();
    let (good, bad) = (serve(&authority, NAME).await, serve(&authority, "evil.example").await);
    let http = HealthProbe::Http {
        path: "/healthz".into(),
        host: None,
        expect: vec![http::StatusCode::OK],
    };
    for probe in [HealthProbe::Tcp, http] {
        let health = HealthCheck {
            probe,
            interval: Duration::from_secs(60),
            timeout: AMPLE,
            healthy_after: 1,
            unhealthy_after: 1,
        };
        let model = secured(&good, trusted(&authority));
        let endpoints = vec![endpoint(good.address, 1), endpoint(bad.address, 1)];
        let cluster = live(&Cluster { endpoints, health: Some(health), ..model }, shared());
        cluster.first_round().await;
        let health: Vec<_> = cluster.describe().endpoints.iter().map(|it| it.health).collect();
        use super::super::HealthView::{Healthy, Unhealthy};
        assert_eq!(health, [Healthy, Unhealthy]);
    }
    assert_eq!(bad.hits(), 0);
}

fn refused(change: impl FnOnce(&mut BackendTls)) -> TransportError {
    let tls = BackendTls { server_name: Some(NAME.into()), authorities: None, client: None };
    let mut model = Cluster { tls: Some(tls), ..cluster(addresses(1)) };
    change(model.tls.as_mut().unwrap());
    let models = BTreeMap::from([(model.name.clone(), Arc::new(model))]);
    let ClusterError { cluster, cause } = Clusters::new(&models, None, shared()).unwrap_err();
    assert_eq!(&*cluster, "accounts");
    cause
}

#[test]
fn settings_that_could_never_work_are_refused_at_load() {
    let authority = an_authority();
    let own = authority.sign("own", &["gateway.bank.example"]);
    let other = authority.sign("other", &["gateway.bank.example"]);
    let client = |certificate: &str, key: &str| {
        Some((certificate.as_bytes().into(), Secret::new(key.to_owned())))
    };
    assert_eq!(
        refused(|tls| tls.authorities = Some(b"no PEM"[..].into())),
        TransportError::Authorities
    );
    assert_eq!(
        refused(|tls| tls.client = client("no PEM", &own.key)),
        TransportError::ClientCertificate
    );
    assert_eq!(
        refused(|tls| tls.client = client(&own.certificate, "no PEM")),
        TransportError::ClientKey
    );
    assert_eq!(
        refused(|tls| tls.client = client(&own.certificate, &other.key)),
        TransportError::ClientPair
    );
    let nameless = refused(|tls| tls.server_name = None);
    assert_eq!(nameless, TransportError::NoServerName("127.1.0.1".into()));
}
