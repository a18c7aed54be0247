//! Answers that a good hub would not give, byte for byte as they come from the servers and boxes
//! that do.

use std::io;

use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::super::hub::answer::ClientNames;
use super::session::Session;

/// How far a clock is wrong: more than any token of the hub's security profile allows for.
const SKEW: Duration = Duration::minutes(5);
const PROMISED: usize = 500;
const KEPT: &[u8] = b"{\"connectionEstabli";

/// What comes where `/hello-mtls` was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What a good hub answers.
    Established,
    /// How nginx refuses a certificate that it cannot verify.
    NginxRefuses,
    /// How nginx says that it got none.
    NginxSawNone,
    Unauthorized,
    Forbidden,
    NotFound,
    LoginPage,
    Broken,
    Unavailable,
    Html,
    NotEstablished,
    NotConnected,
    AnotherSubject,
    AnotherIssuer,
    NoCertificate,
    ClockAhead,
    ClockBehind,
    /// Less than was promised, then the end of TLS.
    HalfAndEnd,
    /// Less than was promised, then the end of TCP without that of TLS.
    HalfAndCut,
    /// What is no HTTP.
    Garbage,
    /// The end of TLS, and no answer.
    EndsUnanswered,
    /// The end of TCP without that of TLS, and no answer.
    CutUnanswered,
    /// Nothing, for as long as the client waits.
    Silence,
}

impl Answer {
    pub fn give(self, mut session: Session<'_>) -> io::Result<()> {
        session.request()?;
        let client = session.client();
        match self {
            Self::Silence => return session.wait(),
            Self::CutUnanswered => return Ok(()),
            Self::EndsUnanswered => {}
            _ => session.send(self.text(client.as_ref()).as_bytes())?,
        }
        match self {
            Self::HalfAndCut => Ok(()),
            _ => session.close(),
        }
    }

    fn text(self, client: Option<&ClientNames>) -> String {
        let html = |status: &str, title: &str, more: &str| {
            let page = format!(
                "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n\
                 <center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
            );
            whole(status, &format!("Content-Type: text/html\r\n{more}"), &page)
        };
        let problem = |status: &str, code: &str| {
            let body = json!({"errorCode": code, "errorMessage": status}).to_string();
            whole(status, "Content-Type: application/json\r\n", &body)
        };
        match self {
            Self::NginxRefuses => html("400 Bad Request", "400 The SSL certificate error", ""),
            Self::NginxSawNone => html(
                "400 Bad Request",
                "400 No required SSL certificate was sent",
                "",
            ),
            Self::Unauthorized => problem("401 Unauthorized", "Unauthorized"),
            Self::Forbidden => problem("403 Forbidden", "AccessDenied"),
            Self::NotFound => html("404 Not Found", "404 Not Found", ""),
            Self::LoginPage => html(
                "302 Found",
                "302 Found",
                "Location: https://login.example/\r\n",
            ),
            Self::Broken => problem("500 Internal Server Error", "InternalError"),
            Self::Unavailable => html(
                "503 Service Unavailable",
                "503 Service Temporarily Unavailable",
                "",
            ),
            Self::Html => html("200 OK", "Welcome", ""),
            Self::Garbage => "this is not HTTP\r\n\r\n".to_owned(),
            Self::HalfAndEnd | Self::HalfAndCut => {
                let head = head("200 OK", "Content-Type: application/json\r\n", PROMISED);
                head + &String::from_utf8_lossy(KEPT)
            }
            Self::ClockAhead => hello(client, |_| {}, SKEW),
            Self::ClockBehind => hello(client, |_| {}, -SKEW),
            other => hello(client, |body| other.edit(body), Duration::ZERO),
        }
    }

    fn edit(self, hello: &mut Value) {
        match self {
            Self::NotEstablished => hello["mtlsStatus"] = json!("not-established"),
            Self::NotConnected => hello["connectionEstablished"] = json!(false),
            Self::AnotherSubject => {
                hello["clientCertificate"]["subject"] = json!("CN=proxy.bank.example,O=Bank,C=AE");
            }
            Self::AnotherIssuer => {
                hello["clientCertificate"]["issuer"] = json!("CN=Bank Network Inspection CA");
            }
            Self::NoCertificate => hello["clientCertificate"] = Value::Null,
            _ => {}
        }
    }
}

fn hello(client: Option<&ClientNames>, edit: impl FnOnce(&mut Value), skew: Duration) -> String {
    let mut body = json!({
        "connectionEstablished": true,
        "mtlsStatus": "established",
        "hostName": "localhost",
    });
    if let Some(names) = client {
        body["clientCertificate"] = json!({"subject": names.subject, "issuer": names.issuer});
    }
    edit(&mut body);
    let date = date(OffsetDateTime::now_utc() + skew);
    let headers = format!("Content-Type: application/json\r\nDate: {date}\r\n");
    whole("200 OK", &headers, &body.to_string())
}

fn whole(status: &str, headers: &str, body: &str) -> String {
    head(status, headers, body.len()) + body
}

fn head(status: &str, headers: &str, length: usize) -> String {
    format!(
        "HTTP/1.1 {status}\r\nServer: nginx\r\n{headers}Content-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    )
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn date(at: OffsetDateTime) -> String {
    let short = |name: String| name[..3].to_owned();
    format!(
        "{}, {:02} {} {} {:02}:{:02}:{:02} GMT",
        short(at.weekday().to_string()),
        at.day(),
        short(at.month().to_string()),
        at.year(),
        at.hour(),
        at.minute(),
        at.second()
    )
}
