//! Keys of the table on disk: answers by account, and each answer's place by route.

use aws_lc_rs::digest::{SHA256, digest};

use super::key::Place;
use crate::request::RouteId;

/// What stands for a route in keys: the first half of its name's SHA-256.
pub(super) type RouteTag = [u8; 16];

pub(super) fn route_tag(route: &RouteId) -> RouteTag {
    let mut tag = [0; 16];
    let hash = digest(&SHA256, route.as_str().as_bytes());
    tag.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    tag
}

pub(super) const ANSWER: u8 = b'a';
pub(super) const ROUTE: u8 = b'r';
pub(super) const ANSWER_KEY_BYTES: usize = 33;
pub(super) const ROUTE_KEY_BYTES: usize = 49;

pub(super) fn prefix(kind: u8, of: &[u8; 16]) -> [u8; 17] {
    joined(&[&[kind], of])
}

pub(super) fn answer_key(place: &Place) -> [u8; ANSWER_KEY_BYTES] {
    joined(&[&[ANSWER], &place.account, &place.hash])
}

pub(super) fn route_key(route: &RouteTag, place: &Place) -> [u8; ROUTE_KEY_BYTES] {
    joined(&[&[ROUTE], route, &place.account, &place.hash])
}

fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut key = [0; N];
    key.iter_mut().zip(parts.iter().copied().flatten()).for_each(|(to, from)| *to = *from);
    key
}

pub(super) fn place_of(key: &[u8]) -> Option<Place> {
    let (account, hash) = key.strip_prefix(&[ANSWER])?.split_at_checked(16)?;
    Some(Place { account: account.try_into().ok()?, hash: hash.try_into().ok()? })
}

pub(super) fn routed_place(key: &[u8]) -> Option<Place> {
    let (_, place) = key.strip_prefix(&[ROUTE])?.split_at_checked(16)?;
    let (account, hash) = place.split_at_checked(16)?;
    Some(Place { account: account.try_into().ok()?, hash: hash.try_into().ok()? })
}
