//! Gateways of two versions in one fleet, as while it is upgraded or rolled back.
//!
//! `scripts/two-versions.sh REF` builds the other version and names it in `TOLLGATE_OTHER`.

use std::path::PathBuf;

use super::cache::all_keep;
use crate::broker::Broker;
use crate::support::Bank;
use crate::support::fleet::Fleet;
use crate::support::story::summary;

const HOST: (&str, &str) = ("host", "accounts.bank.example");

/// Starts the other version in this one's place.
fn other() -> Vec<String> {
    let program = PathBuf::from(std::env::var("TOLLGATE_OTHER").expect("TOLLGATE_OTHER is set"));
    let program = program.canonicalize().expect("TOLLGATE_OTHER is a program");
    let words = ["sh", "-c", "program=$0; shift; exec \"$program\" \"$@\""];
    words.into_iter().map(str::to_owned).chain([program.display().to_string()]).collect()
}

/// Which version a gateway is of.
#[derive(Clone, Copy, Debug)]
enum Of {
    This,
    Other,
}

fn join(fleet: &mut Fleet, version: Of) {
    match version {
        Of::This => fleet.join(),
        Of::Other => fleet.join_under(other()),
    }
}

/// A use through every gateway in turn, until the account's four are used up. Each but the first
/// is answered from the cache, whoever keeps it, with `used` from before.
async fn use_up(fleet: &Fleet, bank: &Bank, account: &str, mut used: u64, token: &str) {
    let path = format!("/accounts/{account}/summary");
    let calls = bank.calls().await;
    for gateway in fleet.gateways.iter().cycle().take(4 - used as usize) {
        let answer = gateway.get_with(&path, token, &[HOST]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.is_hit(), used > 0, "{answer:?}");
        used += 1;
        let left = format!("r={}", 4 - used);
        assert_eq!(answer.header("ratelimit").split(';').nth(1), Some(&*left), "{answer:?}");
    }
    for gateway in &fleet.gateways {
        let refused = gateway.get_with(&path, token, &[HOST]).await;
        assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (429, "quota-exceeded"));
        let view = gateway.view(&format!("/quotas/{account}")).await;
        assert_eq!(view["quotas"][0]["used"], 4, "{view}");
    }
    let more = bank.calls().await - calls;
    assert!(more <= 5, "{more} calls: one answer serves all");
}

/// An account of the first gateway, with a number from there on, used twice, whose answer every
/// gateway has.
async fn half_used(fleet: &Fleet, first: u32, token: &str) -> String {
    let account = fleet.account_from(first, 0).await;
    let path = format!("/accounts/{account}/summary");
    for gateway in &fleet.gateways {
        assert_eq!(gateway.get_with(&path, token, &[HOST]).await.status, 200);
    }
    all_keep(fleet, &account, 1).await;
    account
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a program of another version: scripts/two-versions.sh"]
async fn two_versions_count_and_keep_together() {
    let bank = Bank::start().await;
    let token = bank.token("budget-app").await;
    // An upgrade, and the way back.
    for (old, new) in [(Of::Other, Of::This), (Of::This, Of::Other)] {
        let mut fleet = Fleet::empty(Broker::shared(), &bank, &summary("2s")).await;
        join(&mut fleet, old);
        join(&mut fleet, new);
        fleet.until_shared_out().await;
        for owner in [0, 1] {
            let account = fleet.account_of(owner).await;
            use_up(&fleet, &bank, &account, 0, &token).await;
        }
        // One is replaced in order.
        let account = half_used(&fleet, 20_000, &token).await;
        fleet.gateways.remove(0).terminate_and_wait().await;
        join(&mut fleet, new);
        fleet.until_shared_out().await;
        use_up(&fleet, &bank, &account, 2, &token).await;
        // One is killed.
        fleet.gateways.remove(0).terminate_and_wait().await;
        join(&mut fleet, old);
        fleet.gateways.swap(0, 1);
        fleet.until_shared_out().await;
        let account = half_used(&fleet, 30_000, &token).await;
        fleet.gateways.remove(0).process().kill();
        use_up(&fleet, &bank, &account, 2, &token).await;
    }
}
