//! Every algorithm with which `openssl` signs and accepts certificates and revocation lists is accepted here too, or
//! reported as unsupported. It is never reported as invalid.

use hsm_mtls::internal::certificate::crl::RevocationList;
use hsm_mtls::internal::certificate::{Certificate, read_file};

use super::{ISSUING, LEAF, ROOT, judge};
use crate::common::openssl::OpenSsl;

/// A kind of key, how it is made, the options of its signatures, and whether all of them are to be taken.
fn combinations() -> Vec<(&'static str, &'static str, Vec<String>, bool)> {
    let by_hash = |hashes: &[&str]| hashes.iter().map(|hash| format!("-{hash}")).collect();
    let pss = |hashes: &[&str], salts: &[&str]| -> Vec<String> {
        let all = hashes.iter().flat_map(|hash| {
            salts.iter().map(move |salt| {
                format!("-{hash} -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:{salt}")
            })
        });
        all.collect()
    };
    let good: [&str; 3] = ["sha256", "sha384", "sha512"];
    let odd = ["sha1", "sha224", "sha512-256", "sha3-256", "sha3-512"];
    let rsa = [
        by_hash(&good),
        pss(&good, &["digest", "max", "0", "20", "32"]),
    ]
    .concat();
    let strange = [
        by_hash(&odd),
        pss(&["sha1", "sha224"], &["digest"]),
        vec!["-sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_mgf1_md:sha1".to_owned()],
        pss(&["sha256"], &["17"]),
    ]
    .concat();
    let restricted = "-algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_pss_keygen_md:sha256 \
                      -pkeyopt rsa_pss_keygen_mgf1_md:sha256 -pkeyopt rsa_pss_keygen_saltlen:32";
    let ec = |curve: &'static str| -> &'static str {
        Box::leak(format!("-algorithm EC -pkeyopt ec_paramgen_curve:{curve}").into_boxed_str())
    };
    let hashes = || -> Vec<String> { by_hash(&good) };
    vec![
        (
            "RSA-2048",
            "-algorithm RSA -pkeyopt rsa_keygen_bits:2048",
            rsa.clone(),
            true,
        ),
        (
            "RSA-2048",
            "-algorithm RSA -pkeyopt rsa_keygen_bits:2048",
            strange,
            false,
        ),
        (
            "RSA-3072",
            "-algorithm RSA -pkeyopt rsa_keygen_bits:3072",
            rsa,
            true,
        ),
        (
            "id-RSASSA-PSS",
            "-algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048",
            pss(&good, &["digest", "max"]),
            true,
        ),
        (
            "id-RSASSA-PSS for SHA-256",
            restricted,
            pss(&["sha256"], &["digest"]),
            true,
        ),
        (
            "RSA-1024",
            "-algorithm RSA -pkeyopt rsa_keygen_bits:1024",
            hashes(),
            false,
        ),
        ("P-256", ec("P-256"), hashes(), true),
        ("P-384", ec("P-384"), hashes(), true),
        ("P-521", ec("P-521"), hashes(), true),
        ("P-256", ec("P-256"), by_hash(&odd), false),
        (
            "P-256 by its parameters",
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit",
            hashes(),
            false,
        ),
        ("P-224", ec("P-224"), hashes(), false),
        ("secp256k1", ec("secp256k1"), hashes(), false),
        ("brainpoolP256r1", ec("brainpoolP256r1"), hashes(), false),
        ("Ed25519", "-algorithm ED25519", vec![String::new()], true),
        ("Ed448", "-algorithm ED448", vec![String::new()], false),
    ]
}

/// Root over Issuing CA over leaf, and the Issuing CA's list, each signed in the same way.
#[test]
fn what_openssl_signs_and_accepts_is_accepted_or_unsupported() {
    let (mut tried, mut wrong) = (0, Vec::new());
    let openssl = OpenSsl::new();
    assert!(openssl.key("leaf", "-algorithm EC -pkeyopt ec_paramgen_curve:P-256"));
    openssl.request("leaf", LEAF);
    for (kind, key, signatures, supported) in combinations() {
        if !(openssl.key("root", key) && openssl.key("issuing", key)) {
            continue;
        }
        openssl.root("root", ROOT);
        openssl.request("issuing", ISSUING);
        for options in signatures {
            if !openssl.issue("issuing", "root", "ca.ext", &options, "issuing")
                || !openssl.issue("leaf", "issuing", "leaf.ext", &options, "leaf")
                || !openssl.list("issuing", &options, "authorityKeyIdentifier=keyid", "list")
                || !openssl.takes("leaf", "issuing", "root", "-CRLfile list.crl -crl_check")
            {
                continue;
            }
            tried += 1;
            let with = judge(&openssl, "leaf", "issuing", "root", Some("list"));
            let without = judge(&openssl, "leaf", "issuing", "root", None);
            // As the audit has it.
            let [list] = &RevocationList::read(&openssl.path("list.crl")).unwrap()[..] else {
                panic!("one list");
            };
            let [issuing] = &read_file(&openssl.path("issuing.pem")).unwrap()[..] else {
                panic!("one certificate");
            };
            let audited = list
                .check_signature(issuing)
                .map_err(|fault| fault.to_string());
            for (what, verdict) in [
                ("ours", without.ours),
                ("the hub's", without.hub),
                ("the hub's, with a list", with.hub),
                ("a list, for the audit", audited),
            ] {
                let right = match &verdict {
                    Ok(()) => true,
                    Err(said) => !supported && said.contains("not supported here"),
                };
                if !right {
                    wrong.push(format!("{kind} {options}: {what}: {verdict:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // All that this openssl has; a policy of the machine may have switched SHA-1 and the like off.
    assert!(tried >= 60, "{tried}");
}

/// A leaf of each kind of key: taken, or said to be of a kind that is not supported.
#[test]
fn a_leaf_of_each_kind_of_key_is_accepted_or_unsupported() {
    let openssl = OpenSsl::new();
    let p256 = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";
    assert!(openssl.key("root", p256) && openssl.key("issuing", p256));
    openssl.root("root", ROOT);
    openssl.request("issuing", ISSUING);
    assert!(openssl.issue("issuing", "root", "ca.ext", "", "issuing"));
    for (kind, key, _, supported) in combinations() {
        let is_pss = kind.starts_with("id-RSASSA-PSS");
        assert!(openssl.key("leaf", key), "{kind}");
        openssl.request("leaf", LEAF);
        assert!(
            openssl.issue("leaf", "issuing", "leaf.ext", "-sha256", "leaf"),
            "{kind}"
        );
        // A curve that is given by its parameters is not taken by openssl itself.
        let taken = openssl.takes("leaf", "issuing", "root", "");
        assert_eq!(taken, !kind.contains("parameters"), "{kind}");
        let verdict = judge(&openssl, "leaf", "issuing", "root", None).ours;
        // TLS has no scheme by which rustls would sign with a key for PSS alone.
        match supported && !is_pss || kind == "RSA-2048" || kind == "P-256" {
            true => assert_eq!(verdict, Ok(()), "{kind}"),
            false => {
                let said = verdict.unwrap_err();
                let name = kind
                    .trim_end_matches(" for SHA-256")
                    .replace("P-256 by", "by");
                assert!(
                    said.contains("of a key that is not supported"),
                    "{kind}: {said}"
                );
                assert!(said.contains(&name), "{kind}: {said}");
            }
        }
    }
}

/// What is false is said to be false, by every algorithm: the namesake's signature, and a damaged one.
#[test]
fn a_signature_of_another_key_is_told_as_that() {
    let openssl = OpenSsl::new();
    for (key, options) in [
        ("-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "-sha384"),
        (
            "-algorithm RSA -pkeyopt rsa_keygen_bits:2048",
            "-sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:max",
        ),
        ("-algorithm EC -pkeyopt ec_paramgen_curve:P-384", "-sha256"),
        ("-algorithm ED25519", ""),
    ] {
        for name in ["root", "issuing", "other", "leaf"] {
            assert!(openssl.key(name, key));
        }
        openssl.root("root", ROOT);
        openssl.request("issuing", ISSUING);
        openssl.request("other", ISSUING);
        openssl.request("leaf", LEAF);
        assert!(openssl.issue("issuing", "root", "ca.ext", options, "issuing"));
        assert!(openssl.issue("other", "root", "ca.ext", options, "other"));
        assert!(openssl.issue("leaf", "other", "leaf.ext", options, "leaf"));
        let verdicts = judge(&openssl, "leaf", "issuing", "root", None);
        let said = verdicts.ours.unwrap_err();
        assert!(said.contains("is named as the issuer of"), "{said}");
        let said = verdicts.hub.unwrap_err();
        assert!(
            said.contains("the CA that it names did not sign it"),
            "{said}"
        );
        let [leaf] = &read_file(&openssl.path("leaf.pem")).unwrap()[..] else {
            panic!("one certificate");
        };
        let [signer] = &read_file(&openssl.path("other.pem")).unwrap()[..] else {
            panic!("one certificate");
        };
        assert_eq!(leaf.check_signature(signer), Ok(()));
        let mut damaged = leaf.der().to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        let damaged = Certificate::from_der(&damaged, "here").unwrap();
        assert!(damaged.check_signature(signer).is_err());
    }
}
