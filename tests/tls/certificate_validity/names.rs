//! A name is not its encoding: certificates of one CA that write it in different string types belong together.

use std::fs;

use hsm_mtls::internal::certificate::crl::RevocationList;
use hsm_mtls::internal::certificate::read_file;

use super::{ISSUING, LEAF, P256, ROOT, judge};
use crate::common::openssl::OpenSsl;

/// RFC 5280, section 7.1: the CA's name as UTF8String in one certificate and as PrintableString in the other.
#[test]
fn a_name_in_another_encoding_is_the_same_name() {
    let openssl = OpenSsl::new();
    for name in ["root", "issuing", "leaf"] {
        assert!(openssl.key(name, P256));
    }
    openssl.request("leaf", LEAF);
    // One key, two certificates, each with the name in its own string type and in other letters.
    let ca = |name: &str, mask: &str, subject: &str| {
        openssl.write(
            "mask.cnf",
            format!("[req]\ndistinguished_name=d\nstring_mask={mask}\n[d]\n"),
        );
        let line = format!("req -new -config mask.cnf -key {name}.key -out {name}.csr -subj");
        let done = openssl.try_run(&line, &[subject]);
        assert!(done.status.success(), "{done:?}");
    };
    let self_signed = |out: &str| {
        openssl.run(&format!(
            "x509 -req -in root.csr -signkey root.key -days 300 -extfile ca.ext -out {out}.pem"
        ));
        fs::copy(
            openssl.path("root.key"),
            openssl.path(&format!("{out}.key")),
        )
        .unwrap();
    };
    ca("root", "utf8only", ROOT);
    self_signed("root-utf8");
    ca("root", "default", "/C=AE/O=NEBRAS/CN=Root");
    self_signed("root-printable");
    fs::copy(
        openssl.path("issuing.key"),
        openssl.path("issuing-utf8.key"),
    )
    .unwrap();
    ca("issuing", "default", ISSUING);
    assert!(openssl.issue("issuing", "root-utf8", "ca.ext", "", "issuing"));
    ca("issuing", "utf8only", ISSUING);
    assert!(openssl.issue("issuing", "root-utf8", "ca.ext", "", "issuing-utf8"));
    assert!(openssl.issue("leaf", "issuing-utf8", "leaf.ext", "", "leaf"));
    assert!(openssl.list("issuing-utf8", "", "authorityKeyIdentifier=keyid", "list"));
    for (issuing, root) in [
        ("issuing", "root-utf8"),
        ("issuing-utf8", "root-printable"),
        ("issuing", "root-printable"),
    ] {
        assert!(openssl.takes("leaf", issuing, root, ""), "{issuing} {root}");
        let verdicts = judge(&openssl, "leaf", issuing, root, None);
        assert_eq!(verdicts.ours, Ok(()), "{issuing} {root}");
        let said = verdicts.hub.unwrap_err();
        assert!(said.contains("the same name in another encoding"), "{said}");
        assert!(said.contains("not supported here"), "{said}");
    }
    // The list, by the other name.
    ca("issuing", "default", ISSUING);
    assert!(openssl.list("issuing", "", "authorityKeyIdentifier=keyid", "list"));
    assert!(openssl.takes(
        "leaf",
        "issuing-utf8",
        "root-utf8",
        "-CRLfile list.crl -crl_check"
    ));
    let verdicts = judge(&openssl, "leaf", "issuing-utf8", "root-utf8", Some("list"));
    let said = verdicts.hub.unwrap_err();
    assert!(
        said.contains("in another encoding is not supported here"),
        "{said}"
    );
    let [list] = &RevocationList::read(&openssl.path("list.crl")).unwrap()[..] else {
        panic!("one list");
    };
    let [issuing] = &read_file(&openssl.path("issuing-utf8.pem")).unwrap()[..] else {
        panic!("one certificate");
    };
    assert!(list.names_as_issuer(issuing));
    assert_eq!(list.check_signature(issuing), Ok(()));
}
