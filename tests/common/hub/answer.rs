//! What the hub answers: the few endpoints that a client's behaviour can be seen at.

use bytes::Bytes;
use der::Decode as _;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::SeenRequest;

/// Where `GET /auth` sends the customer's browser. Its escapes are there to be handed on untouched.
pub const AFTER_AUTH: &str = "https://authorize.bank.example/consent?interactionId=3f1c9d2e-5a64-4b7e-9f8d-0c2b7a6e1d35&next=https%3A%2F%2Ftpp.example%2Fcb&note=a%20b";
/// Where `doConfirm` sends it.
pub const AFTER_CONFIRM: &str = "https://tpp.example/callback?code=Sp%2BxlO&state=af0ifjsldkj";
/// Where `doFail` sends it.
pub const AFTER_FAIL: &str = "https://tpp.example/callback?error=access_denied&state=af0ifjsldkj";

const INTERACTION: &str = "x-fapi-interaction-id";

/// The names in the certificate that the client presented, as RFC 4514 strings.
#[derive(Clone, Debug)]
pub struct ClientNames {
    pub subject: String,
    pub issuer: String,
}

impl ClientNames {
    pub fn of(der: &[u8]) -> Self {
        let certificate = x509_cert::Certificate::from_der(der).expect("a verified certificate");
        let tbs = certificate.tbs_certificate();
        Self {
            subject: tbs.subject().to_string(),
            issuer: tbs.issuer().to_string(),
        }
    }
}

pub fn to(
    request: &SeenRequest,
    host_name: &str,
    client: Option<&ClientNames>,
) -> Response<Full<Bytes>> {
    let path = request.path_and_query.split('?').next().unwrap_or_default();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let mut response = match (&request.method, segments.as_slice()) {
        (&Method::GET, ["hello-mtls"]) => json_answer(StatusCode::OK, &hello(host_name, client)),
        (&Method::GET, ["consents", id]) => json_answer(
            StatusCode::OK,
            &json!({"id": id, "status": "AwaitingAuthorization"}),
        ),
        (&Method::PATCH, ["consents", _]) => of_json(StatusCode::OK, request.body.clone()),
        (&Method::GET, ["auth"]) => redirect(AFTER_AUTH),
        (&Method::POST, ["auth", _, "doConfirm"]) => redirect(AFTER_CONFIRM),
        (&Method::POST, ["auth", _, "doFail"]) => redirect(AFTER_FAIL),
        (method, _) => json_answer(
            StatusCode::NOT_FOUND,
            &json!({"errorCode": "NotFound", "errorMessage": format!("{method} {path}")}),
        ),
    };
    if let Some(id) = request.headers.get(INTERACTION) {
        response.headers_mut().insert(INTERACTION, id.clone());
    }
    response
}

/// Status and length of an answer that is given before the request was read.
pub type Early = Option<(StatusCode, usize)>;

pub async fn body_read(early: Early, body: Incoming) -> hyper::Result<Bytes> {
    match early {
        None => Ok(body.collect().await?.to_bytes()),
        Some(_) => Ok(Bytes::new()),
    }
}

pub fn early(early: Early) -> Option<Response<Full<Bytes>>> {
    let (status, length) = early?;
    let body = json!({"errorCode": "Early", "errorMessage": "e".repeat(length)});
    let mut response = json_answer(status, &body);
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    Some(response)
}

fn hello(host_name: &str, client: Option<&ClientNames>) -> Value {
    let mut hello = json!({
        "connectionEstablished": client.is_some(),
        "mtlsStatus": if client.is_some() { "established" } else { "not-established" },
        "hostName": host_name,
    });
    if let Some(names) = client {
        hello["clientCertificate"] = json!({"subject": names.subject, "issuer": names.issuer});
    }
    hello
}

fn json_answer(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    of_json(status, Bytes::from(body.to_string()))
}

fn of_json(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .expect("a response")
}

fn redirect(location: &str) -> Response<Full<Bytes>> {
    Response::builder()
        .status(StatusCode::SEE_OTHER)
        .header(LOCATION, location)
        .body(Full::default())
        .expect("a redirect")
}
