//! A gateway whose name can't be looked up, by the others or by itself.

use crate::broker::Broker;
use crate::support::Bank;
use crate::support::fleet::{Fleet, one_rule};
use crate::support::wire::metric;

/// No name server knows it (RFC 6761 section 6.4).
const NAMELESS: &str = "gateway.invalid:7443";
const TAKEN: &str = "tollgate_claims_total{reason=\"owner_unreachable\"}";

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_whose_name_is_not_found_is_replaced_by_whoever_is_asked() {
    let bank = Bank::start().await;
    let mut fleet = Fleet::empty(Broker::shared(), &bank, &one_rule("few", 5)).await;
    fleet.join();
    fleet.join_as("gateway.invalid");
    let named = Fleet::name(&fleet.gateways[0]);
    fleet.until_shared_out_among(&[named.clone(), NAMELESS.to_owned()]).await;
    let token = bank.token("budget-app").await;
    let of_nameless = format!("/few/{}", fleet.account_owned_by(NAMELESS, 0).await);
    let of_named = format!("/few/{}", fleet.account_owned_by(&named, 1).await);

    let first = fleet.gateways[0].get(&of_nameless, &token).await;
    assert_eq!(first.status, 200, "{first:?}");
    assert!(metric(&fleet.gateways[0], TAKEN).await > 0, "it was taken over");
    // The nameless one lives and takes it back in between, which costs no answer and no count.
    let mut served = 1;
    let last = loop {
        let answer = fleet.gateways[0].get(&of_nameless, &token).await;
        if answer.status != 200 {
            break answer;
        }
        served += 1;
    };
    assert_eq!((last.status.as_u16(), last.problem().as_str()), (429, "quota-exceeded"));
    assert!(served <= 5, "{served} of 5");

    // In its turn the nameless one takes over, and then passes requests to its own port.
    fleet.gateways[0].process().kill();
    let taken = fleet.gateways[1].get(&of_named, &token).await;
    assert_eq!(taken.status, 200, "{taken:?}");
    assert!(metric(&fleet.gateways[1], TAKEN).await > 0, "it was taken over");
}
