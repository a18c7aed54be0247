//! Removes the hop-by-hop header fields, which are for one connection only (RFC 9110, section 7.6.1), from requests and
//! responses. All other fields are forwarded unchanged.

use std::str;

use http::HeaderMap;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};

use super::caller_token::CALLER_TOKEN;
use super::problem_details::Problem;

/// Hop-by-hop fields of a request, and those that are meant for this proxy.
const REQUEST_FIELDS: [HeaderName; 11] = [
    CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    EXPECT,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    CALLER_TOKEN,
];

/// Hop-by-hop fields of a response, beside `Connection` and the fields that it names.
const RESPONSE_FIELDS: [HeaderName; 6] = [
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Removes the hop-by-hop fields of a request, and those that `Connection` names.
///
/// # Errors
/// `Connection` names a field without which the request would be another one.
pub(super) fn strip_request(headers: &mut HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(CONNECTION) {
        let options: Vec<_> = connection_options(headers).collect();
        for name in options {
            if [HOST, CONTENT_LENGTH].contains(&name) {
                return Err(Problem::malformed(
                    "Connection names a field that is the request's own",
                ));
            }
            headers.remove(name);
        }
    }
    for name in &REQUEST_FIELDS {
        headers.remove(name);
    }
    Ok(())
}

/// Removes the hop-by-hop fields of a response, and leaves at most one `Content-Length`.
///
/// # Errors
/// The framing is ambiguous: where the body ends, or how it is coded, would be a guess.
pub(super) fn strip_response(headers: &mut HeaderMap) -> Result<(), &'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => {}
        // The coded body would be forwarded without the field that names its coding.
        (_, Some(_)) => return Err("its Transfer-Encoding is something else than chunked"),
        (Some(coding), None) if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            return Err("its Transfer-Encoding is something else than chunked");
        }
        // The chunks override a Content-Length (RFC 9112, section 6.3).
        (Some(_), None) => {
            headers.remove(CONTENT_LENGTH);
        }
    }
    if headers.contains_key(CONTENT_LENGTH) {
        let length = content_length(headers).ok_or("its Content-Length is not one number")?;
        headers.insert(CONTENT_LENGTH, length.into());
    }
    if headers.contains_key(CONNECTION) {
        let options: Vec<_> = connection_options(headers).collect();
        for name in options {
            if name != CONTENT_LENGTH {
                headers.remove(name);
            }
        }
        headers.remove(CONNECTION);
    }
    for name in &RESPONSE_FIELDS {
        headers.remove(name);
    }
    Ok(())
}

/// The fields that `Connection` names.
fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let values = headers.get_all(CONNECTION).iter();
    values.flat_map(|value| {
        let options = value.as_bytes().split(|byte| *byte == b',');
        options.filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok())
    })
}

/// The `Content-Length`, if all its lines and list elements agree (RFC 9110, section 8.6).
fn content_length(headers: &HeaderMap) -> Option<u64> {
    let lines = headers.get_all(CONTENT_LENGTH).iter();
    let mut values = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let number = |text: &[u8]| -> Option<u64> {
        let text = text.trim_ascii();
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
    };
    let first = number(values.next()?)?;
    values
        .all(|other| number(other) == Some(first))
        .then_some(first)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_response_loses_its_hop_by_hop_fields_only() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "x-hop, content-length"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("set-cookie", "a"),
            ("set-cookie", "b"),
            ("location", "https://tpp.example/"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        strip_response(&mut headers).unwrap();
        let mut left: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
        left.sort_unstable();
        assert_eq!(left, ["location", "set-cookie", "set-cookie"]);
    }
}
