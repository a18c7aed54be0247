//! What the TLS library does not implement: name constraints on directory names, extensions, kinds of lists. It is
//! reported by name as unsupported; our own chain is checked as far as possible.

use std::fs;

use super::{ISSUING, LEAF, P256, ROOT, judge};
use crate::common::openssl::{LEAF_EXTENSIONS, OpenSsl};
use hsm_mtls::internal::certificate::crl::RevocationList;

/// RFC 5280, section 4.2.1.10: our own chain is held against the constraint, the hub's cannot be.
#[test]
fn a_constraint_on_directory_names_is_kept_or_unsupported() {
    let openssl = OpenSsl::new();
    for name in ["root", "issuing", "leaf"] {
        assert!(openssl.key(name, P256));
    }
    openssl.root("root", ROOT);
    openssl.request("issuing", ISSUING);
    let ca = fs::read_to_string(openssl.path("ca.ext")).unwrap();
    let constrained = |kind: &str, organization: &str| {
        let extensions = format!(
            "{ca}nameConstraints=critical,{kind};dirName:allowed\n[allowed]\nC=AE\nO={organization}\n"
        );
        openssl.write("constrained.ext", extensions);
        assert!(openssl.issue("issuing", "root", "constrained.ext", "", "issuing"));
        assert!(openssl.issue("leaf", "issuing", "leaf.ext", "", "leaf"));
        let verdicts = judge(&openssl, "leaf", "issuing", "root", None);
        (openssl.takes("leaf", "issuing", "root", ""), verdicts)
    };
    openssl.request("leaf", LEAF);
    for (kind, organization, allowed) in [
        ("permitted", "Bank", true),
        ("permitted", "BANK", true),
        ("permitted", "Other", false),
        ("excluded", "Other", true),
        ("excluded", "Bank", false),
    ] {
        let (taken, verdicts) = constrained(kind, organization);
        assert_eq!(taken, allowed, "{kind} {organization}");
        match allowed {
            true => assert_eq!(verdicts.ours, Ok(()), "{kind} {organization}"),
            false => {
                let said = verdicts.ours.unwrap_err();
                assert!(said.contains("name constraints do not allow"), "{said}");
            }
        }
        let said = verdicts.hub.unwrap_err();
        assert!(
            said.contains("a name constraint on names other than hosts"),
            "{said}"
        );
        assert!(said.contains("not supported here"), "{said}");
    }
}

/// What else the library does not know is said to be that, and by its name.
#[test]
fn a_critical_extension_that_nobody_knows_is_unsupported() {
    let openssl = OpenSsl::new();
    for name in ["root", "issuing", "leaf"] {
        assert!(openssl.key(name, P256));
    }
    openssl.root("root", ROOT);
    openssl.request("issuing", ISSUING);
    openssl.request("leaf", LEAF);
    assert!(openssl.issue("issuing", "root", "ca.ext", "", "issuing"));
    openssl.write(
        "odd.ext",
        format!("{LEAF_EXTENSIONS}1.2.3.4=critical,ASN1:NULL\n"),
    );
    assert!(openssl.issue("leaf", "issuing", "odd.ext", "", "leaf"));
    let verdicts = judge(&openssl, "leaf", "issuing", "root", None);
    for verdict in [verdicts.ours, verdicts.hub] {
        let said = verdict.unwrap_err();
        assert!(
            said.contains("the critical extension 1.2.3.4 is not supported here")
                || said.contains("its critical extension 1.2.3.4 is not supported here"),
            "{said}"
        );
    }
}

/// RFC 5280, section 4.1.2.2: who reads is prepared for more than who issues may write.
#[test]
fn a_serial_number_of_any_length_is_taken() {
    let openssl = OpenSsl::new();
    for name in ["root", "issuing", "leaf"] {
        assert!(openssl.key(name, P256));
    }
    openssl.root("root", ROOT);
    openssl.request("issuing", ISSUING);
    openssl.request("leaf", LEAF);
    for serial in [
        "1",
        "0",
        "-5",
        "0x7f000102030405060708090a0b0c0d0e0f101112131415161718",
    ] {
        let options = format!("-set_serial {serial}");
        assert!(
            openssl.issue("issuing", "root", "ca.ext", &options, "issuing"),
            "{serial}"
        );
        assert!(
            openssl.issue("leaf", "issuing", "leaf.ext", &options, "leaf"),
            "{serial}"
        );
        assert!(openssl.takes("leaf", "issuing", "root", ""), "{serial}");
        let verdicts = judge(&openssl, "leaf", "issuing", "root", None);
        assert_eq!(verdicts.ours, Ok(()), "{serial}");
        assert_eq!(verdicts.hub, Ok(()), "{serial}");
    }
}

/// Lists that say what the library does not read.
#[test]
fn a_list_of_another_kind_is_unsupported_and_not_broken() {
    let openssl = OpenSsl::new();
    for name in ["root", "issuing", "leaf"] {
        assert!(openssl.key(name, P256));
    }
    openssl.root("root", ROOT);
    openssl.request("issuing", ISSUING);
    openssl.request("leaf", LEAF);
    assert!(openssl.issue("issuing", "root", "ca.ext", "", "issuing"));
    assert!(openssl.issue("leaf", "issuing", "leaf.ext", "", "leaf"));
    let point = |more: &str| {
        format!(
            "authorityKeyIdentifier=keyid\nissuingDistributionPoint=critical,@p\n[p]\nfullname=URI:http://a.example/l.crl\n{more}"
        )
    };
    for (extensions, said) in [
        (
            "authorityKeyIdentifier=keyid\n2.5.29.27=critical,ASN1:INTEGER:1".to_owned(),
            "a delta list",
        ),
        (
            "authorityKeyIdentifier=keyid\n1.2.3.4=critical,ASN1:NULL".to_owned(),
            "critical extensions",
        ),
        (point("indirectCRL=TRUE"), "not supported here"),
        (point("onlysomereasons=keyCompromise"), "not supported here"),
        (point("onlyCA=TRUE"), "for a part of the certificates only"),
    ] {
        assert!(
            openssl.list("issuing", "", &extensions, "list"),
            "{extensions}"
        );
        let verdict = judge(&openssl, "leaf", "issuing", "root", Some("list")).hub;
        let refused = verdict.unwrap_err();
        assert!(refused.contains(said), "{extensions}: {refused}");
        assert!(
            refused.contains("not supported here"),
            "{extensions}: {refused}"
        );
    }
    // Version 1, as `openssl ca` makes it without a number and extensions.
    openssl.write("index.txt", "");
    openssl.write(
        "v1.cnf",
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=30\n",
    );
    openssl.run("ca -gencrl -config v1.cnf -cert issuing.pem -keyfile issuing.key -out list.crl");
    let read = RevocationList::read(&openssl.path("list.crl"));
    assert!(read.unwrap_err().to_string().contains("version 1"));
    let refused = judge(&openssl, "leaf", "issuing", "root", Some("list"))
        .hub
        .unwrap_err();
    assert!(
        refused.contains("version 1") && refused.contains("not supported here"),
        "{refused}"
    );
}
