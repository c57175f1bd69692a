mod content;
mod envelope;

use std::sync::Arc;

use jsonwebtoken::Algorithm;
use serde_json::json;

use super::signer::{Signer, encode, with};
use super::world::{NOW, World, claims, head, told};
use crate::auth::flaw::Flaw;
use crate::request::Caller;

/// The keys of the table's provider, and one of an attacker.
struct Keys {
    main: Signer,
    second: Signer,
    rsa: Signer,
    encryption: Signer,
    attacker: Signer,
}

impl Keys {
    fn make() -> Self {
        Self {
            main: Signer::p256("main"),
            second: Signer::p256("second"),
            rsa: Signer::rsa("rsa", Algorithm::PS256),
            encryption: Signer::p384("encryption"),
            attacker: Signer::p256("main"),
        }
    }

    async fn published(&self) -> World {
        let encryption = self.encryption.jwk_with("use", json!("enc"));
        World::with_keys(&[&self.main.jwk, &self.second.jwk, &self.rsa.jwk, &encryption]).await
    }
}

type Row = (&'static str, String, Flaw);

#[tokio::test]
async fn every_hostile_token_is_refused_for_what_is_wrong_with_it() {
    let keys = Keys::make();
    let world = keys.published().await;
    let gate = world.authenticator();
    let good: Arc<Caller> = world.ask(&gate, &keys.main.token(&claims())).await.unwrap();
    assert_eq!(&*good.client, "tpp-1");

    let table: Vec<Row> = [
        envelope::shapes(&keys),
        envelope::headers(&keys),
        envelope::signatures(&keys),
        content::issuers_and_audiences(&keys),
        content::times(&keys),
        content::identities(&keys),
        content::bindings(&keys),
    ]
    .concat();
    assert!(table.len() >= 100, "{}", table.len());
    for (what, token, flaw) in &table {
        assert_eq!(told(world.ask(&gate, token).await), flaw.reason(), "{what}");
    }
    assert_eq!(world.idp.fetches(), 1, "hostile tokens made the gateway fetch keys");
    world.tokens.settle();
    assert_eq!(world.tokens.len(), 1, "a hostile token is in the cache");
}

#[tokio::test]
async fn a_token_bound_to_a_certificate_is_good_with_that_certificate_alone() {
    let keys = Keys::make();
    let world = keys.published().await;
    let gate = world.authenticator();
    let bound = with(&claims(), "cnf", json!({ "x5t#S256": encode([7; 32]) }));
    let headers = super::world::bearer(&keys.main.token(&bound));
    let ask = async |certificate| gate.authenticate(&headers, &head(certificate), NOW).await;

    let caller = ask(Some([7; 32])).await.unwrap();
    assert_eq!(caller.certificate_thumbprint, Some([7; 32]));
    // Once verified it is in the cache, and must be no easier to use.
    let mut other = [7; 32];
    other[31] = 6;
    assert_eq!(told(ask(Some(other)).await), Flaw::Certificate.reason());
    assert_eq!(told(ask(None).await), Flaw::Certificate.reason());
    assert!(Arc::ptr_eq(&ask(Some([7; 32])).await.unwrap(), &caller));
}
