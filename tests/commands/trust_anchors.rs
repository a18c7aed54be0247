//! `trust update` of CAs: a new generation is added beside the old one when its fingerprint is pinned, given or confirmed by a
//! person, and never on first sight.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::terminal::at_terminal_with;
use crate::common::bank::{Bank, Run};
use crate::common::raw_hub::{RawHub, Then};
use crate::common::trust_framework::{Kind, TrustFramework};

/// A bank with the CAs of the first generation, and a server of which the machine's public roots are.
struct Scene {
    bank: Bank,
    server: RawHub,
    roots: PathBuf,
    next: TrustFramework,
}

impl Scene {
    fn new() -> Self {
        let mut bank = Bank::new();
        let server = RawHub::start_public(&bank.framework);
        let roots = bank.write("roots.pem", &bank.framework.bundle_pem());
        let next = TrustFramework::of_generation(Kind::Sandbox, 2);
        configure(&mut bank, server.port(), "");
        Self {
            bank,
            server,
            roots,
            next,
        }
    }

    fn publish(&self, pem: &str) {
        let length = pem.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{pem}");
        self.server.answers(answer, Then::End);
    }

    fn update(&self, options: &[&str]) -> Run {
        let arguments = [&["trust", "update", "--anchors", "--json"], options].concat();
        self.bank
            .run_with(&arguments, &[("SSL_CERT_FILE", &self.roots)])
    }

    fn held(&self) -> Vec<String> {
        let shown = self.bank.run(&["trust", "show", "--json"]).expect(0).json();
        let held = shown["anchors"]["certificates"].as_array().unwrap().iter();
        held.map(|one| one["fingerprint"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn configure(bank: &mut Bank, port: u16, lines: &str) {
    bank.configure(|settings| {
        settings.trust_lines =
            format!("anchor_urls = [\"https://localhost:{port}/bundle.pem\"]\n{lines}");
    });
}

fn fingerprint(der: &[u8]) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    let digits: String = hash
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{digits}")
}

fn step(run: &Run) -> Value {
    run.json()["steps"][0].clone()
}

#[test]
fn a_new_generation_is_added_beside_the_old_one_when_its_fingerprints_are_given() {
    let scene = Scene::new();
    let (bank, next) = (&scene.bank, &scene.next);
    let before = fs::read_to_string(bank.path("anchors.pem")).unwrap();
    let old = scene.held();
    scene.publish(&bank.framework.bundle_pem());
    let run = scene.update(&[]).expect(0);
    assert!(
        step(&run)["detail"]
            .as_str()
            .unwrap()
            .starts_with("nothing new"),
        "{run:?}"
    );

    scene.publish(&next.bundle_pem());
    let run = scene.update(&[]).expect(2);
    let (issuing, root) = (
        fingerprint(next.issuing_der()),
        fingerprint(next.root_der()),
    );
    let hint = step(&run)["hint"].as_str().unwrap().to_owned();
    assert!(
        hint.contains(&format!("--accept {issuing} --accept {root}")),
        "{hint}"
    );
    assert_eq!(
        fs::read_to_string(bank.path("anchors.pem")).unwrap(),
        before
    );
    // One of two is not both.
    scene.update(&["--accept", &root]).expect(2);
    assert_eq!(
        fs::read_to_string(bank.path("anchors.pem")).unwrap(),
        before
    );

    let run = scene
        .update(&["--accept", &root, "--accept", &issuing])
        .expect(0);
    assert_eq!(
        run.json()["changed"][0],
        bank.path("anchors.pem").to_str().unwrap()
    );
    let held = scene.held();
    assert_eq!(held.len(), 4);
    for one in old.iter().chain([&issuing, &root]) {
        assert!(held.contains(one), "{one}: {held:?}");
    }
    assert!(
        fs::read_to_string(bank.path("anchors.pem"))
            .unwrap()
            .starts_with(&before)
    );
    let kept = fs::read_dir(bank.folder())
        .unwrap()
        .map(|file| file.unwrap().path());
    let kept: Vec<_> = kept
        .filter(|path| path.to_str().unwrap().contains("anchors.pem.replaced-"))
        .collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    // What is published no longer is not taken away.
    scene.update(&[]).expect(0);
    assert_eq!(scene.held().len(), 4);
}

#[test]
fn a_bank_without_a_bundle_gets_one_and_nothing_on_first_sight() {
    let scene = Scene::new();
    fs::remove_file(scene.bank.path("anchors.pem")).unwrap();
    let run = scene.bank.run(&["trust", "show"]).expect(2);
    assert!(run.stderr.contains("hsm-mtls trust update"), "{run:?}");
    let framework = &scene.bank.framework;
    scene.publish(&framework.bundle_pem());
    scene.update(&[]).expect(2);
    assert!(!scene.bank.path("anchors.pem").exists());
    let (issuing, root) = (
        fingerprint(framework.issuing_der()),
        fingerprint(framework.root_der()),
    );
    scene
        .update(&["--accept", &root, "--accept", &issuing])
        .expect(0);
    assert_eq!(scene.held(), [issuing, root]);
}

#[test]
fn a_pin_answers_for_a_root_and_what_it_has_issued() {
    let mut scene = Scene::new();
    let port = scene.server.port();
    let (old, new) = (
        fingerprint(scene.bank.framework.root_der()),
        fingerprint(scene.next.root_der()),
    );
    configure(&mut scene.bank, port, &format!("pins = [\"{old}\"]"));
    scene.publish(&scene.next.bundle_pem());
    // With pins, `--accept` is no way around them: the proxy would not start.
    let issuing = fingerprint(scene.next.issuing_der());
    let run = scene
        .update(&["--accept", &new, "--accept", &issuing])
        .expect(2);
    assert!(
        step(&run)["detail"]
            .as_str()
            .unwrap()
            .contains("is not among the pins"),
        "{run:?}"
    );
    assert_eq!(scene.held().len(), 2);
    configure(
        &mut scene.bank,
        port,
        &format!("pins = [\"{old}\", \"{new}\"]"),
    );
    scene.update(&[]).expect(0);
    assert_eq!(scene.held().len(), 4);
}

#[test]
fn a_person_at_the_terminal_compares_and_says_yes() {
    let scene = Scene::new();
    let root = scene
        .next
        .bundle_pem()
        .split_inclusive("-----END CERTIFICATE-----\n")
        .nth(1)
        .unwrap()
        .to_owned();
    scene.publish(&root);
    let environment = [("SSL_CERT_FILE", scene.roots.clone())];
    let shown = fingerprint(scene.next.root_der());
    for (typed, code, held) in [("no", 2, 2), ("yes", 0, 3)] {
        let (ended, screen) =
            at_terminal_with(&scene.bank, "trust update --anchors", typed, &environment);
        assert_eq!(ended, code, "{screen}");
        let flat: String = screen.split_whitespace().collect();
        assert!(flat.contains(&shown), "{screen}");
        assert!(screen.contains("Root CA - G2"), "{screen}");
        assert_eq!(scene.held().len(), held, "{typed}");
    }
}

#[test]
fn what_is_no_ca_of_this_environment_is_never_asked_about() {
    let scene = Scene::new();
    let other = TrustFramework::new(Kind::Production);
    let later = TrustFramework::of_generation(Kind::Production, 3);
    let (issuing, root) = (scene.next.issuing_pem(), scene.next.bundle_pem());
    let forged = TrustFramework::of_generation(Kind::Sandbox, 2);
    let leaf = scene.bank.framework.issue_server(&["localhost"]).chain_pem;
    for (published, words) in [
        (other.bundle_pem(), "is not of the preprod environment"),
        (later.bundle_pem(), "is not of the preprod environment"),
        (issuing, "neither in `anchors` nor among what was fetched"),
        (
            forged.issuing_pem() + &root[root.find("-----END").unwrap() + 26..],
            "its signature is not accepted",
        ),
        (leaf, "is no CA certificate"),
        ("<!doctype html>".to_owned(), "holds no PEM certificate"),
    ] {
        scene.publish(&published);
        let run = scene.update(&[]);
        assert!([2, 5].contains(&run.code), "{run:?}");
        let detail = step(&run)["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words), "{words}: {detail}");
        assert_eq!(scene.held().len(), 2, "{words}");
    }
    // A server that the public roots do not vouch for: everything stays.
    scene.publish(&scene.next.bundle_pem());
    let strange = scene.bank.write("strange.pem", &scene.next.bundle_pem());
    let run = scene.bank.run_with(
        &["trust", "update", "--anchors", "--json"],
        &[("SSL_CERT_FILE", Path::new(&strange))],
    );
    let detail = step(&run.expect(5))["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("no TLS"), "{detail}");
}
