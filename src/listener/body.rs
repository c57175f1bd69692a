/// Follows the bytes of one HTTP/1 request body to find where it ends (RFC 9112 section 6), so
/// that a deadline for the body can end there. It judges nothing: Pingora parses the same bytes,
/// and what it refuses never gets here again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes are to come.
    Length(u64),
    /// Chunks (RFC 9112 section 7.1).
    Chunked(Chunk),
}

/// Where in the chunks the next byte stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// In a chunk's size, so far this.
    Size(u64),
    /// Behind the size, before the line's end.
    Extension(u64),
    /// In a chunk's data, of which so many bytes are to come.
    Data(u64),
    /// Behind a chunk's data, before the line's end.
    DataEnd,
    /// In the trailer section, in a line of which there were so many bytes.
    Trailer(u64),
    /// Behind the end.
    Over,
}

impl Body {
    /// Chunks of which none has come.
    pub const CHUNKED: Self = Self::Chunked(Chunk::Size(0));
    /// No body at all.
    pub const NONE: Self = Self::Length(0);

    /// Whether nothing is to come.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::Over))
    }

    /// Goes on by what has come; bytes behind the end are no part of it.
    pub fn advance(&mut self, mut bytes: &[u8]) {
        match self {
            Self::Length(left) => {
                *left = left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            }
            Self::Chunked(at) => {
                while !bytes.is_empty() && *at != Chunk::Over {
                    bytes = at.advance(bytes);
                }
            }
        }
    }
}

impl Chunk {
    /// Takes one byte, or as much of a chunk's data as is there; gives what is left.
    fn advance<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        if let Self::Data(left) = self {
            let there = u64::try_from(bytes.len()).unwrap_or(u64::MAX).min(*left);
            *left -= there;
            if *left == 0 {
                *self = Self::DataEnd;
            }
            return usize::try_from(there).ok().and_then(|there| bytes.get(there..)).unwrap_or(&[]);
        }
        let Some((byte, rest)) = bytes.split_first() else { return &[] };
        *self = match (&*self, byte) {
            (Self::Size(size) | Self::Extension(size), b'\n') => match size {
                0 => Self::Trailer(0),
                size => Self::Data(*size),
            },
            (Self::Size(size), digit) => match char::from(*digit).to_digit(16) {
                Some(digit) => Self::Size(size.saturating_mul(16).saturating_add(digit.into())),
                None => Self::Extension(*size),
            },
            (Self::Extension(size), _) => Self::Extension(*size),
            (Self::DataEnd, b'\n') => Self::Size(0),
            (Self::DataEnd, _) => Self::DataEnd,
            (Self::Trailer(0), b'\n') => Self::Over,
            (Self::Trailer(_), b'\n') => Self::Trailer(0),
            (Self::Trailer(length), b'\r') => Self::Trailer(*length),
            (Self::Trailer(length), _) => Self::Trailer(length.saturating_add(1)),
            (Self::Data(_) | Self::Over, _) => Self::Over,
        };
        rest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_body_of_known_length_ends_with_its_last_byte() {
        let mut body = Body::Length(5);
        body.advance(b"1234");
        assert!(!body.is_over());
        body.advance(b"5GET / HTTP/1.1");
        assert!(body.is_over());
        assert!(Body::NONE.is_over());
    }

    #[test]
    fn chunks_end_with_the_empty_line_behind_the_last_one() {
        let text = b"5;x=y\r\nhello\r\n1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nTrailer: x\r\n\r\n";
        let mut body = Body::CHUNKED;
        for (at, byte) in text.iter().enumerate() {
            assert!(!body.is_over(), "over before byte {at}");
            body.advance(&[*byte]);
        }
        assert!(body.is_over());
    }

    #[test]
    fn an_end_inside_a_chunk_is_data() {
        let mut body = Body::CHUNKED;
        body.advance(b"7\r\n0\r\n\r\n\r\n\r\n");
        assert!(!body.is_over());
        body.advance(b"0\r\n\r\n");
        assert!(body.is_over());
    }

    proptest! {
        #[test]
        fn chunks_end_where_they_should_however_they_are_cut(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(1usize..20, 1..60),
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n\r\n");
            let (last, mut rest) = text.split_last().unwrap();
            let mut body = Body::CHUNKED;
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                body.advance(piece);
                prop_assert!(!body.is_over());
                rest = after;
            }
            body.advance(&[*last]);
            prop_assert!(body.is_over());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut body = Body::CHUNKED;
            body.advance(&bytes);
        }
    }
}
