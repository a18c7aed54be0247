//! A copy of the key in a file is found in every format; a file with another key is none, and a file that cannot be
//! compared leaves the question open. The key is imported, so that a copy can exist.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::audit::{audit, bank};
use crate::common::bank::{Bank, config_of_child};
use crate::common::token_objects::{import_rsa, session};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use der::Decode as _;
use der::asn1::Uint;
use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize};
use serde_json::{Value, json};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

const PKCS8: &str = "HSM_MTLS_TEST_PKCS8";

fn openssl(arguments: &[&str], input: &Path, output: &Path) {
    let (input, output) = (input.to_str().unwrap(), output.to_str().unwrap());
    let done = Command::new("openssl")
        .args(arguments)
        .args(["-in", input, "-out", output])
        .output()
        .expect("openssl");
    assert!(done.status.success(), "{arguments:?}: {done:?}");
}

/// A private JWK (RFC 7518, section 6.3). The value of `d` counts for nothing: it is not looked at.
fn jwk(key: &KeyPair) -> Value {
    let spki = SubjectPublicKeyInfoOwned::from_der(&key.subject_public_key_info()).unwrap();
    let numbers = spki.subject_public_key.raw_bytes();
    let numbers = Vec::<Uint>::from_der(numbers).unwrap();
    let text = |at: usize| URL_SAFE_NO_PAD.encode(numbers[at].as_bytes());
    json!({ "kty": "RSA", "use": "sig", "n": text(0), "e": text(1), "d": text(0) })
}

fn public(jwk: &Value) -> Value {
    let mut public = jwk.clone();
    public.as_object_mut().unwrap().remove("d");
    public
}

/// A folder as it is found on a machine: files of other kinds, another's key, and a folder within.
fn folder(bank: &Bank, name: &str) -> PathBuf {
    let folder = bank.path(name);
    fs::create_dir_all(folder.join("old/2024")).unwrap();
    fs::write(folder.join("notes.txt"), "the key is in the HSM\n").unwrap();
    fs::write(folder.join("empty"), "").unwrap();
    fs::write(folder.join("chain.pem"), bank.framework.bundle_pem()).unwrap();
    let other = KeyPair::generate().unwrap().serialize_pem();
    fs::write(folder.join("servers.pem"), other).unwrap();
    folder
}

#[test]
fn a_copy_of_the_key_in_a_file_is_found_in_each_form() {
    if config_of_child().is_some() {
        let pkcs8 = fs::read(std::env::var_os(PKCS8).unwrap()).unwrap();
        return import_rsa(&session(), "c3", &pkcs8, &[]);
    }
    let bank = bank();
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let der = bank.path("key.der");
    fs::write(&der, key.serialize_der()).unwrap();
    bank.run_test(
        a_copy_of_the_key_in_a_file_is_found_in_each_form,
        &[(PKCS8, der.display().to_string())],
    );
    let pem = bank.path("key.pem");
    fs::write(&pem, key.serialize_pem()).unwrap();

    let search = folder(&bank, "search");
    let copy = search.join("old/2024/c3.bak");
    let audited = |golden: &str| {
        let audited = audit(&bank, &["--search", search.to_str().unwrap()]);
        audited.golden(&format!("copies_{golden}"), &[]);
        audited
            .said("host.key-files")
            .replace(search.to_str().unwrap(), "")
    };
    assert_eq!(audited("none"), "seen: 4 files, 1 private keys of others");

    let forms: [(&str, &[&str]); 4] = [
        ("pkcs8_pem", &["pkey"]),
        ("pkcs1_pem", &["rsa", "-traditional"]),
        (
            "pkcs8_der",
            &["pkcs8", "-topk8", "-nocrypt", "-outform", "DER"],
        ),
        ("pkcs1_der", &["rsa", "-traditional", "-outform", "DER"]),
    ];
    for (form, arguments) in forms {
        openssl(arguments, &pem, &copy);
        assert_eq!(audited(form), "violated: /old/2024/c3.bak", "{form}");
    }
    // Behind a certificate and another's key, as a bundle for a web server has it.
    let bundle = [
        fs::read_to_string(search.join("chain.pem")).unwrap(),
        fs::read_to_string(search.join("servers.pem")).unwrap(),
        key.serialize_pem(),
    ];
    fs::write(&copy, bundle.concat()).unwrap();
    assert_eq!(audited("bundle"), "violated: /old/2024/c3.bak");

    // As an OAuth client has it: alone, in a set, and where it is not looked for.
    let jwk = jwk(&key);
    fs::write(&copy, jwk.to_string()).unwrap();
    assert_eq!(audited("jwk"), "violated: /old/2024/c3.bak");
    fs::write(&copy, json!({ "keys": [public(&jwk), jwk] }).to_string()).unwrap();
    assert_eq!(audited("jwk_set"), "violated: /old/2024/c3.bak");
    fs::write(&copy, public(&jwk).to_string()).unwrap();
    assert_eq!(
        audited("jwk_public"),
        "seen: 5 files, 1 private keys of others"
    );
    fs::write(&copy, json!({ "client": { "signing": jwk } }).to_string()).unwrap();
    assert_eq!(audited("jwk_within"), "violated: /old/2024/c3.bak");
    let jwk_and_certificate = [bank.framework.bundle_pem(), jwk.to_string()].concat();
    fs::write(&copy, jwk_and_certificate).unwrap();
    assert_eq!(
        audited("jwk_beside_a_certificate"),
        "violated: /old/2024/c3.bak"
    );
    for (form, bytes) in other_encodings(&key) {
        fs::write(&copy, bytes).unwrap();
        let said = audit(&bank, &["--search", search.to_str().unwrap()]);
        let said = said
            .said("host.key-files")
            .replace(search.to_str().unwrap(), "");
        assert_eq!(said, "violated: /old/2024/c3.bak", "{form}");
    }
    for (form, magic) in [
        ("gzip data", &[0x1f, 0x8b, 8, 0][..]),
        ("a zip archive", b"PK\x03\x04"),
        ("Zstandard data", &[0x28, 0xb5, 0x2f, 0xfd]),
        ("xz data", b"\xfd7zXZ\0"),
    ] {
        fs::write(&copy, magic).unwrap();
        let said = audit(&bank, &["--search", search.to_str().unwrap()]);
        let said = said.said("host.key-files");
        assert!(
            said.starts_with("not-answerable: ") && said.contains(form),
            "{said}"
        );
    }

    let encrypted: [(&str, &[&str]); 3] = [
        (
            "pkcs8_encrypted",
            &["pkcs8", "-topk8", "-passout", "pass:secret"],
        ),
        (
            "pkcs1_encrypted",
            &["rsa", "-traditional", "-aes256", "-passout", "pass:secret"],
        ),
        ("pkcs12", &["pkcs12", "-export", "-nocerts", "-inkey"]),
    ];
    for (form, arguments) in encrypted {
        let input = pem.to_str().unwrap();
        let pkcs12 = [arguments, &[input, "-passout", "pass:secret"]].concat();
        openssl(
            if form == "pkcs12" { &pkcs12 } else { arguments },
            &pem,
            &copy,
        );
        let said = audited(form);
        assert!(
            said.starts_with("not-answerable: 5 files, 1 private keys of others; /old"),
            "{said}"
        );
        let what = if form == "pkcs12" {
            "PKCS#12"
        } else {
            "an encrypted private key"
        };
        assert!(said.contains(what), "{form}: {said}");
    }
    fs::write(&copy, vec![0; 2 << 20]).unwrap();
    let said = audited("too_long");
    assert!(
        said.ends_with("/old/2024/c3.bak: longer than 1 MiB, and not looked at"),
        "{said}"
    );
    fs::remove_file(&copy).unwrap();

    // Nobody asked for a search; but the certificate's file is at hand.
    bank.write("c3.pem", &key.serialize_pem());
    audit(&bank, &[]).golden("copies_in_the_certificates_file", &[]);
}

/// How a key is written where it is no file of its own.
fn other_encodings(key: &KeyPair) -> Vec<(&'static str, Vec<u8>)> {
    let (der, pem) = (key.serialize_der(), key.serialize_pem());
    let base64 = STANDARD.encode(&der);
    let wrapped: Vec<_> = base64
        .as_bytes()
        .chunks(64)
        .map(|line| str::from_utf8(line).unwrap())
        .collect();
    let hexadecimal = |separator: &str| {
        let bytes: Vec<_> = der.iter().map(|byte| format!("{byte:02x}")).collect();
        bytes.join(separator)
    };
    let utf16 =
        |to_bytes: fn(u16) -> [u8; 2]| pem.encode_utf16().flat_map(to_bytes).collect::<Vec<u8>>();
    let with_mark = [&[0xff, 0xfe][..], &utf16(u16::to_le_bytes)].concat();
    let in_an_archive = [&[0; 512][..], &der, &[0; 1024]].concat();
    vec![
        (
            "base64 in a variable",
            format!("export KEY={base64}\n").into_bytes(),
        ),
        (
            "base64 in JSON",
            json!({ "key": base64 }).to_string().into_bytes(),
        ),
        (
            "wrapped base64 in YAML",
            format!("key: |\n  {}\n", wrapped.join("\n  ")).into_bytes(),
        ),
        (
            "base64url",
            format!("a note:{} and more", URL_SAFE_NO_PAD.encode(&der)).into_bytes(),
        ),
        (
            "base64 of PEM",
            format!("tls.key: {}\n", STANDARD.encode(&pem)).into_bytes(),
        ),
        (
            "wrapped base64 in a list of YAML",
            format!("keys:\n- {}\n", wrapped.join("\n  ")).into_bytes(),
        ),
        (
            "base64 behind a name, wrapped",
            format!("KEY_B64 {}\n", wrapped.join("\n")).into_bytes(),
        ),
        (
            "base64 in JSON of PHP",
            format!("{{\"key\":\"{}\"}}", base64.replace('/', "\\/")).into_bytes(),
        ),
        (
            "JWK in a string of JSON",
            json!({ "secret": jwk(key).to_string() })
                .to_string()
                .into_bytes(),
        ),
        (
            "PEM in JSON",
            json!({ "key": pem }).to_string().into_bytes(),
        ),
        ("hexadecimal", hexadecimal("").into_bytes()),
        (
            "hexadecimal with colons",
            hexadecimal(":").to_uppercase().into_bytes(),
        ),
        (
            "xxd -i",
            format!("{{ 0x{} }}", hexadecimal(", 0x")).into_bytes(),
        ),
        ("UTF-16 with a mark", with_mark),
        ("UTF-16, big endian", utf16(u16::to_be_bytes)),
        ("within other bytes", in_an_archive),
    ]
}

#[test]
fn a_copy_of_an_elliptic_curve_key_is_found_in_each_form() {
    let bank = bank();
    let pem = bank.path("key.pem");
    let key = KeyPair::generate().unwrap();
    fs::write(&pem, key.serialize_pem()).unwrap();
    bank.token.import(&pem, "c3", "01");
    let search = folder(&bank, "search");
    let copy = search.join("old/c3.bak");
    let forms: [&[&str]; 4] = [
        &["pkey"],
        &["ec"],
        &["pkcs8", "-topk8", "-nocrypt", "-outform", "DER"],
        &["ec", "-outform", "DER"],
    ];
    for arguments in forms {
        openssl(arguments, &pem, &copy);
        let audited = audit(&bank, &["--search", search.to_str().unwrap()]);
        let said = audited.said("host.key-files");
        assert!(
            said.starts_with("violated: ") && said.ends_with("/old/c3.bak"),
            "{arguments:?}: {said}"
        );
    }
    // An uncompressed point: 04, and both coordinates.
    let [x, y] = [1..33, 33..65].map(|part| URL_SAFE_NO_PAD.encode(&key.public_key_raw()[part]));
    let jwk = json!([{ "kty": "EC", "crv": "P-256", "x": x, "y": y, "d": "" }]);
    fs::write(&copy, jwk.to_string()).unwrap();
    audit(&bank, &["--search", search.to_str().unwrap()])
        .golden("copies_of_a_key_that_softhsm2_util_imported", &[]);
}
