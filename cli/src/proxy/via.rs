//! `Via` and `Max-Forwards` (RFC 9110, section 7.6): the gateway adds its name to `Via`, refuses requests that already
//! carry it (loop detection), and decrements `Max-Forwards`.

use http::header::{HeaderName, MAX_FORWARDS, VIA};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use super::problem_details::Problem;

/// The `Allow` of a refused method. Unknown methods are forwarded as well.
pub(super) const ALLOWED_METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// The pseudonym of this gateway in `Via`, with its entries for requests of HTTP/1.1 and of HTTP/1.0.
#[derive(Debug)]
pub(super) struct ViaPseudonym {
    name: String,
    entry: HeaderValue,
    entry_of_http_10: HeaderValue,
}

impl ViaPseudonym {
    /// None: the name is not a token (RFC 9110, section 5.6.2).
    pub(super) fn new(name: &str) -> Option<Self> {
        // Field names are tokens as well.
        HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some(Self {
            name: name.to_owned(),
            entry: HeaderValue::from_str(&format!("1.1 {name}")).ok()?,
            entry_of_http_10: HeaderValue::from_str(&format!("1.0 {name}")).ok()?,
        })
    }

    /// Appends this gateway to the `Via` of a request.
    ///
    /// # Errors
    /// `Via` names it already: the request is in a loop.
    pub(super) fn append_to(&self, head: &mut Parts) -> Result<(), Problem> {
        if self.is_named_in(&head.headers) {
            return Err(Problem::new(
                StatusCode::LOOP_DETECTED,
                "loop",
                "the request has come through this proxy before: its Via names it",
                "see where [hub] leads to: something there sends requests back here; where two proxies are meant to follow on each other, give each a name of its own (`via` of [proxy])",
            )
            .closing());
        }
        let entry = match head.version {
            Version::HTTP_10 => &self.entry_of_http_10,
            _ => &self.entry,
        };
        head.headers.append(VIA, entry.clone());
        Ok(())
    }

    fn is_named_in(&self, headers: &HeaderMap) -> bool {
        let lines = headers.get_all(VIA).iter();
        let mut entries = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        entries.any(|entry| {
            // An entry is a protocol, a name and optionally a comment.
            let mut words = entry
                .split(|byte| matches!(byte, b' ' | b'\t'))
                .filter(|word| !word.is_empty());
            let name = words.nth(1).unwrap_or_default();
            name.eq_ignore_ascii_case(self.name.as_bytes())
        })
    }
}

/// Decrements `Max-Forwards` of an OPTIONS request. Returns true if it was 0: the gateway answers the request itself.
/// Other methods are left alone: TRACE is not forwarded, and for the rest the field has no meaning (RFC 9110,
/// section 7.6.2).
///
/// # Errors
/// `Max-Forwards` is not a number.
pub(super) fn answers_max_forwards(head: &mut Parts) -> Result<bool, Problem> {
    if head.method != Method::OPTIONS {
        return Ok(false);
    }
    let mut all = head.headers.get_all(MAX_FORWARDS).iter();
    let hops = match (all.next(), all.next()) {
        (None, _) => return Ok(false),
        (Some(hops), None) => hops.as_bytes(),
        (Some(_), Some(_)) => return Err(Problem::malformed("there are two Max-Forwards")),
    };
    if hops.is_empty() || !hops.iter().all(u8::is_ascii_digit) {
        return Err(Problem::malformed("Max-Forwards is not a number"));
    }
    let hops = std::str::from_utf8(hops).unwrap_or_default();
    // A number that overflows is as good as infinite.
    let hops: u64 = hops.parse().unwrap_or(u64::MAX);
    let Some(left) = hops.checked_sub(1) else {
        return Ok(true);
    };
    head.headers.insert(MAX_FORWARDS, left.into());
    Ok(false)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(method: &str, name: HeaderName, values: &[&str]) -> Parts {
        let mut request = Request::builder().method(method);
        for value in values {
            request = request.header(name.clone(), *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_request_whose_via_names_this_gateway_is_refused() {
        let pseudonym = ViaPseudonym::new("hsm-mtls-bank").unwrap();
        for seen in [
            &["1.1 hsm-mtls-bank"][..],
            &["1.0 other, HTTP/1.1 HSM-MTLS-Bank (a comment)"],
            &["1.0 other", "2 another,1.1\thsm-mtls-bank"],
        ] {
            let problem = pseudonym
                .append_to(&mut head("GET", VIA, seen))
                .unwrap_err();
            assert_eq!(problem.status, StatusCode::LOOP_DETECTED, "{seen:?}");
        }
        for other in [
            &[][..],
            &["1.1 hsm-mtls-bank2"],
            &["hsm-mtls-bank"],
            &["1.1 x (hsm-mtls-bank)"],
        ] {
            let mut head = head("GET", VIA, other);
            pseudonym.append_to(&mut head).unwrap();
            let all: Vec<_> = head.headers.get_all(VIA).iter().collect();
            assert_eq!(all.len(), other.len() + 1);
            assert_eq!(all[other.len()], "1.1 hsm-mtls-bank");
        }
        assert!(ViaPseudonym::new("two words").is_none());
    }

    #[test]
    fn max_forwards_is_counted_down_for_options() {
        let left = |method, values: &[&str]| {
            let mut head = head(method, MAX_FORWARDS, values);
            let ends =
                answers_max_forwards(&mut head).map_err(|problem| problem.status.as_u16())?;
            let left = head.headers.get(MAX_FORWARDS).cloned();
            Ok::<_, u16>((ends, left.map(|left| left.to_str().unwrap().to_owned())))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(left("OPTIONS", &[]), Ok((false, None)));
        assert_eq!(left("OPTIONS", &["0"]), Ok((true, some("0"))));
        assert_eq!(left("OPTIONS", &["1"]), Ok((false, some("0"))));
        assert_eq!(left("OPTIONS", &["010"]), Ok((false, some("9"))));
        assert_eq!(
            left("OPTIONS", &["99999999999999999999999"]),
            Ok((false, some("18446744073709551614")))
        );
        for bad in [&["-1"][..], &["+1"], &[""], &["1", "1"], &["1, 2"]] {
            assert_eq!(left("OPTIONS", bad), Err(400), "{bad:?}");
        }
        assert_eq!(left("GET", &["0"]), Ok((false, some("0"))));
    }
}
