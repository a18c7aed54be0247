//! What makes the connections: the product's client, rustls with an inline signer, and the plain client
//! that asks a proxy.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hsm_mtls::internal::certificate::anchors::Anchors;
use hsm_mtls::internal::client::Client;
use hsm_mtls::internal::client::connector::Connector;
use hsm_mtls::internal::config::Config;
use hsm_mtls::internal::identity::Identity;
use hsm_mtls::internal::key::scheme::KeyAlgorithm;
use hsm_mtls::internal::tls::{Tls, provider};
use hsm_mtls::internal::token::guard::Attendance;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, SignatureAlgorithm, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;

use crate::in_memory;
use crate::load::{counted, measure, shared};
use crate::raw::RawKey;
use crate::role::{Load, Measured, Way};

/// How a good answer begins.
const GOOD: &[u8] = b"HTTP/1.1 200";
/// Longer than any proxy here lets a request wait before it says that it failed.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// A connection, a handshake and a request, over and over.
pub async fn connect(path: &Path, way: Way, load: Load) -> Measured {
    let config = Config::load(path).expect("the parent's configuration");
    let own = [std::process::id()];
    let origin = config.hub.services[0].origin.clone();
    if way == Way::Raw {
        // Loads the module and logs in; what follows makes no use of it otherwise.
        let identity = Identity::open(&config, Attendance::Unattended).expect("the token");
        let client = Inline {
            tls: inline_tls(&config, &identity),
            to: (Ipv4Addr::LOCALHOST, origin.port).into(),
        };
        let once = |client: Arc<Inline>| async move { client.request().await };
        return measure(load, &own, shared(client, once)).await;
    }
    let identity = match way {
        Way::InMemory => in_memory::identity(&config, path.parent().expect("its folder")),
        _ => Identity::open(&config, Attendance::Unattended).expect("the token"),
    };
    let tls = Tls::new(&config, &identity).expect("TLS");
    let client = Client::new(&config, Connector::new(&config, &tls).expect("a connector"));
    let url: Url = format!("https://{}/", origin.authority())
        .parse()
        .expect("a URL");
    let once = |shared: Arc<(Client, Url)>| async move {
        let (client, url) = &*shared;
        let request = client.request(Method::GET, url, HeaderMap::new(), Bytes::new());
        let answer = request.await.map_err(|error| error.to_string())?;
        good(answer.status)
    };
    measure(load, &own, shared((client, url), once)).await
}

fn good(status: StatusCode) -> Result<(), String> {
    match status {
        StatusCode::OK => Ok(()),
        other => Err(other.to_string()),
    }
}

/// rustls and hyper, with a signature on whatever thread asks for it. No deadlines, no checks of its
/// own, no logs: the least that can be done.
struct Inline {
    tls: TlsConnector,
    to: SocketAddr,
}

impl Inline {
    async fn request(&self) -> Result<(), String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let tcp = TcpStream::connect(self.to).await.map_err(|e| text(&e))?;
        tcp.set_nodelay(true).map_err(|e| text(&e))?;
        let name = ServerName::from(self.to.ip());
        let stream = self.tls.connect(name, tcp).await.map_err(|e| text(&e))?;
        let (mut sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| text(&e))?;
        let driver = tokio::spawn(driver);
        let request = Request::get("/")
            .header("host", self.to.to_string())
            .body(Empty::<Bytes>::new())
            .map_err(|e| text(&e))?;
        let response = sender.send_request(request).await.map_err(|e| text(&e))?;
        let status = response.status();
        response.into_body().collect().await.map_err(|e| text(&e))?;
        driver.abort();
        good(status)
    }
}

fn inline_tls(config: &Config, identity: &Identity) -> TlsConnector {
    let rsa = matches!(
        identity.signer().public_key().algorithm(),
        KeyAlgorithm::Rsa { .. }
    );
    let key = RawKey::find(&config.token.module, "c3", rsa);
    let signing = InlineKey {
        key: Arc::new(key),
        scheme: match rsa {
            true => SignatureScheme::RSA_PSS_SHA256,
            false => SignatureScheme::ECDSA_NISTP256_SHA256,
        },
    };
    let der = |certificate: &hsm_mtls::internal::certificate::Certificate| {
        CertificateDer::from(certificate.der().to_vec())
    };
    let chain = identity.chain().certificates().map(der).collect();
    let mut roots = RootCertStore::empty();
    for root in Anchors::load(config).expect("anchors").roots() {
        roots.add(der(root)).expect("a root");
    }
    let mut client = ClientConfig::builder_with_provider(provider(&config.tls))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(
            chain,
            Arc::new(signing),
        ))));
    client.resumption = Resumption::disabled();
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(client))
}

#[derive(Clone)]
struct InlineKey {
    key: Arc<RawKey>,
    scheme: SignatureScheme,
}

impl std::fmt::Debug for InlineKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InlineKey")
    }
}

impl SigningKey for InlineKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let offered = offered.contains(&self.scheme);
        offered.then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.scheme {
            SignatureScheme::RSA_PSS_SHA256 => SignatureAlgorithm::RSA,
            _ => SignatureAlgorithm::ECDSA,
        }
    }
}

impl Signer for InlineKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(self.key.sign(message))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

/// Plain requests to a proxy on this machine. The CPU is the proxy's.
pub async fn through_proxy(
    port: u16,
    path: &str,
    keep_alive: bool,
    processes: &[u32],
    load: Load,
) -> Measured {
    measure(load, processes, asking(port, path, keep_alive)).await
}

/// So many of them, over connections that are kept.
pub async fn so_many(port: u16, path: &str, connections: usize, requests: usize) -> Measured {
    counted(connections, requests, asking(port, path, true)).await
}

/// What makes an asker with a connection of its own.
pub fn asking(port: u16, path: &str, keep_alive: bool) -> impl Fn() -> Asker {
    let lasting = if keep_alive { "keep-alive" } else { "close" };
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {lasting}\r\n\r\n");
    let request: Arc<str> = request.into();
    move || {
        let kept = Arc::new(tokio::sync::Mutex::new(None));
        let request = Arc::clone(&request);
        Box::new(move || {
            let (kept, request) = (Arc::clone(&kept), Arc::clone(&request));
            Box::pin(async move {
                let mut kept = kept.lock().await;
                let stream = kept.take();
                let answered = timeout(ANSWERS_WITHIN, plain(stream, port, &request)).await;
                let stream = answered.map_err(|_| "no answer in time".to_owned())?;
                let stream = stream.map_err(|error| error.to_string())?;
                *kept = keep_alive.then_some(stream);
                Ok(())
            })
        })
    }
}

pub type Asked = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
pub type Asker = Box<dyn FnMut() -> Asked + Send>;

fn may_be_good(answer: &[u8]) -> bool {
    let length = answer.len().min(GOOD.len());
    answer[..length] == GOOD[..length]
}

/// One request; hands the connection back.
async fn plain(kept: Option<TcpStream>, port: u16, request: &str) -> std::io::Result<TcpStream> {
    let mut stream = match kept {
        Some(stream) => stream,
        None => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?,
    };
    stream.set_nodelay(true)?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // The server's whole answer ends with its body, which is known. Any other one is an error, and its end is not waited for:
    // the connection may be kept after it.
    while !answer.ends_with(crate::servers::BODY) && may_be_good(&answer) {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    let whole = answer.starts_with(GOOD) && answer.ends_with(crate::servers::BODY);
    if !whole {
        let said = String::from_utf8_lossy(&answer).into_owned();
        return Err(std::io::Error::other(format!("not the answer: {said}")));
    }
    Ok(stream)
}
