//! The syntax of a request head, checked before hyper parses it. hyper refuses invalid syntax with a bare status, and
//! ignores some of it silently; the proxy explains each error.
//!
//! Everything that hyper refuses is refused here first. What hyper accepts is validated by [`super::request_head`].

use http::{StatusCode, Uri};

use super::body_framing::BodyFraming;
use super::forward::body_problem;
use super::problem_details::Problem;
use super::request_body::BodyFault;

/// The longest `Content-Length` that hyper accepts.
const MAX_CONTENT_LENGTH: u64 = u64::MAX >> 1;

/// What a head says of the body that follows it.
#[derive(Debug)]
pub(super) struct AnnouncedBody {
    pub(super) framing: BodyFraming,
    /// The application may wait for 100 (Continue) before it sends the body.
    pub(super) awaits_continue: bool,
}

/// Checks a head, including the empty line at its end. A minor version above 1 is replaced by 1, as RFC 9110,
/// section 2.5 wants it.
///
/// # Errors
/// It is not a head of HTTP/1, or another server could read it differently.
pub(super) fn check(head: &mut [u8]) -> Result<AnnouncedBody, Problem> {
    let mut lines = head.split_inclusive(|byte| *byte == b'\n').map(line);
    let first = lines.next().unwrap_or(Ok(&[]))?;
    let (target, version) = parse_request_line(first)?;
    let minor = parse_minor_version(version)?;
    check_target(target)?;
    let minor_digit = first.len() - 1;
    let mut framing = Framing::default();
    for line in lines {
        let line = line?;
        if !line.is_empty() {
            framing.add(parse_field(line)?)?;
        }
    }
    let announced = framing.check(minor)?;
    if minor > 1 {
        head[minor_digit] = b'1';
    }
    Ok(announced)
}

/// The position after the empty line that ends a head, which is None if that did not come yet. The first `searched` bytes
/// were searched before.
///
/// # Errors
/// A line ends with LF alone. Some servers take that for the end of a line and some do not (RFC 9112, section 2.2), so
/// that they could find two heads where others find one.
pub(super) fn end_of_head(buffer: &[u8], searched: usize) -> Result<Option<usize>, Problem> {
    let mut from = searched;
    while let Some(found) = buffer[from..].iter().position(|byte| *byte == b'\n') {
        let end = from + found + 1;
        if !buffer[..end].ends_with(b"\r\n") {
            return Err(bare_lf_problem());
        }
        if buffer[..end].ends_with(b"\r\n\r\n") {
            return Ok(Some(end));
        }
        from = end;
    }
    Ok(None)
}

fn bare_lf_problem() -> Problem {
    Problem::malformed("a line of the head ends with LF alone: it is CR LF that ends a line")
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

/// A line without its end.
fn line(line: &[u8]) -> Result<&[u8], Problem> {
    line.strip_suffix(b"\r\n").ok_or_else(bare_lf_problem)
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
    !text.is_empty() && text.iter().copied().all(is_token_byte)
}

/// Whether a byte may stand in the name of a field (RFC 9110, section 5.6.2).
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The fields that determine the length of the body. hyper merges some and removes others, so that later checks do not
/// see them.
#[derive(Default)]
struct Framing<'a> {
    length: Option<u64>,
    coding: Option<&'a [u8]>,
    expects: bool,
}

impl<'a> Framing<'a> {
    fn add(&mut self, (name, value): (&'a [u8], &'a [u8])) -> Result<(), Problem> {
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return match self.coding.replace(value) {
                None => Ok(()),
                Some(_) => Err(Problem::malformed("there are two Transfer-Encodings")),
            };
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let text = std::str::from_utf8(value).ok().filter(|_| digits);
            let length = text.and_then(|text| text.parse().ok());
            let length = length.ok_or_else(|| Problem::malformed("Content-Length is not a number"));
            return match self.length.replace(length?) {
                None => Ok(()),
                // Equal ones too: who merges them reads one, who does not may read the other.
                Some(_) => Err(Problem::malformed(
                    "the length of the body is said more than once",
                )),
            };
        }
        self.expects |= name.eq_ignore_ascii_case(b"expect");
        Ok(())
    }

    fn check(&self, minor: u8) -> Result<AnnouncedBody, Problem> {
        let framing = match (self.coding, self.length) {
            (Some(_), _) if minor == 0 => {
                return Err(Problem::malformed(
                    "HTTP/1.0 has no Transfer-Encoding: where the body ends is not sure",
                ));
            }
            (Some(_), Some(_)) => {
                return Err(Problem::malformed(
                    "there is a Content-Length beside Transfer-Encoding: where the body ends is not sure",
                ));
            }
            (Some(coding), None) => {
                let mut codings = coding.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                let chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
                if !codings.next().is_some_and(chunked) || codings.any(chunked) {
                    return Err(Problem::malformed(
                        "the last transfer coding, and no other, has to be chunked: where the body ends is not sure",
                    ));
                }
                BodyFraming::chunked()
            }
            (None, Some(length)) if length > MAX_CONTENT_LENGTH => {
                return Err(body_problem(BodyFault::TooLong));
            }
            (None, length) => BodyFraming::Length(length.unwrap_or(0)),
        };
        Ok(AnnouncedBody {
            framing,
            awaits_continue: self.expects,
        })
    }
}

#[cfg(test)]
mod tests;
