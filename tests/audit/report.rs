//! The forms of the report: JSON as its schema has it, a page that fetches and runs nothing, and the
//! documents that are made from the rules.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::bank::Bank;
use crate::common::json_schema::validate;
use hsm_mtls_cli::audit::{rule, rules};

fn docs(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .join("docs")
        .join(name)
}

const SCHEMA: &str = "audit.schema.json";

#[test]
fn json_is_as_its_schema_has_it() {
    let mut bank = Bank::new();
    let checked = |bank: &Bank, arguments: &[&str], code| {
        let run = bank.run(arguments).expect(code);
        let valid = validate(bank, SCHEMA, "report.json", &run.stdout);
        assert!(valid.status.success(), "{arguments:?}: {valid:?}");
        run
    };
    // Nothing there at all; a key; a certificate; trials; a ledger; a PIN that is not to be had.
    checked(&bank, &["audit", "--json"], 2);
    bank.certify("rsa-2048");
    let whole = checked(&bank, &["audit", "--json"], 1);
    checked(
        &bank,
        &["audit", "--active", "--profile", "production", "--json"],
        1,
    );
    bank.configure(|settings| {
        settings.sections = "[ledger]\nfile = \"uses.jsonl\"\nfsync = \"interval\"\n".to_owned();
    });
    checked(&bank, &["audit", "--profile", "development", "--json"], 0);
    bank.configure(|settings| settings.pin = "{ file = \"no-such-file\" }".to_owned());
    checked(&bank, &["audit", "--json"], 4);

    // The validator does look.
    let mut wrong = whole.json();
    wrong["subjects"][0]["judgements"][0]["verdict"] = "perhaps".into();
    let invalid = validate(&bank, SCHEMA, "wrong.json", &wrong.to_string());
    assert!(!invalid.status.success(), "{invalid:?}");
}

#[test]
fn each_rule_is_judged_once() {
    let bank = Bank::new();
    bank.certify("rsa-2048");
    let report = bank.run(&["audit", "--json"]).expect(1).json();
    let of = |made: &serde_json::Value| {
        let made = made.as_array().unwrap().iter();
        made.map(|made| made["rule"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let judged = [
        of(&report["subjects"][0]["judgements"]),
        of(&report["environments"]),
    ];
    // Without [sig4] there is nothing that could be apart.
    let all = rules::all().filter(|rule| rule.id != "key.apart");
    let all: Vec<_> = all.map(|rule| rule.id.to_owned()).collect();
    assert_eq!(judged.concat(), all, "in the order of the rules");
}

#[test]
fn the_page_fetches_nothing_and_runs_nothing() {
    let mut bank = Bank::new();
    // A label is text of somebody else's.
    let label = "<script>alert(1)</script>\"&'";
    bank.run(&["key", "generate", "--label", label]).expect(0);
    bank.configure(|settings| {
        settings.key = "pkcs11:type=private".to_owned();
        settings.sections = "[ledger]\nfile = \"uses.jsonl\"\nfsync = \"interval\"\n\
             [audit]\nbackup = \"<img src=x onerror=alert(1)>\"\n"
            .to_owned();
    });
    bank.run(&["csr"]).expect(0);
    let file = bank.path("report.html");
    bank.run(&["audit", "--html", file.to_str().unwrap()])
        .expect(1);
    let page = fs::read_to_string(&file).unwrap();
    assert!(page.contains("default-src 'none'"), "{page}");
    let lower = page.to_lowercase();
    for fetched in [
        "<script",
        "<img",
        "<link",
        "<iframe",
        "<object",
        "<embed",
        "<form",
        "<a ",
        "src=",
        "href=",
        "@import",
        "http-equiv=\"refresh\"",
        "javascript:",
    ] {
        // As text it is written otherwise: `<` is `&lt;`.
        let text = ["src=x onerror"]
            .iter()
            .any(|known| known.starts_with(fetched));
        let found = lower.matches(fetched).count();
        let expected = if text {
            lower.matches("src=x onerror").count()
        } else {
            0
        };
        assert_eq!(found, expected, "{fetched}");
    }
    assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;"));
    // What is fetched by a style would stand behind url(: only the patterns of the chart do.
    assert_eq!(
        lower.matches("url(").count(),
        lower.matches("url(#p").count()
    );
    let urls: Vec<_> = lower.match_indices("://").collect();
    // The name space of SVG is a name, and not fetched.
    assert_eq!(
        urls.len(),
        lower.matches("http://www.w3.org/2000/svg").count()
    );
    assert!(!page.contains("key.apart"), "there is no [sig4]");
    let of_one_key =
        |rule: &&rule::Rule| rule.category() != "environments" && rule.id != "key.apart";
    for rule in rules::all().filter(of_one_key) {
        assert!(page.contains(rule.id), "{} is missing", rule.id);
    }
    // The answer comes before all else.
    let at = |text: &str| {
        page.find(text)
            .unwrap_or_else(|| panic!("{text} is missing"))
    };
    assert!(at("THERE IS NO HSM") < at("how grave"));
    assert!(at("how grave") < at("key.readable"));
    assert!(at("Uses of the key per day") < page.len());
}

/// Printed: a word is broken where it has a joint and nowhere else, and no page is begun for a few lines.
#[test]
fn the_printed_page_breaks_no_word() {
    let bank = Bank::new();
    bank.run(&["key", "generate"]).expect(0);
    let file = bank.path("report.html");
    bank.run(&["audit", "--html", file.to_str().unwrap()])
        .expect(1);
    let page = fs::read_to_string(&file).unwrap();
    let (style, body) = page.split_once("</style>").unwrap();
    for broken in [
        "overflow-wrap: anywhere",
        "word-break",
        "hyphens: auto",
        "break-before: page",
        "break-after: page",
    ] {
        assert!(!style.contains(broken), "{broken}");
    }
    assert!(style.contains(".whole, td:first-child > code { white-space: nowrap; }"));
    assert!(style.contains("h1, h2 { break-after: avoid; }"));
    // A browser breaks a word behind a hyphen.
    assert!(
        body.contains("<span class=\"whole\">--active</span>"),
        "{body}"
    );
    let hash = body.split("SHA-256 of the module").nth(1).unwrap();
    let hash = hash
        .split_once("<td>")
        .unwrap()
        .1
        .split_once("</td>")
        .unwrap()
        .0;
    let parts: Vec<_> = hash.split("<wbr>").collect();
    assert_eq!(parts.concat().len(), "sha256:".len() + 64, "{hash}");
    assert_eq!(
        parts.iter().map(|part| part.len()).max(),
        Some(16),
        "{hash}"
    );
}

#[test]
fn the_page_of_a_file_that_cannot_be_written_is_an_error_before_any_login() {
    let mut bank = Bank::new();
    bank.configure(|settings| settings.pin = "{ file = \"no-such-file\" }".to_owned());
    let run = bank
        .run(&["audit", "--html", "/no/such/folder/report.html"])
        .expect(2);
    assert!(
        run.stderr.contains("/no/such/folder/report.html"),
        "{run:?}"
    );
}

#[test]
fn the_table_of_the_docs_is_that_of_the_rules() {
    let path = docs("audit-rules.md");
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- rules: begin -->\n", "<!-- rules: end -->");
    let (before, rest) = text.split_once(begin).unwrap();
    let (table, after) = rest.split_once(end).unwrap();
    let made = format!("\n{}", rule::table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{before}{begin}{made}{end}{after}")).unwrap();
        return;
    }
    assert!(
        table == made,
        "docs/audit-rules.md is not what the rules say: UPDATE_DOCS=1 cargo test --test audit report"
    );
}
