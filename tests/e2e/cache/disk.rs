//! Kept answers on disk.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use http::Response;

use super::{composed, config, files_below, own_route, route, until_on_disk};
use crate::support::{Answer, Backend, Bank, Tollgate, eventually};

#[tokio::test]
async fn kept_answers_survive_kill_9() {
    let bank = Bank::start().await;
    let text = config(&bank, "routes:\n")
        + &route("one", "fresh: 1h, visible_to: client")
        + &composed("all", "fresh: 1h, visible_to: subject", "");
    let mut gateway = Tollgate::start(&text).await;
    let caller = bank.token("budget-app").await;
    let (one, all) =
        (gateway.get("/one/4711", &caller).await, gateway.get("/all/4711", &caller).await);
    until_on_disk(&gateway, 2).await;
    gateway.crash_and_restart().await;
    bank.fault("all", "refuse").await;
    for (path, before) in [("/one/4711", one), ("/all/4711", all)] {
        let after = gateway.get(path, &caller).await;
        assert!(after.is_hit(), "{path}: {after:?}");
        assert_eq!(after.body, before.body);
        assert_eq!(after.header("etag"), before.header("etag"));
    }
}

fn overwrite_with_garbage(file: &Path) {
    let length = fs::metadata(file).unwrap().len().max(64);
    let garbage: Vec<u8> = (0..length).map(|n| (n * 31 % 251) as u8).collect();
    fs::write(file, garbage).unwrap();
}

fn flip_bytes(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    bytes.iter_mut().skip(7).step_by(61).for_each(|byte| *byte ^= 0x55);
    fs::write(file, bytes).unwrap();
}

fn cut_in_half(file: &Path) {
    let length = fs::metadata(file).unwrap().len();
    fs::File::options().write(true).open(file).unwrap().set_len(length / 2).unwrap();
}

#[tokio::test]
async fn a_spoilt_cache_on_disk_is_a_miss_and_no_error() {
    let bank = Bank::start().await;
    let text = config(&bank, "routes:\n") + &route("one", "fresh: 1h, visible_to: client");
    let mut gateway = Tollgate::start(&text).await;
    let caller = bank.token("budget-app").await;
    let first = gateway.get("/one/4711", &caller).await;
    for spoil in [overwrite_with_garbage, flip_bytes, cut_in_half] {
        until_on_disk(&gateway, 1).await;
        gateway.process().kill();
        let files = files_below(&gateway.folder().join("state/cache"));
        assert!(!files.is_empty());
        files.iter().for_each(|file| spoil(file));
        gateway.crash_and_restart().await;
        let again = gateway.get("/one/4711", &caller).await;
        assert_eq!((again.status.as_u16(), &again.body), (200, &first.body), "{again:?}");
        assert!(gateway.get("/one/4711", &caller).await.is_hit(), "it is kept anew");
    }
}

#[tokio::test]
async fn answers_are_opened_with_an_older_key_and_not_without_it() {
    let bank = Bank::start().await;
    let with_keys = |keys: &[char]| {
        let keys: Vec<String> = keys.iter().map(|key| key.to_string().repeat(32)).collect();
        config(&bank, &format!("cache: {{ sealing_keys: [{}] }}\nroutes:\n", keys.join(", ")))
            + &route("one", "fresh: 1h, visible_to: client")
    };
    let mut gateway = Tollgate::start(&with_keys(&['a'])).await;
    let caller = bank.token("budget-app").await;
    gateway.get("/one/4711", &caller).await;
    until_on_disk(&gateway, 1).await;

    for (keys, hit) in [(&['b', 'a'][..], true), (&['b'][..], false)] {
        gateway.process().kill();
        gateway.rewrite_config(&with_keys(keys));
        gateway.crash_and_restart().await;
        let answer = gateway.get("/one/4711", &caller).await;
        assert_eq!((answer.status.as_u16(), answer.is_hit()), (200, hit), "{keys:?}");
    }
}

#[tokio::test]
async fn neither_answers_nor_account_numbers_can_be_read_from_the_files() {
    let bank = Bank::start().await;
    let backend = Backend::start(|_| {
        let body = format!("{{\"note\":\"{}\"}}", "PLAINLY-READABLE-".repeat(40));
        Response::builder()
            .header("content-type", "application/json")
            .header("x-note", "PLAINLY-READABLE")
            .body(Bytes::from(body))
            .unwrap()
    })
    .await;
    let quotas = "quotas:\n  daily: { per: [account, client], limit: 9, window: 24h }\n";
    let cache = "fresh: 1h, visible_to: everyone";
    let text = config(&bank, &own_route(&backend, quotas, cache))
        .replace("account: path.account", "account: path.account\n    quotas: [daily]")
        .replace("authenticate: none", "authenticate: bank");
    let mut gateway = Tollgate::start(&text).await;
    let caller = bank.token("budget-app").await;
    let account = "DE02120300000000202051";
    let answer: Answer = gateway.get(&format!("/{account}/note"), &caller).await;
    assert!(String::from_utf8_lossy(&answer.body).contains("PLAINLY-READABLE"));
    until_on_disk(&gateway, 1).await;
    gateway.process().signal("TERM");
    eventually("the gateway to stop", async || gateway.process().exited().ok_or("it runs")).await;

    let mut bytes = 0;
    for file in files_below(&gateway.folder().join("state")) {
        let content = fs::read(&file).unwrap();
        bytes += content.len();
        for secret in ["PLAINLY-READABLE", account, &*caller] {
            let found = content.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} stands in {}", file.display());
        }
    }
    assert!(bytes > 500, "something was written at all");
    let log = fs::read_to_string(gateway.folder().join("access.log")).unwrap();
    assert!(log.contains("\"own\"") && !log.contains(account), "{log}");
}
