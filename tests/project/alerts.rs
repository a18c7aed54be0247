//! The alert rules that the documentation recommends name metrics that there are, with labels that they have.

use std::fs;
use std::path::Path;

use hsm_mtls::metrics;

/// The rules, as the page has them.
fn rules() -> String {
    let page = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md"));
    let page = fs::read_to_string(page).unwrap();
    let rules = page
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    rules.expect("rules").to_owned()
}

#[test]
fn each_rule_is_about_a_metric_that_there_is() {
    let proxy = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/proxy.md"));
    // Held against the proxy's own list by a test of the proxy.
    let proxy = fs::read_to_string(proxy).unwrap();
    let rules = rules();
    let expressions: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "))
        .collect();
    assert!(expressions.len() >= 10, "{expressions:?}");
    for expression in expressions {
        let begin = expression
            .find("hsm_mtls_")
            .unwrap_or_else(|| panic!("{expression}"));
        let rest = &expression[begin..];
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
        let (name, rest) = rest.split_at(end.unwrap());
        let base = name.strip_suffix("_count").unwrap_or(name);
        let label = rest
            .strip_prefix('{')
            .and_then(|rest| rest.split('=').next());
        let labels = match metrics::ALL.iter().find(|metric| metric.name == base) {
            Some(metric) => metric.labels.join(", "),
            None => {
                let row = proxy
                    .lines()
                    .find(|line| line.starts_with(&format!("| `{base}` |")));
                let row = row.unwrap_or_else(|| panic!("there is no {base}"));
                row.split('|').nth(3).unwrap().trim().to_owned()
            }
        };
        let has = |label: &str| labels.split(", ").any(|known| known == label);
        assert!(label.is_none_or(has), "{name} has {labels}, not {label:?}");
    }
}

/// An alert without its severity reaches nobody, and one without advice helps nobody.
#[test]
fn each_rule_has_its_parts() {
    let rules = rules();
    let blocks: Vec<_> = rules.split("  - alert: ").skip(1).collect();
    for block in &blocks {
        for part in [
            "    expr: ",
            "    labels: { severity: ",
            "    annotations: { do: \"",
        ] {
            assert_eq!(block.matches(part).count(), 1, "{part}: {block}");
        }
    }
    assert!(blocks.iter().any(|block| block.contains("< 60")), "{rules}");
}
