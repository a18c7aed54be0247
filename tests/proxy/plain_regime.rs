//! `regime = "plain"`: two services of names that no scheme knows, behind two nginx, with a subject of the user's own. What a
//! scheme has is refused there, and said.

use crate::common::bank::Bank;
use crate::common::nginx::{Nginx, NginxOptions};
use crate::common::proxy::{Proxy, body, exchange};
use crate::common::sig4;
use serde_json::{Value, json};

const SUBJECT: &str = r#"rdns = ["C=DE", "O=Example, Müller & Co. \"AG\"", "2.5.4.97=PSDDE-BAFIN-1", "CN=payments-client"]"#;

struct Scene {
    bank: Bank,
    payments: Nginx,
    accounts: Nginx,
}

fn scene() -> Scene {
    let mut bank = Bank::new();
    let service = |name: &str| Nginx::start(&NginxOptions::of(&bank.framework, &[name]));
    let (payments, accounts) = (service("localhost"), service("127.0.0.1"));
    let services = services(&payments, &accounts, "");
    bank.configure(|settings| {
        settings.regime = "plain";
        settings.environment = "test";
        settings.subject = SUBJECT.to_owned();
        settings.hub_lines = services;
    });
    bank.certify("rsa-2048");
    Scene {
        bank,
        payments,
        accounts,
    }
}

fn services(payments: &Nginx, accounts: &Nginx, of_accounts: &str) -> String {
    format!(
        r#"connect_timeout = "9s"
[hub.services.payments]
url = "https://localhost:{}"
title = "Payments"
verify = {{ path = "/hello-mtls", contains = "established" }}
[hub.services.accounts]
url = "https://127.0.0.1:{}"
{of_accounts}
"#,
        payments.port(),
        accounts.port()
    )
}

fn step<'a>(report: &'a Value, service: &str, name: &str) -> &'a Value {
    let services = report["services"].as_array().unwrap();
    let of = services
        .iter()
        .find(|one| one["service"] == service)
        .unwrap();
    let mut steps = of["steps"].as_array().unwrap().iter();
    steps.find(|step| step["name"] == name).unwrap()
}

#[test]
fn each_service_is_verified_as_the_configuration_expects() {
    let Scene {
        mut bank,
        payments,
        accounts,
    } = scene();
    let subject =
        "C=DE, O=Example\\, Müller & Co. \\\"AG\\\", 2.5.4.97=PSDDE-BAFIN-1, CN=payments-client";
    let shown = bank.run(&["--json", "cert", "show"]).expect(0).json();
    let shown = shown["certificate"]["subject"].as_str().unwrap().to_owned();
    assert!(
        shown.contains("payments-client"),
        "{shown} is not {subject}"
    );
    let checked = bank.run(&["--json", "config", "check"]).expect(0).json();
    let checked = &checked["configurations"][0];
    assert_eq!(checked["regime"], "plain");
    assert_eq!(checked["lfi_code"], Value::Null);
    assert_eq!(
        checked["services"],
        json!({
            "accounts": format!("https://127.0.0.1:{}", accounts.port()),
            "payments": format!("https://localhost:{}", payments.port()),
        })
    );

    for (of_accounts, code, name, outcome) in [
        // nginx has nothing at /.
        ("", 5, "GET /", "bad"),
        ("verify = { status = 404 }", 0, "GET /", "good"),
        (
            "verify = { path = '/hello-mtls', status = 204 }",
            5,
            "GET /hello-mtls",
            "bad",
        ),
        (
            "verify = { path = '/hello-mtls', contains = '127.0.0.1' }",
            0,
            "answer",
            "good",
        ),
        (
            "verify = { path = '/hello-mtls', contains = 'elsewhere' }",
            1,
            "answer",
            "bad",
        ),
    ] {
        let lines = services(&payments, &accounts, of_accounts);
        bank.configure(|settings| settings.hub_lines = lines);
        let report = bank.run(&["--json", "verify"]).expect(code).json();
        assert_eq!(
            step(&report, "accounts", name)["outcome"],
            outcome,
            "{of_accounts}"
        );
        assert_eq!(step(&report, "payments", "answer")["outcome"], "good");
        assert_eq!(
            step(&report, "payments", "presented certificate")["outcome"],
            "note"
        );
        assert_eq!(report["regime"], "plain");
    }
    let seen = payments.accesses();
    assert!(
        seen.iter().all(|access| access.verify == "SUCCESS"),
        "{seen:?}"
    );
    let said = bank.run(&["verify"]).stdout;
    assert!(
        said.contains("Payments") && !said.contains("Consent"),
        "{said}"
    );
}

#[test]
fn requests_go_to_services_by_their_names() {
    let Scene {
        mut bank,
        payments,
        accounts,
    } = scene();
    let age = std::time::Duration::ZERO;
    payments.serve_file("which", "payments", age);
    accounts.serve_file("which", "accounts", age);
    let which = |name: &str| {
        let url = format!("{name}:/files/which");
        bank.run(&["request", "GET", &url])
    };
    assert_eq!(which("payments").expect(0).stdout, "payments");
    assert_eq!(which("Accounts").expect(0).stdout, "accounts");
    let refused = which("cm").expect(2);
    assert!(
        refused.stderr.contains("accounts:/path or payments:/path"),
        "{refused:?}"
    );

    let listener = "[[proxy.listener]]\nunix = 'one.sock'\nupstream = 'accounts'\n";
    let ports = Proxy::configure(&mut bank, "", listener);
    let proxy = Proxy::start(&bank, ports);
    for name in ["payments", "accounts"] {
        let (status, answer) = proxy.get(&format!("/{name}/files/which"));
        assert_eq!(status, 200, "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{name}")), "{answer}");
    }
    let (status, answer) = proxy.get("/cm/files/which");
    assert_eq!(status, 404);
    let problem = body(&answer);
    assert_eq!(
        problem["detail"],
        "the path begins with neither /accounts/ nor /payments/"
    );
    let asked = b"GET /files/which HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = exchange(&bank.path("one.sock"), asked);
    assert!(
        String::from_utf8_lossy(&answer).ends_with("accounts"),
        "{answer:?}"
    );
    assert_eq!(
        proxy.metric(
            "hsm_mtls_proxy_requests_total",
            &[("upstream", "payments"), ("status", "2xx")]
        ),
        1.0
    );
    let upstreams = proxy.ready()["upstreams"].clone();
    let names: Vec<_> = upstreams
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(names, ["accounts", "payments"]);
    let logged = proxy.accesses(4);
    assert!(
        logged.iter().any(|line| line["upstream"] == "payments"),
        "{logged:?}"
    );
}

#[test]
fn a_token_names_the_client_and_no_scheme_finds_its_keys() {
    let Scene { mut bank, .. } = scene();
    sig4::certify(&mut bank, "rsa-2048");
    let section = sig4::section("");
    bank.configure(|settings| settings.sections = section);
    let token = bank.run(&["jwt", "mint"]).expect(0).stdout;
    let file = bank.write("token", &token);
    let shown = bank
        .run(&["--json", "jwt", "show", file.to_str().unwrap()])
        .expect(0)
        .json();
    let claims = &shown["claims"];
    assert_eq!(
        (&claims["iss"], &claims["sub"]),
        (&json!("payments-client"), &json!("payments-client"))
    );
    let unknown = bank.run(&["jwks", "check"]).expect(2);
    assert!(
        unknown.stderr.contains("write the URL in `jwks` of [sig4]"),
        "{unknown:?}"
    );
    let unknown = bank.run(&["trust", "update", "--anchors"]).expect(2);
    assert!(
        unknown.stdout.contains("documents no place")
            || unknown.stderr.contains("documents no place"),
        "{unknown:?}"
    );
}

#[test]
fn the_audit_judges_no_rule_of_a_scheme() {
    let Scene { bank, .. } = scene();
    let report = bank.run(&["--json", "audit", "--profile", "development"]);
    let report = report.json();
    let text = report.to_string();
    let judgements = find_all(&report);
    for id in ["key.type", "certificate.lifetime", "certificate.subject"] {
        let verdict = judgements.iter().find(|(rule, _)| rule == id);
        assert_eq!(
            verdict.map(|(_, verdict)| verdict.as_str()),
            Some("not-answerable"),
            "{id} in {text}"
        );
    }
}

/// Each rule with its verdict, wherever it stands in the report.
fn find_all(report: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    match report {
        Value::Object(map) => {
            if let (Some(Value::String(rule)), Some(Value::String(verdict))) =
                (map.get("rule"), map.get("verdict"))
            {
                found.push((rule.clone(), verdict.clone()));
            }
            found.extend(map.values().flat_map(find_all));
        }
        Value::Array(all) => found.extend(all.iter().flat_map(find_all)),
        _ => {}
    }
    found
}
