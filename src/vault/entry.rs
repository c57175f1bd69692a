use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, ETAG, HeaderValue, LAST_MODIFIED};
use pingora::http::ResponseHeader;
use pingora::{ErrorType, OrErr};
use pingora_cache::CacheMeta;
use pingora_cache::key::HashBinary;

use super::key::{EntryName, Lookup, Place};
use crate::request::UnixMillis;

/// Longest time for which an answer that can be validated is kept beyond its freshness, so that
/// the backend may say 304 instead of sending it again.
const LONGEST_FOR_VALIDATION: Duration = Duration::from_secs(3600);

/// A kept answer. Never changed once made: a new version is a new entry.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) name: Arc<EntryName>,
    pub(super) meta: StoredMeta,
    /// One piece, of its own: a slice of a read buffer would hold all of that buffer.
    pub(super) body: Bytes,
    /// When it is of no use any more, not even stale or to be validated.
    pub(super) expires: UnixMillis,
    /// The epoch of the lookup that led to it (see `Epochs`).
    pub(super) epoch: u64,
    /// When that lookup was: it shows nothing that was before.
    pub(super) asked: UnixMillis,
    on_disk: AtomicBool,
}

impl Entry {
    pub(super) fn new(
        place: Place,
        name: Arc<EntryName>,
        meta: StoredMeta,
        body: Bytes,
        expires: UnixMillis,
        lookup: Lookup,
    ) -> Self {
        let Lookup { epoch, asked } = lookup;
        Self { place, name, meta, body, expires, epoch, asked, on_disk: AtomicBool::new(false) }
    }

    pub(super) fn is_over(&self, now: UnixMillis) -> bool {
        self.expires <= now
    }

    pub(super) fn mark_on_disk(&self) {
        self.on_disk.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_on_disk(&self) -> bool {
        self.on_disk.load(Ordering::Relaxed)
    }

    /// Bytes of memory, about.
    pub(super) fn weight(&self) -> u64 {
        // A field costs its text and a place in a map.
        const FIELD: usize = 128;
        let headers = self.meta.header.headers.iter();
        let fields: usize =
            headers.map(|(name, value)| FIELD + 2 * name.as_str().len() + value.len()).sum();
        let exact = self.meta.exact.as_ref().map_or(0, |(a, b)| a.len() + b.len());
        // The name, the places in the maps of the memory tier, and what the allocator rounds up: as
        // measured (`make memory`).
        const AROUND: usize = 1_280;
        (size_of::<Self>() + AROUND + fields + exact + self.body.len()) as u64
    }
}

/// What stands in a `CacheMeta`, in a form that can be copied cheaply.
#[derive(Debug)]
pub(super) struct StoredMeta {
    pub(super) created: SystemTime,
    pub(super) updated: SystemTime,
    pub(super) fresh_until: SystemTime,
    /// From where Age counts.
    pub(super) epoch: SystemTime,
    pub(super) stale_while_revalidate: u32,
    pub(super) stale_if_error: u32,
    pub(super) variance: Option<HashBinary>,
    pub(super) header: ResponseHeader,
    /// Pingora's own two blobs, kept only where its public constructor could not restore the
    /// same meta: variants that were refreshed, whose lineage decides which siblings are valid.
    pub(super) exact: Option<(Vec<u8>, Vec<u8>)>,
}

impl StoredMeta {
    pub(super) fn take(meta: &CacheMeta) -> pingora::Result<Self> {
        let refreshed = meta.updated() != meta.created() || meta.provenance() != meta.created();
        let exact = match meta.variance() {
            Some(_) if refreshed => Some(meta.serialize()?),
            _ => None,
        };
        Ok(Self {
            created: meta.created(),
            updated: meta.updated(),
            fresh_until: meta.fresh_until(),
            epoch: meta.epoch(),
            stale_while_revalidate: meta.stale_while_revalidate_sec(),
            stale_if_error: meta.stale_if_error_sec(),
            variance: meta.variance(),
            header: own_copy(meta.response_header())?,
            exact,
        })
    }

    pub(super) fn give(&self) -> pingora::Result<CacheMeta> {
        if let Some((internal, header)) = &self.exact {
            let mut meta = CacheMeta::deserialize(internal, header)?;
            *meta.response_header_mut() = self.header.clone();
            return Ok(meta);
        }
        let mut meta = CacheMeta::new(
            self.fresh_until,
            self.created,
            self.stale_while_revalidate,
            self.stale_if_error,
            self.header.clone(),
        );
        if self.epoch != self.created {
            meta.set_epoch_override(self.epoch);
        }
        if let Some(variance) = self.variance {
            meta.set_variance(variance);
        }
        Ok(meta)
    }

    /// Until when an answer with this meta is of use: fresh, stale in place of an error, or to be
    /// validated by the backend that gave it a validator.
    pub(super) fn expires(&self) -> UnixMillis {
        let stale = Duration::from_secs(self.stale_if_error.into());
        let fields = &self.header.headers;
        let validation = if fields.contains_key(ETAG) || fields.contains_key(LAST_MODIFIED) {
            let lifetime = self.fresh_until.duration_since(self.updated).unwrap_or_default();
            lifetime.min(LONGEST_FOR_VALIDATION)
        } else {
            Duration::ZERO
        };
        unix_millis(self.fresh_until).plus(stale.max(validation))
    }

    /// Completes the header now that the whole body is known: its length, so that ranges can be
    /// served, and an entity tag, so that callers can ask whether it changed. The tag is strong
    /// (RFC 9110 section 8.8.1): it is a hash of the very bytes that are kept.
    pub(super) fn complete(&mut self, body: &[u8]) -> pingora::Result<()> {
        if !self.header.headers.contains_key(CONTENT_LENGTH) {
            self.header.insert_header(CONTENT_LENGTH, body.len())?;
        }
        if !self.header.headers.contains_key(ETAG) {
            let hash = digest(&SHA256, body);
            let half = hash.as_ref().get(..16).unwrap_or_default();
            let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(half));
            self.header.insert_header(ETAG, tag)?;
        }
        Ok(())
    }

    /// Whether a body of this length is what the header promised.
    pub(super) fn agrees_with(&self, length: usize) -> bool {
        let promised = self.header.headers.get(CONTENT_LENGTH);
        promised.is_none_or(|value| value.as_bytes() == length.to_string().as_bytes())
    }
}

/// A copy that holds no more than it shows. The fields of a head that came over a connection are
/// pieces of the buffer it was read into, and would keep all of that: some kilobytes for each answer.
fn own_copy(header: &ResponseHeader) -> pingora::Result<ResponseHeader> {
    let mut copy = ResponseHeader::build_no_case(header.status, Some(header.headers.len()))?;
    copy.set_version(header.version);
    copy.set_reason_phrase(header.get_reason_phrase())?;
    let all: Bytes = header.headers.values().flat_map(|value| value.as_bytes()).copied().collect();
    let mut from = 0;
    for (name, value) in &header.headers {
        let to = from + value.len();
        let value = HeaderValue::from_maybe_shared(all.slice(from..to))
            .or_err(ErrorType::InvalidHTTPHeader, "a field can't be kept")?;
        copy.append_header(name, value)?;
        from = to;
    }
    Ok(copy)
}

pub(super) fn unix_millis(time: SystemTime) -> UnixMillis {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

pub(super) fn system_time(time: UnixMillis) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(time.0)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_head_does_not_hold_the_buffer_that_it_was_read_into() {
        let buffer = Bytes::from(vec![b'v'; 65_536]);
        let mut head = ResponseHeader::build(201, None).unwrap();
        head.set_reason_phrase(Some("Fine")).unwrap();
        for (name, at) in [("x-one", 0..1), ("x-two", 1..1), ("x-two", 7..60)] {
            let value = HeaderValue::from_maybe_shared(buffer.slice(at)).unwrap();
            head.append_header(name, value).unwrap();
        }
        let now = SystemTime::now();
        let kept = StoredMeta::take(&CacheMeta::new(now, now, 0, 0, head.clone())).unwrap();
        drop(head);
        assert!(buffer.try_into_mut().is_ok(), "somebody still holds it");
        let all = |name| kept.header.headers.get_all(name).iter().map(HeaderValue::len);
        assert_eq!(all("x-one").collect::<Vec<_>>(), [1]);
        assert_eq!(all("x-two").collect::<Vec<_>>(), [0, 53]);
        assert_eq!(kept.header.status, 201);
        assert_eq!(kept.header.get_reason_phrase(), Some("Fine"));
    }
}
