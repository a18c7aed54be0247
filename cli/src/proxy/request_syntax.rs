//! The syntax of a request head, checked before hyper parses it. hyper refuses invalid syntax with a bare status, and
//! ignores some of it silently; the proxy explains each error.
//!
//! Everything that hyper refuses is refused here first. What hyper accepts is validated by [`super::request_head`].

use http::{StatusCode, Uri};

use super::forward::body_problem;
use super::problem_details::Problem;
use super::request_body::BodyFault;

/// The longest `Content-Length` that hyper accepts.
const MAX_CONTENT_LENGTH: u64 = u64::MAX >> 1;

/// Checks a head, including the empty line at its end. A minor version above 1 is replaced by 1, as RFC 9110,
/// section 2.5 wants it.
///
/// # Errors
/// It is not a head of HTTP/1.
pub(super) fn check(head: &mut [u8]) -> Result<(), Problem> {
    let end = head.iter().position(|byte| *byte == b'\n');
    let first = trim_cr(&head[..end.unwrap_or(head.len())]);
    let (target, version) = parse_request_line(first)?;
    let minor = parse_minor_version(version)?;
    check_target(target)?;
    let minor_digit = first.len() - 1;
    let mut framing = Framing::default();
    for line in head[end.map_or(head.len(), |end| end + 1)..].split(|byte| *byte == b'\n') {
        let line = trim_cr(line);
        if !line.is_empty() {
            framing.add(parse_field(line)?)?;
        }
    }
    framing.check(minor)?;
    if minor > 1 {
        head[minor_digit] = b'1';
    }
    Ok(())
}

/// Whether the bytes begin like a TLS handshake record of any version (RFC 8446, section 5.1). No method begins so.
pub(super) fn is_tls(head: &[u8]) -> bool {
    head.starts_with(&[0x16, 0x03])
}

/// The response to a client that speaks TLS to the plain HTTP listener.
pub(super) fn tls_problem() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "request",
        "this is TLS, and the listener speaks plain HTTP: TLS begins behind the proxy",
        "call http://, not https://",
    )
    .closing()
}

/// The response to a head above the limit: 414 if the request line alone is too long (RFC 9112, section 3), else 431.
pub(super) fn too_large_problem(head: &[u8], limit: usize) -> Problem {
    let hint = "send less, or raise `max_header_kib` of [proxy]";
    match head.iter().take(limit).any(|byte| *byte == b'\n') {
        true => Problem::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "request",
            "the head of the request is too large",
            hint,
        ),
        false => Problem::new(
            StatusCode::URI_TOO_LONG,
            "request",
            "the first line of the request is too long",
            hint,
        ),
    }
    .closing()
}

fn trim_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Target and version.
fn parse_request_line(line: &[u8]) -> Result<(&[u8], &[u8]), Problem> {
    let mut words = line.split(|byte| *byte == b' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(method), Some(target), Some(version), None)
            if is_token(method) && !target.is_empty() =>
        {
            Ok((target, version))
        }
        _ => Err(Problem::malformed(
            "the first line is not a method, a target and a version with one space between",
        )),
    }
}

/// The digit after `HTTP/1.`
fn parse_minor_version(version: &[u8]) -> Result<u8, Problem> {
    match version {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit() => {
            Ok(minor - b'0')
        }
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Problem::new(
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "request",
                "the request is not of HTTP/1.1",
                "the proxy speaks HTTP/1.1 to applications, whatever the hub speaks: set the client to it",
            )
            .closing())
        }
        _ => Err(Problem::malformed("the first line names no version of HTTP")),
    }
}

fn check_target(target: &[u8]) -> Result<(), Problem> {
    if target.contains(&b'#') {
        return Err(Problem::malformed(
            "the target has a fragment, which is the client's own and not sent",
        ));
    }
    match Uri::try_from(target) {
        Ok(_) => Ok(()),
        Err(_) => Err(Problem::malformed("the target is no URI")),
    }
}

/// Name and value of a field.
fn parse_field(line: &[u8]) -> Result<(&[u8], &[u8]), Problem> {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Err(Problem::malformed(
            "a line begins with white space: fields are not folded any more",
        ));
    }
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return Err(Problem::malformed("a line of the head has no colon"));
    };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.ends_with(b" ") || name.ends_with(b"\t") {
        return Err(Problem::malformed(
            "there is white space between the name of a field and its colon",
        ));
    }
    if !is_token(name) {
        return Err(Problem::malformed("the name of a field is none"));
    }
    let control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    if value.iter().any(control) {
        return Err(Problem::malformed(
            "the value of a field holds a control character",
        ));
    }
    Ok((name, value.trim_ascii()))
}

fn is_token(text: &[u8]) -> bool {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(token)
}

/// The fields that determine the length of the body.
#[derive(Default)]
struct Framing<'a> {
    length: Option<u64>,
    /// The last transfer coding.
    coding: Option<&'a [u8]>,
}

impl<'a> Framing<'a> {
    fn add(&mut self, (name, value): (&'a [u8], &'a [u8])) -> Result<(), Problem> {
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let last = value.rsplit(|byte| *byte == b',').next();
            self.coding = last.map(<[u8]>::trim_ascii);
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let text = std::str::from_utf8(value).ok().filter(|_| digits);
            let length = text.and_then(|text| text.parse().ok());
            let length = length.ok_or_else(|| Problem::malformed("Content-Length is not a number"));
            let length = length?;
            if self
                .length
                .replace(length)
                .is_some_and(|other| other != length)
            {
                return Err(Problem::malformed(
                    "the length of the body is said more than once",
                ));
            }
        }
        Ok(())
    }

    fn check(&self, minor: u8) -> Result<(), Problem> {
        match self.coding {
            Some(_) if minor == 0 => Err(Problem::malformed(
                "HTTP/1.0 has no Transfer-Encoding: where the body ends is not sure",
            )),
            Some(last) if !last.eq_ignore_ascii_case(b"chunked") => Err(Problem::malformed(
                "the last transfer coding is not chunked: where the body ends is not sure",
            )),
            None if self
                .length
                .is_some_and(|length| length > MAX_CONTENT_LENGTH) =>
            {
                Err(body_problem(BodyFault::TooLong))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &str) -> u16 {
        match check(&mut head.as_bytes().to_vec()) {
            Ok(()) => 0,
            Err(problem) => {
                assert!(problem.closes, "{head:?}");
                problem.status.as_u16()
            }
        }
    }

    #[test]
    fn each_syntax_error_has_its_status() {
        for good in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.0\n\n",
            "get * HTTP/1.9\r\n\r\n",
            "X-!~ http://a/?b HTTP/1.1\r\nA:\r\nB: \t c\u{e9}\td \r\n\r\n",
            "CONNECT a:443 HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, Chunked\r\nContent-Length: 1\r\n\r\n",
        ] {
            assert_eq!(status(good), 0, "{good:?}");
        }
        for (lines, expected) in [
            ("GET /", 400),
            ("GET  / HTTP/1.1", 400),
            ("GET / HTTP/1.1 ", 400),
            (" GET / HTTP/1.1", 400),
            ("GET\t/ HTTP/1.1", 400),
            ("G(T / HTTP/1.1", 400),
            ("GET /a b HTTP/1.1", 400),
            ("GET /a#b HTTP/1.1", 400),
            ("GET /a\0 HTTP/1.1", 400),
            ("GET / HTTP/11", 400),
            ("GET / http/1.1", 400),
            ("GET / HTTP/1.10", 400),
            ("GET / HTTP/2.0", 505),
            ("PRI * HTTP/2.0", 505),
            ("GET / HTTP/0.9", 505),
            ("GET / HTTP/1.1\r\nA : b", 400),
            ("GET / HTTP/1.1\r\n A: b", 400),
            ("GET / HTTP/1.1\r\nA: b\r\n\tc", 400),
            ("GET / HTTP/1.1\r\nA", 400),
            ("GET / HTTP/1.1\r\n: b", 400),
            ("GET / HTTP/1.1\r\nA: b\rc", 400),
            ("GET / HTTP/1.1\r\nA: b\0", 400),
            ("GET / HTTP/1.1\r\nA: b\u{7f}", 400),
            (
                "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2",
                400,
            ),
            ("GET / HTTP/1.1\r\nContent-Length: 1, 1", 400),
            ("GET / HTTP/1.1\r\nContent-Length: -1", 400),
            ("GET / HTTP/1.1\r\nContent-Length:", 400),
            (
                "GET / HTTP/1.1\r\nContent-Length: 99999999999999999999",
                400,
            ),
            (
                "GET / HTTP/1.1\r\nContent-Length: 18446744073709551615",
                413,
            ),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: gzip", 400),
            (
                "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x",
                400,
            ),
            ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked", 400),
        ] {
            assert_eq!(status(&format!("{lines}\r\n\r\n")), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_later_minor_version_is_replaced_by_1() {
        let mut head = b"GET /1.2 HTTP/1.2\r\nHost: a\r\n\r\n".to_vec();
        check(&mut head).unwrap();
        assert_eq!(head, b"GET /1.2 HTTP/1.1\r\nHost: a\r\n\r\n");
    }
}
