//! A certificate is accepted in every file format that a CA may send; a file that holds no certificate is named for
//! what it is, with the command that converts it, and that command works.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::bank::{Bank, Run};
use crate::common::openssl::OpenSsl;
use crate::common::pem_forms::pem_forms;
use time::Duration;

fn certified() -> Bank {
    let bank = Bank::new();
    bank.certify("p-256");
    bank
}

fn install(bank: &Bank, name: &str, given: &[u8]) -> Run {
    let file = bank.path(name);
    fs::write(&file, given).unwrap();
    bank.run(&["cert", "install", file.to_str().unwrap()])
}

#[test]
fn a_certificate_is_taken_in_every_dress() {
    let bank = certified();
    let pem = fs::read_to_string(bank.path("c3.pem")).unwrap();
    let installed = fs::read(bank.path("c3.pem")).unwrap();
    for (dress, given) in pem_forms(&pem) {
        fs::remove_file(bank.path("c3.pem")).unwrap();
        let run = install(&bank, "given.pem", &given);
        assert_eq!(run.code, 0, "{dress}: {run:?}");
        assert_eq!(fs::read(bank.path("c3.pem")).unwrap(), installed, "{dress}");
        // Put there by hand, it serves as it is.
        fs::write(bank.path("c3.pem"), &given).unwrap();
        let shown = bank.run(&["cert", "show"]);
        assert_eq!(shown.code, 0, "{dress}: {shown:?}");
        fs::write(bank.path("c3.pem"), &installed).unwrap();
    }
    // Old labels (RFC 7468, section 5.1), and the certificate alone in DER.
    for label in ["X509 CERTIFICATE", "X.509 CERTIFICATE"] {
        install(
            &bank,
            "given.pem",
            pem.replace("CERTIFICATE", label).as_bytes(),
        )
        .expect(0);
    }
    let (_, der) = der::pem::decode_vec(bank.issue().as_bytes()).unwrap();
    install(&bank, "given.cer", &der).expect(0);
}

#[test]
fn anchors_and_lists_are_taken_in_every_dress() {
    let mut bank = certified();
    let bundle = bank.framework.bundle_pem();
    for (dress, given) in pem_forms(&bundle) {
        fs::write(bank.path("anchors.pem"), given).unwrap();
        let shown = bank.run(&["cert", "show"]);
        assert_eq!(shown.code, 0, "{dress}: {shown:?}");
    }
    bank.write("anchors.pem", &bundle);
    let list = bank.framework.crl(&[], Duration::days(7));
    bank.configure(|settings| settings.trust_lines = "crls = [\"list.crl\"]".to_owned());
    let (_, der) = der::pem::decode_vec(list.as_bytes()).unwrap();
    let other_label = list.replace("X509 CRL", "CRL").into_bytes();
    let further = [("DER", der), ("the old label", other_label)];
    for (dress, given) in pem_forms(&list).into_iter().chain(further) {
        fs::write(bank.path("list.crl"), given).unwrap();
        // Nobody listens there: lists are read before.
        let run = bank.run(&["verify"]).expect(5);
        assert!(!(run.stdout + &run.stderr).contains("CRL"), "{dress}");
        let audit = bank.run(&["audit", "--json"]);
        assert!(
            audit.stdout.contains("not on this list"),
            "{dress}: {audit:?}"
        );
    }
    fs::write(bank.path("list.crl"), &bundle).unwrap();
    let refused = bank.run(&["verify"]).expect(2);
    assert!(
        refused
            .stderr
            .contains("it holds no CRL: it is a certificate"),
        "{refused:?}"
    );
}

/// Every certificate with the CA first, as PKCS#7 sorts them.
#[test]
fn the_order_in_a_file_does_not_matter_where_one_alone_is_no_ca() {
    let bank = certified();
    let leaf = bank.issue();
    let turned = bank.framework.bundle_pem() + &leaf;
    install(&bank, "given.pem", turned.as_bytes()).expect(0);
    let installed = fs::read_to_string(bank.path("c3.pem")).unwrap();
    assert!(installed.starts_with(&leaf));
}

/// What the hint says in backquotes, run by a shell.
fn follow(bank: &Bank, run: &Run) -> Run {
    let command = run
        .stderr
        .split('`')
        .nth(1)
        .unwrap_or_else(|| panic!("no command: {run:?}"));
    let done = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(done.status.success(), "{command}: {done:?}");
    let out = run.stderr.rsplit("then give ").next().unwrap();
    let out = out.trim().split(". As").next().unwrap().trim_matches('\'');
    assert!(Path::new(out).exists(), "{out}");
    bank.run(&["cert", "install", out])
}

#[test]
fn a_container_is_told_with_the_command_that_opens_it() {
    let bank = certified();
    let openssl = OpenSsl::new();
    openssl.write("leaf.pem", bank.issue());
    openssl.write("bundle.pem", bank.framework.bundle_pem());
    openssl.run("crl2pkcs7 -nocrl -certfile bundle.pem -certfile leaf.pem -out chain.p7b");
    openssl
        .run("crl2pkcs7 -nocrl -certfile bundle.pem -certfile leaf.pem -outform DER -out der.p7b");
    openssl.run("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem");
    openssl.run("req -x509 -new -key key.pem -subj /CN=a -days 3 -out self.pem");
    openssl.run(
        "pkcs12 -export -nokeys -in leaf.pem -certfile bundle.pem -passout pass: -out chain.p12",
    );
    openssl.run("pkcs12 -export -inkey key.pem -in self.pem -passout pass:secret -out key.p12");
    openssl.run("x509 -in leaf.pem -trustout -out trusted.pem");
    openssl.run("x509 -in leaf.pem -outform DER -out leaf.der");
    openssl.run("base64 -in leaf.der -out leaf.base64");
    openssl.run("base64 -in der.p7b -out p7b.base64");
    let read = |name: &str| fs::read(openssl.path(name)).unwrap();
    let relabelled = |label: &str| {
        openssl
            .read("chain.p7b")
            .replace("PKCS7", label)
            .into_bytes()
    };
    for (name, given, said) in [
        ("my chain.p7b", read("chain.p7b"), "it is a PKCS#7 bag"),
        (
            "chain-der.p7b",
            read("der.p7b"),
            "it is a PKCS#7 bag (.p7b) in DER",
        ),
        (
            "chain-base64.p7b",
            read("p7b.base64"),
            "it is a PKCS#7 bag (.p7b) in base64",
        ),
        ("chain-cms.p7b", relabelled("CMS"), "it is a CMS bag"),
        ("chain.pem", relabelled("CERTIFICATE"), "it is a PKCS#7 bag"),
        (
            "trusted.pem",
            read("trusted.pem"),
            "it is a TRUSTED CERTIFICATE",
        ),
        (
            "leaf.txt",
            read("leaf.base64"),
            "it is a certificate in base64",
        ),
    ] {
        let refused = install(&bank, name, &given).expect(2);
        assert!(refused.stderr.contains(said), "{name}: {refused:?}");
        follow(&bank, &refused).expect(0);
    }
    // The password is asked for at a terminal.
    for (name, further) in [
        ("chain.p12", "-passin pass:"),
        ("key.p12", "-passin pass:secret"),
    ] {
        let refused = install(&bank, name, &read(name)).expect(2);
        assert!(
            refused.stderr.contains("it is a PKCS#12 container"),
            "{refused:?}"
        );
        assert!(
            refused.stderr.contains("is to be treated as exposed"),
            "{refused:?}"
        );
        let command = refused.stderr.split('`').nth(1).unwrap();
        assert!(command.contains("-nokeys"), "{command}");
        let done = Command::new("sh")
            .args(["-c", &format!("{command} {further}")])
            .output();
        assert!(done.unwrap().status.success(), "{command}");
        let out = fs::read_to_string(bank.path(&format!("{name}.pem"))).unwrap();
        assert!(!out.contains("PRIVATE KEY"));
        if name == "chain.p12" {
            bank.run(&[
                "cert",
                "install",
                bank.path("chain.p12.pem").to_str().unwrap(),
            ])
            .expect(0);
        }
    }
}

#[test]
fn what_is_no_certificate_is_told_by_its_name() {
    let bank = certified();
    let openssl = OpenSsl::new();
    openssl.run("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem");
    openssl.run("pkey -in key.pem -outform DER -out key.der");
    openssl.run("ec -in key.pem -no_public -outform DER -out sec1.der");
    openssl.run("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem");
    openssl.run("rsa -in rsa.pem -traditional -outform DER -out pkcs1.der");
    openssl.run("rsa -in rsa.pem -traditional -out pkcs1.pem");
    openssl.run("pkcs8 -topk8 -in rsa.pem -passout pass:a -out encrypted.pem");
    openssl.run("pkcs8 -topk8 -in rsa.pem -passout pass:a -outform DER -out encrypted.der");
    openssl.run("pkey -in key.pem -pubout -out public.pem");
    openssl.run("pkey -in key.pem -pubout -outform DER -out public.der");
    openssl.run("req -new -key key.pem -subj /CN=a -outform DER -out request.der");
    let read = |name: &str| fs::read(openssl.path(name)).unwrap();
    let wide: Vec<u8> = openssl
        .read("key.pem")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let a_key = "holds a private key";
    let text = |text: &str| text.as_bytes().to_vec();
    let list = bank.framework.crl(&[], Duration::days(7));
    for (given, said) in [
        (read("key.pem"), a_key),
        (read("pkcs1.pem"), a_key),
        (read("encrypted.pem"), a_key),
        (read("key.der"), a_key),
        (read("sec1.der"), a_key),
        (read("pkcs1.der"), a_key),
        (read("encrypted.der"), a_key),
        ([b"\xff\xfe".to_vec(), wide].concat(), a_key),
        ([text("  "), read("key.pem")].concat(), a_key),
        (
            text("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n"),
            a_key,
        ),
        (text("PuTTY-User-Key-File-3: ssh-rsa\n"), a_key),
        (text("-----BEGIN PGP PRIVATE KEY BLOCK-----\n"), a_key),
        (text(r#"{"keys":[{"kty":"EC","d":"AA"}]}"#), a_key),
        (text(&(bank.issue() + &openssl.read("key.pem"))), a_key),
        (text(""), "it is empty"),
        (text("\r\n \r\n"), "it is empty"),
        (
            text("<!DOCTYPE html>\n<html><body>Sign in</body></html>"),
            "it is an HTML page",
        ),
        (text("<?xml version=\"1.0\"?><a/>"), "it is XML"),
        (text(r#"{"error":"not found"}"#), "it is JSON"),
        (text(&bank.csr()), "it is a certificate request"),
        (read("request.der"), "it is a certificate request"),
        (read("public.pem"), "it is a public key"),
        (read("public.der"), "it is a public key"),
        (
            text("ssh-rsa AAAAB3NzaC1yc2E bank@host\n"),
            "it is a public key",
        ),
        (
            text(
                "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n-----END PGP PUBLIC KEY BLOCK-----",
            ),
            "it is of OpenPGP",
        ),
        (text(&list), "it is a revocation list"),
        (
            vec![0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2],
            "it is a Java key store",
        ),
        (
            text("—–BEGIN CERTIFICATE—–\nMIIB\n—–END CERTIFICATE—–\n"),
            "with five hyphens on both sides",
        ),
        (
            b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x80\x30\x80".to_vec(),
            "it is a PKCS#7 bag (.p7b) in DER",
        ),
        (
            b"\x30\x80\x02\x01\x03\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01\xa0\x80"
                .to_vec(),
            "it is a PKCS#12 container (.p12, .pfx) in DER",
        ),
        (text("Dear customer"), "holds no PEM certificate"),
        (
            vec![0x30, 0x03, 0x02, 0x01, 0x05],
            "it is DER of another kind",
        ),
    ] {
        let old = fs::read(bank.path("c3.pem")).unwrap();
        let run = install(&bank, "given.pem", &given).expect(2);
        let shown = String::from_utf8_lossy(&given);
        assert!(run.stderr.contains(said), "{said}: {shown}: {run:?}");
        assert!(run.stderr.contains("\nhint:"), "{run:?}");
        assert_eq!(fs::read(bank.path("c3.pem")).unwrap(), old);
        if said == a_key {
            assert!(
                run.stderr.contains("is to be treated as exposed"),
                "{run:?}"
            );
        }
    }
}

#[test]
fn anchors_that_cannot_be_used_are_an_error_of_each_command() {
    let bank = certified();
    let good = fs::read(bank.path("anchors.pem")).unwrap();
    for bad in [None, Some("nothing"), Some("")] {
        match bad {
            None => fs::remove_file(bank.path("anchors.pem")).unwrap(),
            Some(text) => fs::write(bank.path("anchors.pem"), text).unwrap(),
        }
        for command in [&["cert", "show"][..], &["cert", "install", "c3.pem"]] {
            let run = bank.run(command).expect(2);
            assert!(run.stdout.is_empty(), "{bad:?}: {run:?}");
            assert!(run.stderr.contains("\nhint:"), "{bad:?}: {run:?}");
        }
    }
    fs::write(bank.path("anchors.pem"), good).unwrap();
    bank.run(&["cert", "show"]).expect(0);
}
