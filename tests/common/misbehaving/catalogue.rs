//! Every misbehaviour in the words of someone who watches the hub, in the order in which a
//! connection comes to it.

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use super::Behaviour;
use super::answer::Answer;
use super::certificate::{Issuers, ServerCertificate};
use super::hello::Hello;

/// One misbehaviour.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What the hub does.
    pub does: &'static str,
    pub behaviour: Behaviour,
}

impl Entry {
    /// The versions that it can be met with, by the names that a reader knows. What happens
    /// before the ServerHello is the same in each.
    pub fn versions(&self) -> Vec<(&'static str, &'static SupportedProtocolVersion)> {
        match self.behaviour {
            Behaviour::Hello(_) => vec![("any", &TLS13)],
            // TLS 1.2 has no such alert.
            Behaviour::Alert(116) => vec![("1.3", &TLS13)],
            _ => vec![("1.2", &TLS12), ("1.3", &TLS13)],
        }
    }
}

pub fn all() -> Vec<Entry> {
    [at_hello(), of_certificates(), of_alerts(), of_answers()].concat()
}

fn entries<T: Copy>(list: &[(&'static str, T)], of: fn(T) -> Behaviour) -> Vec<Entry> {
    list.iter()
        .map(|&(does, what)| Entry {
            does,
            behaviour: of(what),
        })
        .collect()
}

fn at_hello() -> Vec<Entry> {
    let list = [
        ("closes the connection at our ClientHello", Hello::Closes),
        ("resets the connection at our ClientHello", Hello::Resets),
        ("never answers our ClientHello", Hello::Swallows),
        (
            "does not answer a ClientHello of more than 1000 bytes",
            Hello::SwallowsLarge,
        ),
        (
            "closes the connection at a ClientHello of more than 1000 bytes",
            Hello::ClosesOnLarge,
        ),
        (
            "resets the connection at a ClientHello of more than 1000 bytes",
            Hello::ResetsOnLarge,
        ),
        ("answers our ClientHello in plain HTTP", Hello::PlainHttp),
        (
            "answers our ClientHello with handshake_failure",
            Hello::Alert(40),
        ),
        (
            "answers our ClientHello with protocol_version",
            Hello::Alert(70),
        ),
        (
            "answers our ClientHello with unrecognized_name",
            Hello::Alert(112),
        ),
        ("speaks TLS 1.1 only", Hello::OldVersion),
    ];
    entries(&list, Behaviour::Hello)
}

fn of_certificates() -> Vec<Entry> {
    let servers = [
        (
            "has a certificate of a CA that is only called as ours",
            ServerCertificate::NamesakeCa,
        ),
        (
            "has a certificate of the other environment's Trust Framework",
            ServerCertificate::Production,
        ),
        (
            "is behind a proxy that inspects TLS with a CA of its own",
            ServerCertificate::Inspection,
        ),
        (
            "has a certificate for another name",
            ServerCertificate::AnotherName,
        ),
        (
            "has a certificate that has expired",
            ServerCertificate::Expired,
        ),
        (
            "has a certificate that is not valid yet",
            ServerCertificate::NotYetValid,
        ),
        (
            "has a certificate that is for clients only",
            ServerCertificate::NotForServers,
        ),
        (
            "shows the hub's certificate and does not have its key",
            ServerCertificate::Copied,
        ),
    ];
    let clients = [
        (
            "accepts certificates of the other environment only (unknown_ca)",
            Issuers::Production,
        ),
        (
            "accepts certificates of an unrelated CA only (unknown_ca)",
            Issuers::Unrelated,
        ),
    ];
    let mut found = entries(&servers, Behaviour::Certificate);
    found.push(Entry {
        does: "does not ask for our certificate",
        behaviour: Behaviour::NeverAsks,
    });
    found.extend(entries(&clients, Behaviour::Issuers));
    found
}

fn of_alerts() -> Vec<Entry> {
    let list = [
        ("refuses our certificate: handshake_failure", 40),
        ("refuses our certificate: bad_certificate", 42),
        ("refuses our certificate: certificate_revoked", 44),
        ("refuses our certificate: certificate_expired", 45),
        ("refuses our certificate: certificate_unknown", 46),
        ("refuses our certificate: unknown_ca", 48),
        ("refuses our certificate: access_denied", 49),
        ("got no certificate: certificate_required", 116),
    ];
    let mut found = entries(&list, Behaviour::Alert);
    found.push(Entry {
        does: "closes the connection at our certificate, without an alert",
        behaviour: Behaviour::ClosesAfterCertificate,
    });
    found
}

fn of_answers() -> Vec<Entry> {
    let list = [
        (
            "answers 400 \"The SSL certificate error\", as nginx does",
            Answer::NginxRefuses,
        ),
        (
            "answers 400 \"No required SSL certificate was sent\", as nginx does",
            Answer::NginxSawNone,
        ),
        ("answers 401", Answer::Unauthorized),
        ("answers 403", Answer::Forbidden),
        ("answers 404", Answer::NotFound),
        ("answers 302 to a login page", Answer::LoginPage),
        ("answers 500", Answer::Broken),
        ("answers 503", Answer::Unavailable),
        ("answers 200 with a web page", Answer::Html),
        ("answers what is not HTTP", Answer::Garbage),
        (
            "closes the connection without an answer, without the end of TLS",
            Answer::CutUnanswered,
        ),
        ("ends TLS without an answer", Answer::EndsUnanswered),
        ("never answers the request", Answer::Silence),
        ("ends TLS in the middle of its answer", Answer::HalfAndEnd),
        (
            "closes the connection in the middle of its answer",
            Answer::HalfAndCut,
        ),
        ("says `mtlsStatus: not-established`", Answer::NotEstablished),
        ("says `connectionEstablished: false`", Answer::NotConnected),
        (
            "saw a certificate of another subject",
            Answer::AnotherSubject,
        ),
        ("saw a certificate of another issuer", Answer::AnotherIssuer),
        (
            "does not say which certificate it saw",
            Answer::NoCertificate,
        ),
        ("has a clock that is 5 minutes ahead", Answer::ClockAhead),
        ("has a clock that is 5 minutes behind", Answer::ClockBehind),
    ];
    entries(&list, Behaviour::Answer)
}
