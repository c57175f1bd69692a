use std::sync::Arc;

use super::tls::Client;
use super::world::*;
use crate::config::model::ClientCertificates;
use crate::listener::ports::refresh_regularly;
use crate::listener::{ListenerError, Sockets};

async fn serial(running: &Running) -> String {
    let stream = Client::default().connect(running.address()).await.unwrap();
    let certificate = stream.ssl().peer_certificate().unwrap();
    certificate.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string()
}

#[tokio::test]
async fn changed_certificate_files_are_taken_into_use_without_touching_open_connections() {
    let authority = Authority::new("test");
    let running =
        run(with_tls(vec![authority.sign("one", &["old"]).files()], ClientCertificates::None));
    let before = serial(&running).await;
    let mut open = Client::default().connect(running.address()).await.unwrap();
    assert!(running.handle.refresh().is_empty());
    assert_eq!(serial(&running).await, before, "nothing has changed");

    authority.sign("one", &["new"]);
    assert!(running.handle.refresh().is_empty());
    assert_ne!(serial(&running).await, before);
    assert_eq!(running.handle.views()[0].certificates[0].names, ["new"]);

    tokio::io::AsyncWriteExt::write_all(&mut open, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(status(&read_answer(&mut open).await), 200);
}

#[tokio::test(start_paused = true)]
async fn certificate_files_are_looked_at_without_being_asked() {
    let authority = Authority::new("test");
    let listener =
        with_tls(vec![authority.sign("one", &["old"]).files()], ClientCertificates::None);
    let opened = open(vec![listener], Sockets::default()).unwrap();
    let (_stop, stopping) = tokio::sync::watch::channel(false);
    tokio::spawn(refresh_regularly(opened.handle.clone(), stopping));
    let names = || opened.handle.views()[0].certificates[0].names.clone();
    // Past the look at the start.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    authority.sign("one", &["new"]);
    assert_eq!(names(), ["old"]);
    eventually(|| names() == ["new"]).await;
}

#[tokio::test]
async fn bad_certificate_files_leave_the_old_ones_in_use_and_are_reported() {
    let authority = Authority::new("test");
    let signed = authority.sign("one", &["a"]);
    let running = run(with_tls(vec![signed.files()], ClientCertificates::None));
    let before = serial(&running).await;

    // Half of a renewal: the certificate is new, the key still the old one.
    authority.sign("one", &["b"]);
    std::fs::write(&signed.key_file, &signed.key).unwrap();
    let errors = running.handle.refresh();
    assert!(matches!(errors[..], [ListenerError::KeyMismatch { .. }]), "{errors:?}");
    assert!(running.handle.views()[0].trouble.as_ref().unwrap().contains("does not belong"));
    assert_eq!(serial(&running).await, before);

    std::fs::remove_file(&signed.key_file).unwrap();
    assert!(matches!(running.handle.refresh()[..], [ListenerError::Read { .. }]));
    assert_eq!(serial(&running).await, before);

    authority.sign("one", &["c"]);
    assert!(running.handle.refresh().is_empty());
    assert_ne!(serial(&running).await, before);
    assert_eq!(running.handle.views()[0].trouble, None);
}

#[tokio::test]
async fn changed_authorities_decide_about_the_next_client() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (server, client) = (ours.sign("server", &["a"]), theirs.sign("client", &["c"]));
    let required = ClientCertificates::Required { authorities: ours.file() };
    let running = run(with_tls(vec![server.files()], required));
    let ask = async || {
        let client = Client { certificate: Some(&client), ..Client::default() };
        let mut stream = client.connect(running.address()).await.ok()?;
        let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, request).await.ok()?;
        Some(status(&read_to_end(&mut stream).await))
    };
    assert_ne!(ask().await, Some(200));
    std::fs::write(ours.file(), ours.pem() + &theirs.pem()).unwrap();
    assert!(running.handle.refresh().is_empty());
    assert_eq!(ask().await, Some(200));
    std::fs::write(ours.file(), ours.pem()).unwrap();
    assert!(running.handle.refresh().is_empty());
    assert_ne!(ask().await, Some(200));
}

#[tokio::test]
async fn a_reload_changes_limits_and_tls_of_a_port() {
    let running = run(plain());
    let get = "GET /a-long-way HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    assert_eq!(status(&ask(running.address(), get).await), 200);
    let shorter = with_limits(|limits| limits.max_uri_bytes = 5);
    running.handle.prepare(&[Arc::new(shorter)]).unwrap().commit();
    assert_eq!(status(&ask(running.address(), get).await), 414);

    let authority = Authority::new("test");
    let tls = with_tls(vec![authority.sign("one", &["a"]).files()], ClientCertificates::None);
    running.handle.prepare(&[Arc::new(tls)]).unwrap().commit();
    Client::default().connect(running.address()).await.unwrap();
}

#[tokio::test]
async fn a_reload_that_cannot_be_changes_nothing_and_says_why() {
    let running = run(plain());
    let mut moved = plain();
    moved.address = "127.0.0.1:1".parse().unwrap();
    let refused = |listeners: &[Arc<crate::config::model::Listener>]| {
        running.handle.prepare(listeners).err().map(|error| error.to_string())
    };
    assert!(refused(&[Arc::new(moved.clone())]).unwrap().contains("restart"));
    assert!(refused(&[]).unwrap().contains("restart"));
    assert!(refused(&[Arc::new(plain()), Arc::new(moved)]).unwrap().contains("restart"));
    let authority = Authority::new("test");
    let mut bad = with_tls(vec![authority.sign("one", &["a"]).files()], ClientCertificates::None);
    bad.tls.as_mut().unwrap().certificates[0].key = "/nowhere".into();
    assert!(refused(&[Arc::new(bad)]).unwrap().contains("/nowhere"));
    let get = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    assert_eq!(status(&ask(running.address(), get).await), 200);
}
