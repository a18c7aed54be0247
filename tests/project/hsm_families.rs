//! The families of HSMs: a configuration for each, whose header says how far it was tried, and docs/hsm.md, whose sections
//! about them are made from the table of the profiles and from those headers.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use hsm_mtls::internal::config::profile::{Family, LibraryText, Profile, ReturnValue};

use crate::common::hsm_config::{FamilyConfig, NEVER_RUN, STATUSES, root};

const PAGE: &str = "docs/hsm.md";
const BEGIN: &str = "<!-- families: begin -->\n";
const END: &str = "<!-- families: end -->";
const COMMAND: &str =
    "UPDATE_DOCS=1 cargo test --locked -p hsm-mtls-cli --test project -- hsm_families";

#[test]
fn each_profile_has_a_configuration_and_each_configuration_a_profile() {
    let configs = FamilyConfig::all();
    let mut files: Vec<_> = configs.iter().map(FamilyConfig::file_name).collect();
    let mut expected: Vec<_> = Profile::families()
        .map(|family| format!("{}.toml", family.name))
        .collect();
    files.sort();
    expected.sort();
    assert_eq!(files, expected);
    for config in configs {
        assert_eq!(config.file_name(), format!("{}.toml", config.profile));
    }
}

/// A header says one of three things, and who says "tested" names a test that is there.
#[test]
fn no_configuration_claims_a_test_that_is_not_there() {
    for config in FamilyConfig::all() {
        let name = config.file_name();
        assert!(STATUSES.contains(&config.status.as_str()), "{name}");
        assert_eq!(
            config.status == NEVER_RUN,
            config.tests.is_empty(),
            "{name}"
        );
        for (file, function) in &config.tests {
            let text = fs::read_to_string(root().join(file))
                .unwrap_or_else(|error| panic!("{name}: {file}: {error}"));
            let head = format!("#[test]\nfn {function}(");
            assert!(text.contains(&head), "{name}: {file} has no {function}");
        }
        let text = fs::read_to_string(&config.path).unwrap();
        let says = text.matches("# status: ").count();
        assert_eq!(says, 1, "{name} says its status {says} times");
    }
}

/// As it is shipped and as a copy in another folder: what is missing is named as missing, and nothing else is wrong.
#[test]
fn each_configuration_passes_config_check_wherever_it_is_copied() {
    let folder = tempfile::tempdir().unwrap();
    for config in FamilyConfig::all() {
        let name = config.file_name();
        // Some name files beside their folder, and in /tmp others could make what is missing.
        let copy = folder.path().join("copied/bank.toml");
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(&config.path, &copy).unwrap();
        for path in [&config.path, &copy] {
            let done = Command::new(env!("CARGO_BIN_EXE_hsm-mtls"))
                .arg("--config")
                .arg(path)
                .args(["config", "check"])
                .output()
                .unwrap();
            let shown = String::from_utf8(done.stdout).unwrap();
            let told = String::from_utf8(done.stderr).unwrap();
            assert_eq!(done.status.code(), Some(0), "{name}: {told}");
            assert!(told.is_empty(), "{name}: {told}");
            let profile = shown.lines().find_map(|line| {
                let row = line.trim_start().strip_prefix("profile ")?;
                Some(row.trim_start().to_owned())
            });
            let profile = profile.unwrap_or_else(|| panic!("{name}: {shown}"));
            let summary = profile.split([',', ';']).next();
            assert_eq!(summary, Some(config.profile.as_str()), "{name}");
            let family = Profile::families().find(|family| family.name == config.profile);
            for setting in settings_of(family.unwrap()) {
                assert!(profile.contains(&setting), "{name}: {profile}");
            }
        }
    }
}

/// Without `profile`, the module of a configuration tells the same family, but DPoD's, which is Luna's.
#[test]
fn the_module_of_each_configuration_tells_its_family() {
    for config in FamilyConfig::all() {
        let module = config.token.iter().find(|(name, _)| name == "module");
        let (_, module) = module.unwrap();
        let told = Profile::of_module(module.trim_matches('"').as_ref());
        let expected = match config.profile.as_str() {
            "dpod" => "luna",
            name => name,
        };
        assert_eq!(told.map(Profile::name), Some(expected), "{module}");
    }
}

#[test]
fn the_readme_names_each_profile() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, rest) = readme.split_once("# profile = ").expect("its row");
    let row: String = rest.lines().take(5).collect();
    let words: Vec<_> = row
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .collect();
    for name in Profile::names() {
        assert!(words.contains(&name), "{name}: {row}");
    }
}

#[test]
fn the_docs_are_made_from_the_table_and_the_headers() {
    let path = root().join(PAGE);
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the begin of the families");
    let (sections, after) = rest.split_once(END).expect("their end");
    let made = sections_of(&FamilyConfig::all());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{made}{END}{after}")).unwrap();
        return;
    }
    assert!(
        sections == made,
        "{PAGE} is not what the table says: {COMMAND}"
    );
}

fn settings_of(family: &Family) -> Vec<String> {
    let call = family.keep_alive_call;
    let call = call.map(|call| format!("keep_alive_call = \"{}\"", call.name()));
    let session = family.session;
    let session = session.map(|session| format!("session = \"{}\"", session.name()));
    call.into_iter().chain(session).collect()
}

fn sections_of(configs: &[FamilyConfig]) -> String {
    let config_of = |family: &Family| {
        let of = |config: &&FamilyConfig| config.profile == family.name;
        configs.iter().find(of).expect("its configuration")
    };
    let mut page = String::from("\n| profile | HSM or token | tried |\n|---|---|---|\n");
    for family in Profile::families() {
        let config = config_of(family);
        let anchor = format!("profile-{}", family.name);
        writeln!(
            page,
            "| [`{}`](#{anchor}) | {} | {} |",
            family.name, family.title, config.status
        )
        .unwrap();
    }
    for family in Profile::families() {
        page.push_str(&section(family, config_of(family)));
    }
    page.push('\n');
    page
}

fn section(family: &Family, config: &FamilyConfig) -> String {
    let mut page = format!("\n### Profile {}\n\n", family.name);
    let mut row = |name: &str, text: String| {
        writeln!(page, "- **{name}**: {text}").unwrap();
    };
    row("HSM or token", family.title.to_owned());
    row("tried", tried(config));
    let file = config.file_name();
    row(
        "configuration",
        format!("[hsm-config/{file}](../hsm-config/{file})"),
    );
    row("told by", told_by(family));
    let sets = settings_of(family);
    row(
        "the profile sets",
        code_list(&sets).unwrap_or_else(|| "nothing".to_owned()),
    );
    let further = ["module", "uri", "pin", "state_dir", "profile", "sessions"];
    let settings = config.token.iter();
    let settings: Vec<_> = settings
        .filter(|(name, _)| !further.contains(&name.as_str()))
        .map(|(name, value)| format!("{name} = {value}"))
        .collect();
    if let Some(settings) = code_list(&settings) {
        row("further settings of that file", settings);
    }
    for fact in family.facts {
        writeln!(page, "- {} ({})", fact.text, fact.source).unwrap();
    }
    page.push_str(&return_values(family));
    page
}

/// The table of the return values: those that mean the same are one row. A family with another's values refers to it.
fn return_values(family: &Family) -> String {
    let [first, ..] = family.return_values else {
        return String::new();
    };
    let has_them = |other: &&Family| std::ptr::eq(other.return_values, family.return_values);
    let owner = Profile::families().find(has_them).unwrap();
    if owner.profile != family.profile {
        return format!(
            "\nReturn values: [those of `{0}`](#profile-{0}).\n",
            owner.name
        );
    }
    let mut table =
        String::from("\n| return value | meaning | next step | source |\n|---|---|---|---|\n");
    let mut row = (String::new(), first);
    let mut finish = |(ranges, value): (String, &ReturnValue)| {
        let (meaning, advice, source) = (value.meaning.name(), value.advice, value.source);
        writeln!(table, "| {ranges} | {meaning} | {advice} | {source} |").unwrap();
    };
    for value in family.return_values {
        let alike = value.meaning == row.1.meaning
            && value.advice == row.1.advice
            && value.source == row.1.source;
        if row.0.is_empty() {
            row = (range(value), value);
        } else if alike {
            row.0.push_str(", ");
            row.0.push_str(&range(value));
        } else {
            finish(std::mem::replace(&mut row, (range(value), value)));
        }
    }
    finish(row);
    table
}

fn tried(config: &FamilyConfig) -> String {
    let tests = config.tests.iter();
    let tests: Vec<_> = tests
        .map(|(file, function)| format!("`{function}` in `{file}`"))
        .collect();
    match tests[..] {
        [] => config.status.clone(),
        _ => format!("{} ({})", config.status, tests.join(", ")),
    }
}

fn told_by(family: &Family) -> String {
    let names = family.file_names.iter().map(|name| format!("`{name}*`"));
    let names: Vec<_> = names.collect();
    let mut told = match names[..] {
        [] => "no file name: the configuration alone".to_owned(),
        _ => format!(
            "the module's file name {}, in any letter case",
            names.join(", ")
        ),
    };
    for LibraryText {
        manufacturer,
        description,
        source,
    } in family.library
    {
        let parts = [
            ("manufacturerID", manufacturer),
            ("libraryDescription", description),
        ];
        let parts = parts.iter().filter(|(_, text)| !text.is_empty());
        let parts: Vec<_> = parts
            .map(|(name, text)| format!("{name} `{text}...`"))
            .collect();
        write!(told, "; C_GetInfo: {} ({source})", parts.join(" and ")).unwrap();
    }
    told
}

fn range(value: &ReturnValue) -> String {
    let name = |number: u64| match number {
        0x31 => "CKR_DEVICE_MEMORY".to_owned(),
        0xa3 => "CKR_PIN_EXPIRED".to_owned(),
        0x103 => "CKR_USER_TYPE_INVALID".to_owned(),
        number => format!("{number:#010x}"),
    };
    match value.first == value.last {
        true => name(value.first),
        false => format!("{} to {}", name(value.first), name(value.last)),
    }
}

fn code_list(items: &[String]) -> Option<String> {
    let items: Vec<_> = items.iter().map(|item| format!("`{item}`")).collect();
    (!items.is_empty()).then(|| items.join(", "))
}
