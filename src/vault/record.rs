//! A kept answer as bytes, on disk and in the fleet's topic.
//!
//! Outside, in clear: version, id of the sealing key, time at which it ends, time at which it was
//! asked for, what stands for its route, nonce, length. These and the entry's place are bound to
//! the seal, so that a record can't be moved to another account's place or given a longer life.
//! Inside, sealed: everything else.
//!
//! All numbers are big-endian. A version's layout never changes; another layout is another
//! version. Version 1, which lacks the time of asking and the route, is still read. A version that
//! isn't known is a later release's: no answer here, but left where it is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::HeaderValue;
use pingora::http::{HeaderNameVariant, ResponseHeader};

use super::entry::{Entry, StoredMeta};
use super::key::{EntryName, Lookup, Place};
use super::layout::{RouteTag, route_tag};
use super::seal::{KEY_ID_BYTES, KeyRing, NONCE_BYTES, Seal, SealError, TAG_BYTES};
use crate::account::AccountKey;
use crate::config::model::Visibility;
use crate::request::{RouteId, UnixMillis};

const VERSION: u8 = 2;
/// Without the time of asking and the route.
const FIRST_VERSION: u8 = 1;
const OUTSIDE_BYTES: usize = 1 + KEY_ID_BYTES + 8 + 8 + 16 + NONCE_BYTES + 4;

/// What a record says in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label {
    /// When it ends.
    pub(super) expires: UnixMillis,
    /// When it was asked for; 1970 where that isn't known.
    pub(super) asked: UnixMillis,
    /// What stands for its route; `None` where that isn't known.
    pub(super) route: Option<RouteTag>,
}

/// Why bytes are no record that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    #[error(transparent)]
    Sealed(#[from] SealError),
    #[error("unknown version {0}")]
    Version(u8),
    #[error("the record is cut, too long or has impossible values")]
    Malformed,
}

/// The record of an entry, sealed.
pub(super) fn seal(ring: &KeyRing, entry: &Entry) -> Result<Vec<u8>, RecordError> {
    let mut inside = write(entry).ok_or(RecordError::Malformed)?;
    let length = u32::try_from(inside.len() + TAG_BYTES).map_err(|_| RecordError::Malformed)?;
    let route = route_tag(&entry.name.route);
    let label = Label { expires: entry.expires, asked: entry.asked, route: Some(route) };
    let seal = ring.seal(&bound_to(&entry.place, &label), &mut inside)?;
    let mut record = Vec::with_capacity(OUTSIDE_BYTES + inside.len());
    record.push(VERSION);
    record.extend_from_slice(&seal.key);
    record.extend_from_slice(&label.expires.0.to_be_bytes());
    record.extend_from_slice(&label.asked.0.to_be_bytes());
    record.extend_from_slice(&route);
    record.extend_from_slice(&seal.nonce);
    record.extend_from_slice(&length.to_be_bytes());
    record.append(&mut inside);
    Ok(record)
}

/// The entry that a record at this place holds.
pub(super) fn open(
    ring: &KeyRing,
    place: Place,
    record: &[u8],
    epoch: u64,
) -> Result<Entry, RecordError> {
    let mut reader = Reader(record);
    let outside = read_outside(&mut reader)?;
    let bound_to = bound_to(&place, &outside.label);
    let mut sealed = reader.0.to_vec();
    let length = ring.open(&outside.seal, &bound_to, &mut sealed)?.len();
    sealed.truncate(length);
    let inside = Bytes::from(sealed);
    read(place, &outside.label, &inside, epoch).ok_or(RecordError::Malformed)
}

/// What a record says in clear. Nothing of it is proven before the record has been opened.
pub(super) fn label(record: &[u8]) -> Result<Label, RecordError> {
    read_outside(&mut Reader(record)).map(|outside| outside.label)
}

struct Outside {
    seal: Seal,
    label: Label,
}

fn read_outside(reader: &mut Reader<'_>) -> Result<Outside, RecordError> {
    let version = reader.u8().ok_or(RecordError::Malformed)?;
    if !(FIRST_VERSION..=VERSION).contains(&version) {
        return Err(RecordError::Version(version));
    }
    let mut fields = || {
        let key = reader.array()?;
        let expires = UnixMillis(reader.u64()?);
        let label = match version {
            FIRST_VERSION => Label { expires, asked: UnixMillis(0), route: None },
            _ => Label { expires, asked: UnixMillis(reader.u64()?), route: Some(reader.array()?) },
        };
        let nonce = reader.array()?;
        let length = usize::try_from(reader.u32()?).ok()?;
        let outside = Outside { seal: Seal { key, nonce }, label };
        (length == reader.0.len() && length >= TAG_BYTES).then_some(outside)
    };
    fields().ok_or(RecordError::Malformed)
}

fn bound_to(place: &Place, label: &Label) -> Vec<u8> {
    let expires = label.expires.0.to_be_bytes();
    match &label.route {
        None => [&[FIRST_VERSION][..], &expires, &place.account, &place.hash].concat(),
        Some(route) => {
            let asked = label.asked.0.to_be_bytes();
            [&[VERSION][..], &expires, &asked, route, &place.account, &place.hash].concat()
        }
    }
}

/// `None` if something is longer than its length field can say, or a time is out of range.
fn write(entry: &Entry) -> Option<Vec<u8>> {
    let (name, meta) = (&entry.name, &entry.meta);
    let mut bytes = Vec::with_capacity(1024 + entry.body.len());
    bytes.push(name.account.is_some().into());
    bytes.push(visibility_number(name.visible_to));
    write_text(&mut bytes, name.route.as_str().as_bytes())?;
    for time in [meta.created, meta.updated, meta.fresh_until, meta.epoch] {
        bytes.extend_from_slice(&nanoseconds(time)?.to_be_bytes());
    }
    bytes.extend_from_slice(&meta.stale_while_revalidate.to_be_bytes());
    bytes.extend_from_slice(&meta.stale_if_error.to_be_bytes());
    bytes.push(meta.variance.is_some().into());
    bytes.extend_from_slice(&meta.variance.unwrap_or_default());
    let (internal, plain) = meta.exact.as_ref().map_or((&[][..], &[][..]), |(a, b)| (a, b));
    write_text(&mut bytes, internal)?;
    write_text(&mut bytes, plain)?;
    write_header(&mut bytes, &meta.header)?;
    write_text(&mut bytes, &entry.body)?;
    Some(bytes)
}

fn write_text(bytes: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    bytes.extend_from_slice(&u32::try_from(text.len()).ok()?.to_be_bytes());
    bytes.extend_from_slice(text);
    Some(())
}

fn write_header(bytes: &mut Vec<u8>, header: &ResponseHeader) -> Option<()> {
    bytes.extend_from_slice(&header.status.as_u16().to_be_bytes());
    bytes.extend_from_slice(&u16::try_from(header.headers.len()).ok()?.to_be_bytes());
    let mut fits = Some(());
    let walked = header.map(|name, value| {
        let name = match &name {
            HeaderNameVariant::Case(name) => name.as_slice(),
            HeaderNameVariant::Titled(name) => name.as_bytes(),
        };
        fits = fits
            .and_then(|()| write_text(bytes, name))
            .and_then(|()| write_text(bytes, value.as_bytes()));
        Ok(())
    });
    walked.ok().and(fits)
}

fn read(place: Place, label: &Label, inside: &Bytes, epoch: u64) -> Option<Entry> {
    let mut reader = Reader(inside);
    let account = match reader.u8()? {
        0 => None,
        1 => Some(AccountKey::from_bytes(place.account)),
        _ => return None,
    };
    let visible_to = visibility_of(reader.u8()?)?;
    let route = RouteId::new(std::str::from_utf8(reader.text()?).ok()?);
    let name = EntryName::new(account, route, visible_to);
    let meta = read_meta(&mut reader)?;
    let body = inside.slice_ref(reader.text()?);
    if !reader.0.is_empty() {
        return None;
    }
    let lookup = Lookup { epoch, asked: label.asked };
    Some(Entry::new(place, name, meta, body, label.expires, lookup))
}

fn read_meta(reader: &mut Reader<'_>) -> Option<StoredMeta> {
    let created = time(reader.u64()?);
    let updated = time(reader.u64()?);
    let fresh_until = time(reader.u64()?);
    let epoch = time(reader.u64()?);
    let stale_while_revalidate = reader.u32()?;
    let stale_if_error = reader.u32()?;
    let varies = reader.u8()?;
    let variance = reader.array()?;
    let variance = match varies {
        0 => None,
        1 => Some(variance),
        _ => return None,
    };
    let (internal, plain) = (reader.text()?, reader.text()?);
    let exact = (!internal.is_empty()).then(|| (internal.to_vec(), plain.to_vec()));
    let header = read_header(reader)?;
    Some(StoredMeta {
        created,
        updated,
        fresh_until,
        epoch,
        stale_while_revalidate,
        stale_if_error,
        variance,
        header,
        exact,
    })
}

fn read_header(reader: &mut Reader<'_>) -> Option<ResponseHeader> {
    let status = reader.u16()?;
    let fields = reader.u16()?;
    // No more room than the bytes can fill: a field takes eight at least.
    let room = usize::from(fields).min(reader.0.len() / 8);
    let mut header = ResponseHeader::build_no_case(status, Some(room)).ok()?;
    for _ in 0..fields {
        let name = std::str::from_utf8(reader.text()?).ok()?.to_owned();
        let value = HeaderValue::from_bytes(reader.text()?).ok()?;
        header.append_header(name, value).ok()?;
    }
    Some(header)
}

fn visibility_number(visible_to: Visibility) -> u8 {
    match visible_to {
        Visibility::Client => 1,
        Visibility::Subject => 2,
        Visibility::Everyone => 3,
    }
}

fn visibility_of(number: u8) -> Option<Visibility> {
    match number {
        1 => Some(Visibility::Client),
        2 => Some(Visibility::Subject),
        3 => Some(Visibility::Everyone),
        _ => None,
    }
}

/// Nanoseconds since 1970: what a `SystemTime` holds, exactly, until the year 2554.
fn nanoseconds(time: SystemTime) -> Option<u64> {
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
}

fn time(nanoseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanoseconds)
}

/// The bytes not read yet.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn text(&mut self) -> Option<&'b [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).ok()?)
    }
}

#[cfg(test)]
mod tests;
