use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

/// A request to explain.
#[derive(Clone, Debug)]
pub struct Question {
    /// Method.
    pub method: Method,
    /// Whole URL.
    pub url: Uri,
    /// Header fields.
    pub headers: HeaderMap,
    /// The body; empty is none.
    pub body: Vec<u8>,
}

/// Why a text is no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// Not a method.
    #[error("'{0}' is not a method")]
    Method(String),
    /// Not a whole URL.
    #[error("'{0}' is not a whole URL, as in https://api.bank.example/accounts/4711")]
    Url(String),
    /// Not `name: value`.
    #[error("'{0}' is not a header, as in 'accept: application/json'")]
    Header(String),
}

impl Question {
    /// From texts as typed.
    ///
    /// # Errors
    /// Says which text is wrong.
    pub fn parse(
        method: &str,
        url: &str,
        headers: &[String],
        body: Vec<u8>,
    ) -> Result<Self, QuestionError> {
        let uri: Uri = url.parse().map_err(|_| QuestionError::Url(url.to_owned()))?;
        let host =
            uri.scheme().and(uri.authority()).ok_or_else(|| QuestionError::Url(url.to_owned()))?;
        let mut fields = HeaderMap::new();
        fields.insert(
            http::header::HOST,
            HeaderValue::from_str(host.as_str()).map_err(|_| QuestionError::Url(url.to_owned()))?,
        );
        for header in headers {
            let (name, value) = parse_header(header)?;
            fields.append(name, value);
        }
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes())
            .map_err(|_| QuestionError::Method(method.to_owned()))?;
        Ok(Self { method, url: uri, headers: fields, body })
    }
}

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), QuestionError> {
    let wrong = || QuestionError::Header(text.to_owned());
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
    Ok((name, value))
}
