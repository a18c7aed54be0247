//! A key of an unsupported type or size is reported as that by the first step that sees it: neither the token nor a
//! public key is blamed.

use crate::common::bank::Bank;
use crate::common::error_report;
use crate::common::openssl::OpenSsl;

const KINDS: [(&str, &str); 5] = [
    ("RSA-1024", "-algorithm RSA -pkeyopt rsa_keygen_bits:1024"),
    ("RSA-1536", "-algorithm RSA -pkeyopt rsa_keygen_bits:1536"),
    (
        "secp256k1",
        "-algorithm EC -pkeyopt ec_paramgen_curve:secp256k1",
    ),
    ("P-224", "-algorithm EC -pkeyopt ec_paramgen_curve:P-224"),
    (
        "brainpoolP256r1",
        "-algorithm EC -pkeyopt ec_paramgen_curve:brainpoolP256r1",
    ),
];

/// What must not be said of a key that is only unknown here.
const BLAME: [&str; 5] = [
    "broken",
    "import the public key",
    "wrongly",
    "vendor's module",
    "withheld",
];

#[test]
fn a_key_in_the_token_is_told_by_its_kind() {
    for (kind, how) in KINDS {
        let bank = Bank::new();
        let openssl = OpenSsl::new();
        assert!(openssl.key("odd", how), "{kind}");
        bank.token.import(&openssl.path("odd.key"), "c3", "aa");
        let list = bank.run(&["key", "list"]).expect(0);
        assert!(
            list.stdout
                .contains(&format!("{kind}, which is not supported")),
            "{list:?}"
        );
        let json = bank.run(&["key", "list", "--json"]).expect(0).json();
        assert_eq!(json["keys"][0]["unsupported"], kind);
        for command in [
            &["token", "check", "--json"][..],
            &["csr", "--json"],
            &["token", "check"],
            &["csr"],
        ] {
            let run = bank.run(command).expect(2);
            let said = run.stdout.clone() + &run.stderr;
            assert!(
                said.contains(&format!("is {kind}, which is not supported")),
                "{said}"
            );
            assert!(
                said.contains("supported are RSA of 2048 to 8192 bits"),
                "{said}"
            );
            for blame in BLAME {
                assert!(!said.contains(blame), "{kind}: {blame}: {said}");
            }
        }
        let check = bank.run(&["token", "check", "--json"]);
        assert!(
            error_report::of(&bank, &check).contains("step key"),
            "{check:?}"
        );
    }
}

#[test]
fn a_certificate_of_it_is_told_by_its_kind() {
    let bank = Bank::new();
    bank.certify("p-256");
    let openssl = OpenSsl::new();
    bank.framework.save(openssl.folder());
    std::fs::copy(openssl.path("issuing-key.pem"), openssl.path("issuing.key")).unwrap();
    let others = [
        ("Ed448", "-algorithm ED448"),
        (
            "RSA of the type id-RSASSA-PSS",
            "-algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048",
        ),
        ("RSA-1024", "-algorithm RSA -pkeyopt rsa_keygen_bits:1024"),
    ];
    for (kind, how) in KINDS.into_iter().chain(others) {
        assert!(openssl.key("odd", how), "{kind}");
        openssl.request("odd", "/C=AE/O=Bank/CN=a");
        assert!(
            openssl.issue("odd", "issuing", "leaf.ext", "", "odd"),
            "{kind}"
        );
        let old = std::fs::read(bank.path("c3.pem")).unwrap();
        let file = openssl.path("odd.pem");
        let run = bank
            .run(&["cert", "install", file.to_str().unwrap()])
            .expect(2);
        let said = format!("is of a key that is not supported: {kind}");
        assert!(run.stderr.contains(&said), "{kind}: {run:?}");
        assert_eq!(std::fs::read(bank.path("c3.pem")).unwrap(), old);
        // Put there by hand.
        std::fs::copy(&file, bank.path("c3.pem")).unwrap();
        for command in [&["cert", "show"][..], &["token", "check"], &["verify"]] {
            let run = bank.run(command);
            let all = run.stdout + &run.stderr;
            assert!(run.code == 2 || run.code == 1, "{kind} {command:?}: {all}");
            assert!(all.contains(&said), "{kind} {command:?}: {all}");
        }
        std::fs::write(bank.path("c3.pem"), old).unwrap();
    }
}

/// The token holds a good key of the name beside it: the certificate decides, and an odd one does not disturb.
#[test]
fn beside_a_good_key_it_is_only_listed() {
    let bank = Bank::new();
    bank.certify("p-256");
    let openssl = OpenSsl::new();
    for (index, (kind, how)) in KINDS.iter().enumerate() {
        assert!(openssl.key("odd", how), "{kind}");
        bank.token
            .import(&openssl.path("odd.key"), "c3", &format!("a{index}"));
    }
    bank.run(&["token", "check", "-n", "1"]).expect(0);
    let list = bank.run(&["key", "list"]).expect(0);
    for (kind, _) in KINDS {
        assert!(list.stdout.contains(kind), "{list:?}");
    }
    // The certificate of a key that is not there.
    let stranger = Bank::new();
    stranger
        .run(&["key", "generate", "--type", "p-384"])
        .expect(0);
    let leaf = bank.write("leaf.pem", &bank.framework.issue_client(&stranger.csr()));
    let run = bank
        .run(&["cert", "install", leaf.to_str().unwrap()])
        .expect(2);
    assert!(
        run.stderr.contains("no private key that matches"),
        "{run:?}"
    );
    // The first three are listed, in whatever order the token has them; one of them at the most is the good key.
    let listed = KINDS.iter().filter(|(kind, _)| {
        let said = format!("{kind}, which is not supported");
        run.stderr.contains(&said)
    });
    assert!(listed.count() >= 2, "{run:?}");
}
