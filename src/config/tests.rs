//! Derived values and defaults of a configuration, and its errors, which name line and field and never contain a PIN.

use std::time::Duration;

use proptest::prelude::*;

use super::pin::PinSource;
use super::*;
use crate::diagnostic::Diagnostic as _;

const GOOD: &str = r#"
environment = "preprod"
lfi_code    = "mybank"

[[token]]
module = "/usr/lib/softhsm/libsofthsm2.so"
uri    = "pkcs11:token=lfi-preprod"
pin    = { file = "pin" }
env    = { SOFTHSM2_CONF = "{config_dir}/softhsm2.conf" }

[c3]
key         = "pkcs11:object=c3;type=private"
certificate = "c3.pem"

[trust]
mode    = "trust-framework"
anchors = "tf.pem"
"#;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("/etc/bank/preprod.toml")).map_err(|error| error.to_string())
}

fn refusal(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "the example has no {from}");
    parse(&GOOD.replacen(from, to, 1)).expect_err(to)
}

#[test]
fn paths_hosts_and_defaults_are_derived() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.token.pin, PinSource::File("/etc/bank/pin".into()));
    assert_eq!(config.token.env["SOFTHSM2_CONF"], "/etc/bank/softhsm2.conf");
    assert_eq!(
        config.c3.certificate,
        CertificateSource::File("/etc/bank/c3.pem".into())
    );
    assert_eq!(config.trust.anchors, Path::new("/etc/bank/tf.pem"));
    assert_eq!(config.token.sessions, 8);
    assert_eq!(
        config.hub.services[0].origin.to_string(),
        "https://cm.mybank.preprod.apihub.openfinance.ae"
    );
}

#[test]
fn a_wrong_field_is_named_with_its_line() {
    let cases = [
        ("\"preprod\"", "\"prod\"", "line 2, field `environment`"),
        ("\"mybank\"", "\"My Bank\"", "line 3, field `lfi_code`"),
        (
            "\"/usr/lib/softhsm/libsofthsm2.so\"",
            "\"libsofthsm2.so\"",
            "line 6, field `module`: write the module's absolute path",
        ),
        (
            "token=lfi-preprod",
            "slot-id=1",
            "line 7, field `uri`: slots renumber",
        ),
        ("token=lfi-preprod", "tokn=x", "`tokn` is not an attribute"),
        ("type=private", "type=public", "write type=private"),
        ("c3.pem", "pkcs11:object=c3;type=private", "type=cert"),
        (
            "[trust]",
            "[hub]\nconsent_manager = 'https://cm.mybank.apihub.openfinance.ae'\n[trust]",
            "is a host of the production environment",
        ),
        (
            "[trust]",
            "[tls]\ngroups = []\n[trust]",
            "names at least one",
        ),
        ("anchors", "anchor", "unknown field `anchor`"),
        ("[c3]", "[c4]", "unknown field `c4`"),
        (
            "[trust]",
            "[hub]\nconsent_manager = 'http://cm'\n[trust]",
            "only https",
        ),
    ];
    for (from, to, expected) in cases {
        let message = refusal(from, to);
        assert!(message.contains(expected), "{to}: {message}");
    }
}

#[test]
fn a_second_token_says_what_key_it_holds() {
    let message = refusal(
        "[c3]",
        "[[token]]\nmodule = '/x'\nuri = 'pkcs11:'\npin = 'prompt'\n[c3]",
    );
    assert!(message.contains("nor `clone = true`"), "{message}");
}

#[test]
fn each_token_that_holds_a_key_has_a_configuration_of_its_own() {
    let further = |name: &str, lines: &str| {
        format!(
            "[[token]]\nname = '{name}'\nmodule = '/{name}'\nuri = 'pkcs11:token={name}'\npin = 'none'\n{lines}\n"
        )
    };
    let own = "key = 'pkcs11:object=other'\ncertificate = 'other.pem'\npriority = 2";
    let tokens = [further("b", "clone = true\nweight = 3"), further("c", own)].concat();
    let text = GOOD
        .replace("[[token]]", "[[token]]\nname = 'a'")
        .replace("[c3]\n", &format!("{tokens}[c3]\n"));
    let config = Config::parse(&text, Path::new("/etc/bank/preprod.toml")).unwrap();
    assert_eq!(config.key_token_names(), ["a", "b", "c"]);
    let [a, b, c] = config.of_each_key_token().try_into().unwrap();
    assert_eq!([&a, &b, &c].map(Config::key_tokens), [1; 3]);
    assert_eq!([&a, &b, &c].map(|it| it.key_token), [0, 1, 2]);
    assert_eq!(b.c3.certificate, a.c3.certificate);
    assert_eq!(b.c3.key, a.c3.key);
    assert_ne!(c.c3.key, a.c3.key);
    let other = CertificateSource::File("/etc/bank/other.pem".into());
    assert_eq!(c.c3.certificate, other);
    assert_eq!([&a, &b, &c].map(|it| it.token.weight), [1, 3, 1]);
    assert_eq!([&a, &b, &c].map(|it| it.token.priority), [1, 1, 2]);
    assert!(config.of_key_token(3).is_none());
}

#[test]
fn a_pin_in_the_file_is_refused_and_not_shown() {
    for text in [
        "pin = \"874512\"",
        "pin = 874512",
        "pin = { pin = \"874512\" }",
    ] {
        let message = refusal("pin    = { file = \"pin\" }", text);
        assert!(!message.contains("874512"), "{message}");
        assert!(message.contains("line 8, field `pin`"), "{message}");
    }
    for (from, to) in [
        ("token=lfi-preprod", "token=x?pin-value=874512"),
        ("[c3]", "874512 = 'x'\n[c3]"),
        ("[c3]", "a874512 = 'x'\n[c3]"),
        ("anchors = \"tf.pem\"", "874512"),
        ("SOFTHSM2_CONF", "LD_PRELOAD = '874512', SOFTHSM2_CONF"),
        ("SOFTHSM2_CONF", "PASSWORD = 874512, SOFTHSM2_CONF"),
    ] {
        let message = refusal(from, to);
        assert!(!message.contains("874512"), "{message}");
    }
}

#[test]
fn times_have_units_and_bounds() {
    let timeout = |value: &str| {
        parse(&GOOD.replacen("[c3]\n", &format!("timeout = {value}\n[c3]\n"), 1))
            .map(|config| config.token.timeout)
    };
    assert_eq!(timeout("'250ms'"), Ok(Duration::from_millis(250)));
    assert_eq!(timeout("'2m'"), Ok(Duration::from_secs(120)));
    for bad in ["'0s'", "'5'", "5", "'9999999999999999999s'", "'2h'"] {
        assert!(timeout(bad).is_err(), "{bad}");
    }
}

#[test]
fn errors_give_no_example_numbers() {
    let listener = "[proxy]\n[[proxy.listener]]\nunix = 'a.sock'\n";
    for (lines, expected) in [
        ("group = \"www-data\"", "`getent group GROUP`"),
        ("owner = \"www-data\"", "`id -u USER`"),
        (
            "callers = { gids = [\"www-data\"] }",
            "`getent group GROUP`",
        ),
    ] {
        let text = format!("{GOOD}\n{listener}{lines}\n");
        let error = Config::parse(&text, Path::new("/etc/bank.toml")).unwrap_err();
        let text = format!("{error}; {}", error.hint());
        assert!(text.contains(expected), "{text}");
        let message = text.replace("/etc/bank.toml", "");
        let numbers = message.split(|c: char| !c.is_ascii_digit());
        // The only number is that of the line, beside "from 0 on".
        assert_eq!(
            numbers.filter(|number| !["", "0"].contains(number)).count(),
            1,
            "{text}"
        );
    }
    let text = GOOD.replacen("[c3]\n", "sessions = \"eight\"\n[c3]\n", 1);
    let error = Config::parse(&text, Path::new("/a.toml")).unwrap_err();
    assert!(
        error.hint().contains("sessions = NUMBER"),
        "{}",
        error.hint()
    );
}

proptest! {
    #[test]
    fn no_text_panics(text in ".*", at in 0..400_usize) {
        let _ = parse(&text);
        let mut broken = GOOD.to_owned();
        broken.insert_str(at.min(broken.len()), &text);
        let _ = parse(&broken);
    }
}
