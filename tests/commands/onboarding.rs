//! An engineer takes an empty token, makes the C3 key in it, has it certified, and shows mutual TLS
//! to both services of the hub.

use crate::common::bank::{Bank, CLIENT_ID, ORGANIZATION_ID};
use crate::common::hub::{Hub, HubOptions};
use crate::common::misbehaving::hello::Hello;
use crate::common::misbehaving::{Behaviour, MisbehavingHub};
use serde_json::Value;

fn hub_of(bank: &Bank) -> Hub {
    Hub::start_in_thread(HubOptions::of(&bank.framework, &["localhost", "127.0.0.1"]))
}

#[test]
fn both_services_are_established_with_each_kind_of_key() {
    for key_type in ["rsa-2048", "rsa-3072", "p-256", "p-384", "p-521", "ed25519"] {
        let mut bank = Bank::new();
        let hub = hub_of(&bank);
        bank.hub_at(hub.port());
        bank.certify(key_type);
        let report = bank.run(&["verify", "--json"]).expect(0).json();
        assert_eq!(report["established"], true, "{key_type}: {report:#}");
        for service in report["services"].as_array().unwrap() {
            let steps = service["steps"].as_array().unwrap();
            assert!(
                steps.iter().all(|step| step["outcome"] == "good"),
                "{key_type}: {steps:#?}"
            );
        }
        let seen = hub.seen();
        assert_eq!(seen.len(), 2);
        let subject = seen[0].client_subject.as_deref().unwrap();
        assert!(
            subject.contains(CLIENT_ID) && subject.contains(ORGANIZATION_ID),
            "{subject}"
        );
        assert_eq!(seen[0].client_subject, seen[1].client_subject);
    }
}

#[test]
fn the_leaf_alone_is_completed_with_the_issuing_ca() {
    let mut bank = Bank::new();
    bank.run(&["key", "generate"]).expect(0);
    let leaf = bank.write("leaf.pem", &bank.issue());
    bank.run(&["cert", "install", leaf.to_str().unwrap()])
        .expect(0);
    // A server that trusts the root alone sees whether the Issuing CA came along.
    let root = pem(bank.framework.root_der());
    let options = HubOptions::new(
        bank.framework.issue_server(&["localhost", "127.0.0.1"]),
        root,
    );
    let hub = Hub::start_in_thread(options);
    bank.hub_at(hub.port());
    bank.run(&["verify"]).expect(0);
    assert_eq!(hub.connections()[0].client_intermediates.len(), 1);
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

#[test]
fn a_certificate_kept_in_the_token_serves_as_well() {
    let mut bank = Bank::new();
    let hub = hub_of(&bank);
    bank.hub_at(hub.port());
    bank.configure(|settings| settings.certificate = "pkcs11:object=c3;type=cert".to_owned());
    bank.certify("rsa-2048");
    bank.run(&["verify"]).expect(0);
    let shown = bank.run(&["cert", "show", "--json"]).expect(0).json();
    assert_eq!(
        shown["certificate"]["days_left"]
            .as_i64()
            .map(|days| days > 300),
        Some(true)
    );
}

#[test]
fn a_redirect_of_the_hub_is_handed_back_and_not_followed() {
    let mut bank = Bank::new();
    let hub = hub_of(&bank);
    bank.hub_at(hub.port());
    bank.certify("rsa-2048");
    let auth = "hh:/auth?client_id=a%20b&state=%7Bx%7D&empty=&x=1&x=2";
    let answer = bank
        .run(&["request", "GET", auth, "--json"])
        .expect(0)
        .json();
    assert_eq!(answer["status"], 303);
    assert_eq!(
        header(&answer, "location"),
        Some(crate::common::hub::answer::AFTER_AUTH)
    );
    let seen = hub.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].path_and_query, auth.strip_prefix("hh:").unwrap());
}

fn header<'a>(answer: &'a Value, name: &str) -> Option<&'a str> {
    let headers = answer["headers"].as_array()?;
    headers
        .iter()
        .find(|header| header[0] == name)
        .and_then(|header| header[1].as_str())
}

#[test]
fn each_request_has_a_fresh_interaction_id_unless_a_good_one_is_given() {
    let mut bank = Bank::new();
    let hub = hub_of(&bank);
    bank.hub_at(hub.port());
    bank.certify("p-256");
    let id = |answer: &Value| answer["interaction_id"].as_str().unwrap().to_owned();
    let get =
        |more: &[&str]| bank.run(&[&["request", "GET", "cm:/consents/1", "--json"], more].concat());
    let (first, second) = (get(&[]).expect(0).json(), get(&[]).expect(0).json());
    assert_ne!(id(&first), id(&second));
    assert_eq!(
        uuid::Uuid::parse_str(&id(&first))
            .unwrap()
            .get_version_num(),
        4
    );
    let given = "4d3b1f0e-2c7a-4f5e-8a9b-0c1d2e3f4a5b";
    let with = |value: &str| get(&["-H", &format!("x-fapi-interaction-id: {value}")]);
    assert_eq!(id(&with(given).expect(0).json()), given);
    // A value that is not of version 4 would be dropped by the hub without a word.
    with("4d3b1f0e-2c7a-1f5e-8a9b-0c1d2e3f4a5b").expect(2);
    let sent: Vec<_> = hub
        .seen()
        .iter()
        .map(|request| request.headers["x-fapi-interaction-id"].clone())
        .collect();
    assert_eq!(sent, [id(&first), id(&second), given.to_owned()]);
}

#[test]
fn a_body_is_sent_as_given() {
    let mut bank = Bank::new();
    let hub = hub_of(&bank);
    bank.hub_at(hub.port());
    bank.certify("p-256");
    let data = r#"{"status":"Authorized"}"#;
    // A scheme has no case.
    bank.run(&["request", "PATCH", "CM:/consents/1", "-d", data])
        .expect(0);
    let form = bank.write("form", "a=1&b=2");
    let form = format!("@{}", form.display());
    bank.run(&["request", "POST", "hh:/auth/7/doConfirm", "-d", &form])
        .expect(0);
    let seen = hub.seen();
    assert_eq!(seen[0].body, data);
    assert_eq!(seen[0].headers["content-type"], "application/json");
    assert_eq!(seen[1].body, "a=1&b=2");
    assert_eq!(
        seen[1].headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    // What says where the body ends, and whom it is for, is not the caller's.
    for header in [
        "Content-Length: 1",
        "content-length: 50",
        "Transfer-Encoding: chunked",
        "Connection: keep-alive",
        "Host: elsewhere.example",
    ] {
        let refused = bank.run(&[
            "request",
            "PATCH",
            "cm:/consents/1",
            "-d",
            data,
            "-H",
            header,
        ]);
        let said = &refused.expect(2).stderr;
        assert!(said.contains("is set by this client"), "{header}: {said}");
    }
    assert_eq!(hub.seen().len(), 2);
    assert_eq!(hub.connections().len(), 2);
    assert_eq!(bank.run(&["request", "GET", "cm:/nowhere"]).code, 1);
}

#[test]
fn a_request_whose_answer_cannot_be_kept_is_not_sent() {
    let mut bank = Bank::new();
    let hub = hub_of(&bank);
    bank.hub_at(hub.port());
    bank.certify("p-256");
    let pay = [
        "request",
        "POST",
        "cm:/consents/1/action/revoke",
        "-d",
        "{}",
    ];
    bank.run(&[&pay[..], &["-o", "/nowhere/x"]].concat())
        .expect(2);
    bank.run(&[&pay[..], &["-o", "x", "--json"]].concat())
        .expect(2);
    assert!(hub.connections().is_empty());

    let kept = bank.path("answer");
    bank.run(&[
        "request",
        "get",
        "cm:/consents/1",
        "-o",
        kept.to_str().unwrap(),
    ])
    .expect(0);
    assert!(
        std::fs::read_to_string(kept)
            .unwrap()
            .contains("\"id\":\"1\"")
    );
    assert_eq!(hub.seen()[0].method, "GET");
    let refused = bank.run(&["request", "GET", "cm:/nowhere"]).expect(1);
    assert!(
        refused
            .stderr
            .contains("the hub answered 404 Not Found (x-fapi-interaction-id "),
        "{refused:?}"
    );
}

#[test]
fn a_failure_is_json_where_json_was_asked_for() {
    let bank = Bank::new();
    let run = bank
        .run(&["--json", "request", "GET", "https://elsewhere.example/"])
        .expect(2);
    let told: Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!(told["exit"], 2);
    assert!(!told["hint"].as_str().unwrap().is_empty(), "{told}");
}

/// `verify` looks for a hello that gets through. A request is not repeated with another one: the
/// operator's choice of groups is sent, or nothing.
#[test]
fn a_request_is_not_repeated_with_a_smaller_hello() {
    let mut bank = Bank::new();
    bank.certify("p-256");
    let closes = Behaviour::Hello(Hello::ClosesOnLarge);
    let hub = MisbehavingHub::start(&bank.framework, &rustls::version::TLS13, closes);
    bank.hub_at(hub.port());
    bank.run(&["request", "GET", "cm:/hello-mtls"]).expect(5);
    bank.configure(|settings| settings.hub_lines = "[tls]\ngroups = [\"x25519\"]".to_owned());
    bank.run(&["request", "GET", "cm:/hello-mtls"]).expect(0);
}
