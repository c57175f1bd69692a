use std::any::Any;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::{Error, ErrorType, Result};
use pingora_cache::storage::HandleHit;
use pingora_cache::trace::SpanHandle;
use pingora_cache::{CacheKey, Storage};

/// Reads a kept body, whole or a range of it. Nothing is copied.
pub(super) struct Hit {
    body: Bytes,
    /// Not read yet.
    left: Range<usize>,
}

impl Hit {
    pub(super) fn new(body: Bytes) -> Self {
        let left = 0..body.len();
        Self { body, left }
    }
}

#[async_trait]
impl HandleHit for Hit {
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        let range = std::mem::take(&mut self.left);
        Ok((!range.is_empty()).then(|| self.body.slice(range)))
    }

    async fn finish(
        self: Box<Self>,
        _storage: &'static (dyn Storage + Sync),
        _key: &CacheKey,
        _trace: &SpanHandle,
    ) -> Result<()> {
        Ok(())
    }

    fn can_seek(&self) -> bool {
        true
    }

    /// `end` is exclusive and may lie beyond the body.
    fn seek(&mut self, start: usize, end: Option<usize>) -> Result<()> {
        let end = end.map_or(self.body.len(), |end| end.min(self.body.len()));
        if start >= self.body.len() || end < start {
            return Error::e_explain(ErrorType::InternalError, "the range is not in the body");
        }
        self.left = start..end;
        Ok(())
    }

    fn get_eviction_weight(&self) -> usize {
        self.body.len()
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync) {
        self
    }
}
