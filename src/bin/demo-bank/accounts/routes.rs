//! What the account services answer about an account.

use std::fmt::Display;
use std::str::FromStr;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Branch;
use crate::bank::NotBooked;
use crate::data::{AS_OF, Account, CURRENCY, Date, Money, Page, exists};
use crate::problem::Problem;

const DEFAULT_LIMIT: usize = 100;
/// More than five years hold, so that one request can ask for everything.
const HIGHEST_LIMIT: usize = 10_000;

type AccountPath = Result<Path<String>, PathRejection>;

/// `GET /v1/{account}`
pub async fn account(
    State(branch): State<Branch>,
    path: AccountPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let account = branch.open(&account_id(path)?);
    Ok(answer(&headers, &account.view()))
}

/// `GET /v1/{account}/transactions`
pub async fn transactions(
    State(branch): State<Branch>,
    path: AccountPath,
    query: Result<Query<PageQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = account_id(path)?;
    let Query(query) = query.map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
    let page = query.page()?;
    let account = branch.open(&id);
    let statement = account.statement();
    let view = json!({
        "accountId": id,
        "from": page.from,
        "to": page.to,
        "offset": page.offset,
        "limit": page.limit,
        "total": statement.total(&page),
        "transactions": statement.page(&page),
    });
    Ok(answer(&headers, &view))
}

/// `GET /v1/{account}/positions/{symbol}`, at the investments service.
pub async fn position(
    State(branch): State<Branch>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path((id, symbol)) = path.map_err(|rejection| Problem::not_found(rejection.body_text()))?;
    let id = existing(id)?;
    let position = branch.open(&id).position(&symbol);
    let view = position.ok_or_else(|| Problem::not_found("the depot holds no such security"))?;
    Ok(answer(&headers, &view))
}

/// An order to transfer money.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    amount: AmountText,
    to: String,
}

/// `"25.00"`, or minor units: `2500`.
#[derive(Deserialize)]
#[serde(untagged, expecting = "`amount` is a decimal string or an integer of minor units")]
enum AmountText {
    Decimal(String),
    MinorUnits(i64),
}

/// `POST /v1/{account}/transfers`, at the checking service.
pub async fn transfer(
    State(branch): State<Branch>,
    path: AccountPath,
    body: Bytes,
) -> Result<Response, Problem> {
    let id = account_id(path)?;
    let order: Order = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad_request(format!("the body is not a transfer: {error}")))?;
    let amount = order.amount()?;
    if !exists(&order.to) {
        return Err(Problem::unprocessable("`to` is no account of this bank"));
    }
    let before = Account::open(branch.service, &id, Vec::new()).balance();
    let number = branch.bank.transfers.book(&id, before, amount, &order.to).map_err(not_booked)?;
    let transfer_id = format!("transfer-{number:06}");
    let view = json!({
        "transferId": transfer_id,
        "status": "BOOKED",
        "from": id,
        "to": order.to,
        "amount": amount,
        "currency": CURRENCY,
        "bookedOn": AS_OF,
    });
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

fn not_booked(why: NotBooked) -> Problem {
    match why {
        NotBooked::TooLittle => Problem::unprocessable("the account does not hold that much"),
        NotBooked::Full => {
            Problem::storage_full("no more transfers are taken until the next reset")
        }
    }
}

impl Order {
    fn amount(&self) -> Result<Money, Problem> {
        let amount = match &self.amount {
            AmountText::Decimal(text) => text.parse().ok(),
            AmountText::MinorUnits(cents) => Money::from_outside(*cents),
        };
        amount.ok_or_else(|| {
            Problem::bad_request("`amount` is a positive decimal string or integer of minor units")
        })
    }
}

impl Branch {
    fn open(&self, id: &str) -> Account {
        Account::open(self.service, id, self.bank.transfers.of(id))
    }
}

/// The query of a page. Unknown members are ignored, as most banks do.
#[derive(Deserialize)]
pub struct PageQuery {
    from: Option<String>,
    to: Option<String>,
    limit: Option<String>,
    offset: Option<String>,
}

impl PageQuery {
    fn page(&self) -> Result<Page, Problem> {
        let page = Page {
            from: read("from", self.from.as_deref())?,
            to: read("to", self.to.as_deref())?,
            limit: read("limit", self.limit.as_deref())?.unwrap_or(DEFAULT_LIMIT),
            offset: read("offset", self.offset.as_deref())?.unwrap_or(0),
        };
        if !(1..=HIGHEST_LIMIT).contains(&page.limit) {
            return Err(Problem::bad_request(format!("`limit` is 1 to {HIGHEST_LIMIT}")));
        }
        let reversed = |from: Date| page.to.is_some_and(|to| to < from);
        if page.from.is_some_and(reversed) {
            return Err(Problem::bad_request("`from` is later than `to`"));
        }
        Ok(page)
    }
}

fn read<T: FromStr<Err: Display>>(name: &str, text: Option<&str>) -> Result<Option<T>, Problem> {
    let wrong = |error| Problem::bad_request(format!("`{name}`: {error}"));
    text.map(|text| text.parse().map_err(wrong)).transpose()
}

fn account_id(path: AccountPath) -> Result<String, Problem> {
    let Path(id) = path.map_err(|rejection| Problem::not_found(rejection.body_text()))?;
    existing(id)
}

fn existing(id: String) -> Result<String, Problem> {
    if exists(&id) { Ok(id) } else { Err(Problem::not_found("the bank has no such account")) }
}

/// The view with a strong validator made from its bytes, or 304 to who has it already (RFC 9110 section 13.1.2).
fn answer(request: &HeaderMap, view: &Value) -> Response {
    let body = view.to_string();
    let digest = openssl::sha::sha256(body.as_bytes());
    let etag = format!("\"{}\"", hex::encode(&digest[..12]));
    if has_already(request, &etag) {
        return (StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response();
    }
    let headers = [(CONTENT_TYPE, "application/json".to_owned()), (ETAG, etag)];
    (headers, body).into_response()
}

fn has_already(request: &HeaderMap, etag: &str) -> bool {
    let listed = |list: &str| {
        let mut tags = list.split(',').map(|tag| tag.trim().trim_start_matches("W/"));
        tags.any(|tag| tag == "*" || tag == etag)
    };
    request.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_with(if_none_match: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(IF_NONE_MATCH, http::HeaderValue::from_static(if_none_match))])
    }

    #[test]
    fn a_validator_that_matches_saves_the_body() {
        let view = json!({ "balance": "1.00" });
        let first = answer(&HeaderMap::new(), &view);
        assert_eq!(first.status(), StatusCode::OK);
        let etag = first.headers().get(ETAG).unwrap().to_str().unwrap().to_owned();
        for list in [etag.clone(), format!("\"other\", W/{etag}"), "*".to_owned()] {
            let again = answer(&asked_with(Box::leak(list.clone().into_boxed_str())), &view);
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{list}");
            assert_eq!(again.headers().get(ETAG).unwrap().to_str().unwrap(), etag);
        }
        let other = json!({ "balance": "2.00" });
        let changed = answer(&asked_with(Box::leak(etag.into_boxed_str())), &other);
        assert_eq!(changed.status(), StatusCode::OK);
    }

    #[test]
    fn odd_pages_are_refused() {
        let page = |query: &str| {
            let uri: http::Uri = format!("/?{query}").parse().unwrap();
            let Query(query) = Query::<PageQuery>::try_from_uri(&uri).unwrap();
            query.page()
        };
        for odd in [
            "from=2023-02-30",
            "limit=0",
            "limit=10001",
            "limit=-1",
            "offset=x",
            "from=2024-01-02&to=2024-01-01",
        ] {
            assert!(page(odd).is_err(), "{odd}");
        }
        let usual = page("from=2024-01-01&to=2024-01-01&other=1").unwrap();
        assert_eq!((usual.limit, usual.offset), (DEFAULT_LIMIT, 0));
    }
}
