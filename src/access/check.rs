use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde_json::Value;

use crate::config::model::{Access, ClaimCheck};
use crate::request::{Caller, Challenge, Condition, Facts, Refusal};

/// Whether a caller may use a route: its network, scopes and claims and the route's condition all
/// hold.
///
/// # Errors
/// [`Refusal::MissingScope`] for scopes, [`Refusal::Forbidden`] for the rest, with what did not
/// hold in the configuration's words; [`Refusal::Unauthenticated`] where scopes or claims are
/// asked for and nobody was recognised.
pub fn check(access: &Access, facts: &Facts<'_>) -> Result<(), Refusal> {
    check_networks(&access.networks, facts.head.address)?;
    check_caller(access, facts.caller)?;
    match &access.condition {
        Some(condition) => check_condition(condition, facts),
        None => Ok(()),
    }
}

fn check_networks(networks: &[IpNet], address: IpAddr) -> Result<(), Refusal> {
    if networks.is_empty() || networks.iter().any(|network| holds(network, address)) {
        return Ok(());
    }
    Err(forbidden("networks".into()))
}

/// Whether an address is in a network. A listener on `::` shows IPv4 callers as `::ffff:a.b.c.d`;
/// they are meant by IPv4 networks, and by IPv6 networks only where these are of that form too.
fn holds(network: &IpNet, address: IpAddr) -> bool {
    match (network, address.to_canonical()) {
        (IpNet::V6(network), IpAddr::V4(address)) if network.prefix_len() >= 96 => {
            network.contains(&address.to_ipv6_mapped())
        }
        (network, address) => network.contains(&address),
    }
}

fn check_caller(access: &Access, caller: Option<&Caller>) -> Result<(), Refusal> {
    let Access { scopes_all, scopes_any, claims, .. } = access;
    if scopes_all.is_empty() && scopes_any.is_empty() && claims.is_empty() {
        return Ok(());
    }
    let caller = caller.ok_or(Refusal::Unauthenticated(Challenge::Missing))?;
    if !scopes_all.iter().all(|scope| caller.has_scope(scope)) {
        return Err(Refusal::MissingScope {
            required: scopes_all.join(" ").into(),
            one_is_enough: false,
        });
    }
    if !scopes_any.is_empty() && !scopes_any.iter().any(|scope| caller.has_scope(scope)) {
        return Err(Refusal::MissingScope {
            required: scopes_any.join(" ").into(),
            one_is_enough: true,
        });
    }
    match claims.iter().find(|(name, check)| !claim_holds(caller.claim(name), check)) {
        Some((name, check)) => Err(forbidden(describe(name, check))),
        None => Ok(()),
    }
}

/// A claim that is not there fails every check.
fn claim_holds(claim: Option<&Value>, check: &ClaimCheck) -> bool {
    let Some(claim) = claim else { return false };
    match check {
        ClaimCheck::Equals(wanted) => same(claim, wanted),
        ClaimCheck::OneOf(wanted) => wanted.iter().any(|wanted| same(claim, wanted)),
        ClaimCheck::Contains(wanted) => match (claim, wanted) {
            (Value::Array(items), _) => items.iter().any(|item| same(item, wanted)),
            (Value::String(words), Value::String(word)) => {
                !word.is_empty() && words.split(' ').any(|one| one == word)
            }
            _ => false,
        },
    }
}

/// Equal as JSON values: 1 and 1.0 are one number, "1" is none.
fn same(claim: &Value, wanted: &Value) -> bool {
    match (claim, wanted) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || (a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64()
        }
        _ => claim == wanted,
    }
}

/// The rule as the configuration has it; never the claim's value, which is the caller's.
fn describe(name: &str, check: &ClaimCheck) -> Arc<str> {
    match check {
        ClaimCheck::Equals(wanted) => format!("claims: {name} equals {wanted}"),
        ClaimCheck::Contains(wanted) => format!("claims: {name} contains {wanted}"),
        ClaimCheck::OneOf(wanted) => {
            format!("claims: {name} one_of {}", Value::Array(wanted.clone()))
        }
    }
    .into()
}

/// A condition that gives no answer refuses: access is granted by rules that hold, not by rules
/// that broke.
fn check_condition(condition: &Condition, facts: &Facts<'_>) -> Result<(), Refusal> {
    let refused = || forbidden(format!("condition: {condition}").into());
    match condition.holds(facts) {
        Ok(true) => Ok(()),
        Ok(false) => Err(refused()),
        Err(error) => {
            tracing::debug!(
                request = facts.head.request_id,
                route = facts.route.as_str(),
                %condition,
                %error,
                "a condition gave no answer; the request is refused"
            );
            Err(refused())
        }
    }
}

fn forbidden(rule: Arc<str>) -> Refusal {
    Refusal::Forbidden { rule }
}

#[cfg(test)]
mod tests;
