use tollgate::config::model::{KafkaSasl, KafkaTls, Secret};

use super::*;

pub fn sasl(password: &str) -> Option<KafkaSasl> {
    Some(KafkaSasl { username: "gateway".into(), password: Secret::new(password) })
}

/// With the certificate that brokers know it by, or without.
pub fn tls(broker: &Broker, client: bool) -> Option<KafkaTls> {
    let file = |name: &str| broker.folder().join("tls").join(name);
    let client = client.then(|| (file("client.pem"), file("client.key")));
    Some(KafkaTls { authorities: Some(file("ca.pem")), client })
}

impl Site {
    async fn refused(&self) -> String {
        let error = self.try_open().await.unwrap_err();
        assert!(matches!(error, JournalError::Unreachable { .. }), "{error:?}");
        error.to_string()
    }

    async fn writes_and_reads(&self) {
        let journal = self.open().await;
        let mut tail = journal.tail(0, 0).await.unwrap();
        let offset = journal.append(0, claim(1)).await.unwrap();
        assert_eq!(next(&mut tail).await.unwrap(), (offset, claim(1)));
    }
}

pub fn site(broker: &Broker) -> Site {
    let mut site = Site::without_topic(broker, 1);
    site.tuning.patience = Duration::from_secs(4);
    site
}

pub fn create(broker: &Broker, site: &Site) {
    let (admin, topic) = (broker.admin(), site.topic());
    let command = format!(
        "kafka-topics.sh --bootstrap-server {admin} --create --topic {topic} --partitions 1"
    );
    Broker::tool_works(&command, broker.folder());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_want_tls_and_a_password_get_both() {
    let broker = Broker::own(&["--tls", "--sasl", "gateway:right"]);
    let mut site = site(&broker);
    create(&broker, &site);
    // Plain text gets no answer at all.
    site.refused().await;
    site.settings.tls = tls(&broker, false);
    site.settings.sasl = sasl("wrong");
    let text = site.refused().await;
    assert!(text.contains("uthentication failed"), "{text}");
    assert!(!text.contains("wrong"), "{text}");
    site.settings.sasl = sasl("right");
    site.writes_and_reads().await;
    // A certificate of an authority that nobody gave.
    let strange = tempfile::tempdir().unwrap();
    let file = strange.path().join("ca.pem");
    let certified = rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap();
    std::fs::write(&file, certified.cert.pem()).unwrap();
    site.settings.tls = Some(KafkaTls { authorities: Some(file), client: None });
    let text = site.refused().await;
    assert!(text.contains("certificate verify failed"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_may_know_a_gateway_by_its_certificate() {
    let broker = Broker::own(&["--tls", "--client-certificates"]);
    let mut site = site(&broker);
    create(&broker, &site);
    site.settings.tls = tls(&broker, false);
    site.refused().await;
    site.settings.tls = tls(&broker, true);
    site.writes_and_reads().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_missing_is_named() {
    let mut site = Site::without_topic(Broker::shared(), 1);
    let authorities = Some("/nowhere/ca.pem".into());
    site.settings.tls = Some(KafkaTls { authorities, client: None });
    let error = site.try_open().await.unwrap_err();
    assert!(matches!(error, JournalError::KafkaClient(_)), "{error:?}");
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
}
