use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::request::AccountId;
use crate::vault::testing::{Asked, policy};

fn hash(asked: &Asked, policy: &CachePolicy) -> HashBinary {
    asked.key(policy).combined_bin()
}

#[test]
fn each_part_of_a_request_makes_another_key() {
    let base = Asked::path("/summary");
    let change = |edit: &dyn Fn(&mut Asked)| {
        let mut asked = base.clone();
        edit(&mut asked);
        asked
    };
    let changed = [
        change(&|asked| asked.route = RouteId::new("cards")),
        change(&|asked| asked.account = Some(AccountId::parse("4711008816").unwrap())),
        change(&|asked| asked.account = None),
        change(&|asked| asked.caller.as_mut().unwrap().client = "other".into()),
        change(&|asked| asked.caller.as_mut().unwrap().provider = "other".into()),
        change(&|asked| asked.caller = None),
        change(&|asked| asked.head.host = "other.example".to_owned()),
        change(&|asked| asked.head.path.encoded = "/summary/".to_owned()),
        change(&|asked| asked.query("page=2")),
    ];
    let mut hashes: Vec<_> = changed.iter().map(|asked| hash(asked, &policy())).collect();
    hashes.push(hash(&base, &policy()));
    let count = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), count);
    assert_eq!(hash(&base, &policy()), hash(&base.clone(), &policy()));
}

#[test]
fn head_shares_the_answer_of_get() {
    let mut head = Asked::path("/summary");
    head.head.method = http::Method::HEAD;
    assert_eq!(hash(&head, &policy()), hash(&Asked::path("/summary"), &policy()));
}

#[test]
fn subjects_share_an_answer_only_where_the_policy_says_so() {
    let alice = Asked::path("/summary");
    let mut bob = alice.clone();
    bob.caller.as_mut().unwrap().subject = Some("bob".into());
    let mut other_client = alice.clone();
    other_client.caller.as_mut().unwrap().client = "other".into();
    let shared = |visible_to, other: &Asked| {
        let policy = CachePolicy { visible_to, ..policy() };
        hash(&alice, &policy) == hash(other, &policy)
    };
    assert!(!shared(Visibility::Subject, &bob));
    assert!(shared(Visibility::Client, &bob));
    assert!(!shared(Visibility::Client, &other_client));
    assert!(shared(Visibility::Everyone, &other_client));
}

#[test]
fn the_order_of_query_parameters_does_not_matter_but_that_of_their_values_does() {
    let with = |query: &str| {
        let mut asked = Asked::path("/summary");
        asked.query(query);
        hash(&asked, &policy())
    };
    assert_eq!(with("a=1&b=2"), with("b=2&a=1"));
    assert_ne!(with("a=1&a=2"), with("a=2&a=1"));
    assert_ne!(with("a=%ff"), with("a=%fe"), "both decode to the replacement character");
}

#[test]
fn parameters_that_are_not_chosen_are_ignored() {
    let chosen = CachePolicy { query: Some(vec!["page".into()]), ..policy() };
    let with = |query: &str, policy: &CachePolicy| {
        let mut asked = Asked::path("/summary");
        asked.query(query);
        hash(&asked, policy)
    };
    assert_eq!(with("page=1&utm=x", &chosen), with("page=1", &chosen));
    assert_ne!(with("page=1", &chosen), with("page=2", &chosen));
    assert_ne!(with("%70age=1", &chosen), with("utm=1", &chosen), "an escaped name is the name");
    let none = CachePolicy { query: Some(Vec::new()), ..policy() };
    assert_eq!(with("page=1", &none), with("page=2", &none));
    assert_ne!(with("", &none), with("", &policy()), "another policy, another key");
}

#[test]
fn chosen_headers_count_and_others_do_not() {
    let by_language = CachePolicy { headers: vec![http::header::ACCEPT_LANGUAGE], ..policy() };
    let plain = Asked::path("/summary");
    let mut german = plain.clone();
    german.header("accept-language", b"de");
    assert_ne!(hash(&plain, &by_language), hash(&german, &by_language));
    assert_eq!(hash(&plain, &policy()), hash(&german, &policy()));
}

#[test]
fn a_purge_by_pingora_finds_the_place_from_the_compact_key() {
    let asked = Asked::path("/summary");
    let mut key = asked.key(&policy());
    key.set_variance_key([9; 16]);
    let ticket = Ticket::of(&key).unwrap();
    let place = Place::of(&key, &ticket.name);
    assert_eq!(Place::of_compact(&key.to_compact()), Some(place));
    assert_eq!(place.account, *asked.account_key().unwrap().as_bytes());
    let foreign = CacheKey::new("x", "not a tag of ours").to_compact();
    assert_eq!(Place::of_compact(&foreign), None);
}

/// What a key is made of, drawn from so few letters that parts often run into each other.
fn requests() -> impl Strategy<Value = Asked> {
    let text = "[ab/=&]{0,3}";
    let caller = option::of((text, text, option::of(text)));
    let parts = (text, text, text, option::of(text), caller, vec("[ab]{0,2}", 0..3));
    parts.prop_map(|(route, host, path, query, caller, languages)| {
        let mut asked = Asked::path(&path);
        asked.route = RouteId::new(route);
        asked.head.host = host;
        asked.head.query = query;
        asked.caller = caller.map(|(provider, client, subject)| crate::request::Caller {
            provider: provider.into(),
            client: client.into(),
            subject: subject.map(Into::into),
            ..asked.caller.clone().unwrap()
        });
        languages.iter().for_each(|text| asked.header("accept-language", text.as_bytes()));
        asked
    })
}

fn policies() -> impl Strategy<Value = CachePolicy> {
    let visible = prop_oneof![
        Just(Visibility::Client),
        Just(Visibility::Subject),
        Just(Visibility::Everyone)
    ];
    let headers = prop_oneof![Just(Vec::new()), Just(vec![http::header::ACCEPT_LANGUAGE])];
    let query = option::of(vec("[ab]{0,1}".prop_map(|name| Arc::from(name.as_str())), 0..3));
    (visible, headers, query).prop_map(|(visible_to, headers, query)| CachePolicy {
        visible_to,
        headers,
        query,
        ..policy()
    })
}

/// Everything that should make two keys differ, in a form that can be compared.
fn meaning(asked: &Asked, policy: &CachePolicy) -> impl PartialEq + std::fmt::Debug {
    let caller = asked.caller.as_ref();
    let sharers = match policy.visible_to {
        Visibility::Everyone => None,
        Visibility::Client => Some(caller.map(|c| (c.provider.clone(), c.client.clone(), None))),
        Visibility::Subject => {
            Some(caller.map(|c| (c.provider.clone(), c.client.clone(), Some(c.subject.clone()))))
        }
    };
    let pairs: Vec<String> =
        asked.head.query.iter().flat_map(|q| q.split('&')).map(Into::into).collect();
    let pairs = pairs.into_iter().filter(|pair| !pair.is_empty());
    let name = |pair: &String| pair.split('=').next().unwrap_or_default().to_owned();
    let mut chosen = policy.query.clone();
    if let Some(names) = &mut chosen {
        names.sort();
        names.dedup();
    }
    let mut pairs: Vec<String> = pairs
        .filter(|pair| chosen.as_ref().is_none_or(|names| names.iter().any(|n| **n == *name(pair))))
        .collect();
    pairs.sort_by_key(name);
    let headers: Vec<_> = policy
        .headers
        .iter()
        .map(|n| asked.headers.get_all(n).iter().cloned().collect::<Vec<_>>())
        .collect();
    let visible = format!("{:?}", policy.visible_to);
    let head = (asked.route.clone(), asked.head.host.clone(), asked.head.path.clone());
    (head, visible, sharers, chosen, pairs, headers)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn two_requests_have_one_key_exactly_when_they_mean_the_same(
        one in requests(), other in requests(), first in policies(), second in policies(),
    ) {
        let same_meaning = meaning(&one, &first) == meaning(&other, &second);
        let same_key =
            one.key(&first).primary_key() == other.key(&second).primary_key();
        prop_assert_eq!(same_meaning, same_key);
    }

    #[test]
    fn a_request_keeps_its_key_under_its_own_policy(asked in requests(), policy in policies()) {
        prop_assert_eq!(hash(&asked, &policy), hash(&asked.clone(), &policy.clone()));
    }
}
