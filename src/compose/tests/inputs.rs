//! Requests and templates for tests.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, Method};

use super::super::ComposeInputs;
use crate::config::model::{PartTemplate, PartTemplatePiece};
use crate::request::{AccountId, Captures, JsonPointer, NormalPath, RequestHead, ValueSource};

/// A request for an account's summary.
pub fn inputs(account: &str) -> ComposeInputs {
    let path = format!("/accounts/{account}/summary");
    ComposeInputs {
        head: RequestHead {
            method: Method::GET,
            https: false,
            host: "gateway.example".into(),
            path: NormalPath { decoded: path.clone(), encoded: path },
            query: None,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            certificate_thumbprint: None,
            request_id: "request-1".into(),
        },
        headers: HeaderMap::new(),
        captures: Captures(vec![("account".into(), account.into())]),
        caller: None,
        account: AccountId::parse(account).ok(),
        body: None,
        deadline: None,
    }
}

/// A part's path as the configuration writes it; `parts` are the names of the plan's parts.
pub fn template(text: &str, parts: &[&str]) -> PartTemplate {
    let pointer = |text: &str| JsonPointer::parse(text).unwrap();
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((literal, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}').unwrap();
        pieces.push(PartTemplatePiece::Literal(literal.into()));
        pieces.push(match name.split_once('.') {
            None if name == "item" => PartTemplatePiece::Item(pointer("")),
            Some(("item", at)) => PartTemplatePiece::Item(pointer(at)),
            Some(("part", named)) => {
                let (part, at) = named.split_once('.').unwrap();
                let index = parts.iter().position(|name| *name == part).unwrap();
                PartTemplatePiece::Part(index, pointer(at))
            }
            _ => PartTemplatePiece::Request(ValueSource::parse(name).unwrap()),
        });
        rest = behind;
    }
    pieces.push(PartTemplatePiece::Literal(rest.into()));
    PartTemplate { source: text.into(), pieces }
}
