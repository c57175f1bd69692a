use http::Method;

/// Longest part of a refused head that is told, in bytes.
const LONGEST: usize = 512;

/// What stands in plain sight in a head that can't be read as a whole. Good enough for a log, and
/// for nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sketch<'h> {
    /// The method.
    pub method: &'h str,
    /// What the Host field says.
    pub host: &'h str,
    /// The target up to its query.
    pub path: &'h str,
}

impl<'h> Sketch<'h> {
    /// Of a head, or as much of one as has come.
    pub fn of(head: &'h [u8]) -> Self {
        let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let line = lines.find(|line| !line.is_empty()).unwrap_or_default();
        let mut words = line.split(|byte| *byte == b' ');
        let method = words.next().map(text).unwrap_or_default();
        let is_method = Method::from_bytes(method.as_bytes()).is_ok() && method.len() <= 20;
        let target = words.next().map(text).unwrap_or_default();
        // With more than three words nobody knows where the target ends.
        let path = if words.count() <= 1 { path_of(target) } else { "" };
        let host = lines.take_while(|line| !line.is_empty()).find_map(|line| {
            let at = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = line.split_at_checked(at)?;
            name.eq_ignore_ascii_case(b"host").then(|| text(value.get(1..).unwrap_or_default()))
        });
        let method = if is_method { method } else { "" };
        Self { method, host: host.unwrap_or_default(), path }
    }
}

fn path_of(target: &str) -> &str {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    match path.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        None => path,
    }
}

fn text(bytes: &[u8]) -> &str {
    let bytes = bytes.trim_ascii();
    let short = bytes.get(..LONGEST).unwrap_or(bytes);
    std::str::from_utf8(short).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_told_of_a_head_is_told_and_a_query_never() {
        for (head, method, host, path) in [
            ("GET /a?b=c HTTP/1.1\r\nhost: x.example\r\nbad header\r\n", "GET", "x.example", "/a"),
            ("\r\nPOST /a#b HTTP/1.1\r\nX: y\r\nHOST:x\r\n\r\nhost: z", "POST", "x", "/a"),
            ("GET http://u@x/a?b HTTP/1.1\r\n", "GET", "", "/a"),
            ("GET http://x HTTP/1.1\r\n", "GET", "", "/"),
            ("GET /a b HTTP/1.1\r\n", "GET", "", ""),
            ("GET /half", "GET", "", "/half"),
            ("G\0T /a HTTP/1.1\r\n", "", "", "/a"),
            ("", "", "", ""),
        ] {
            assert_eq!(Sketch::of(head.as_bytes()), Sketch { method, host, path }, "{head:?}");
        }
        assert_eq!(Sketch::of(b"GET /\xff HTTP/1.1\r\n").path, "");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            Sketch::of(&bytes);
        }
    }
}
