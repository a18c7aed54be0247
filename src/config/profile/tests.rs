//! The choice of a profile, and the table of the families.

use super::*;
use crate::config::Config;

type Failure = Box<dyn std::error::Error>;

fn choice(
    module: &str,
    lines: &str,
    library: Option<(&str, &str)>,
) -> Result<(ProfileChoice, String), Failure> {
    let text = format!(
        "environment = 'preprod'\nlfi_code = 'a'\n[[token]]\nmodule = '{module}'\nuri = 'pkcs11:token=a'\n\
         pin = 'prompt'\n{lines}\n[c3]\nkey = 'pkcs11:object=a'\ncertificate = 'c'\n\
         [trust]\nmode = 'public'\nanchors = 'a'\n"
    );
    let config = Config::parse(&text, Path::new("/a.toml"))?.token;
    let library = library.map(|(manufacturer, description)| LibraryInfo {
        manufacturer,
        description,
    });
    let choice = config.profile(library);
    let calls = (choice.session(&config), choice.keep_alive_call(&config));
    Ok((choice, format!("{calls:?} {}", choice.summary(&config))))
}

const LUNA: Option<(&str, &str)> = Some(("SafeNet", "Chrystoki"));
const SOFTHSM: Option<(&str, &str)> = Some(("SoftHSM", "Implementation of PKCS11"));
const P11_KIT: Option<(&str, &str)> = Some(("PKCS#11 Kit", "PKCS#11 Kit Proxy Module"));
const UTIMACO: Option<(&str, &str)> = Some(("Utimaco IS GmbH", "CryptoServer PKCS11"));

#[test]
fn a_family_is_told_by_the_modules_file_name() {
    for (path, profile) in [
        (
            "/usr/safenet/lunaclient/lib/libCryptoki2_64.so",
            Some(Profile::Luna),
        ),
        (
            "/opt/nfast/toolkits/pkcs11/libcknfast.so",
            Some(Profile::Nshield),
        ),
        ("/usr/lib/libcs_pkcs11_R3.so", Some(Profile::Utimaco)),
        (
            "/opt/cloudhsm/lib/libcloudhsm_pkcs11.so",
            Some(Profile::AwsCloudhsm),
        ),
        (
            "/opt/azurecloudhsm/lib64/libazcloudhsm_pkcs11.so",
            Some(Profile::AzureCloudHsm),
        ),
        ("/usr/lib/softhsm/libsofthsm2.so", Some(Profile::SoftHsm)),
        ("/usr/lib/opensc-pkcs11.so", None),
        ("/opt/luna/pkcs11.so", None),
    ] {
        assert_eq!(Profile::of_module(Path::new(path)), profile, "{path}");
    }
}

/// No beginning of a family is one of another's: which family is told would be a matter of the table's order.
#[test]
fn no_two_families_are_told_alike() {
    let families: Vec<_> = Profile::families().collect();
    for (index, family) in families.iter().enumerate() {
        for other in &families[index + 1..] {
            assert_ne!(family.name, other.name);
            assert_ne!(family.profile, other.profile);
            for (one, two) in family
                .file_names
                .iter()
                .flat_map(|one| other.file_names.iter().map(move |two| (one, two)))
            {
                assert!(
                    !one.starts_with(two) && !two.starts_with(one),
                    "{one} {two}"
                );
            }
            for text in family.library {
                let library = LibraryInfo {
                    manufacturer: text.manufacturer,
                    description: text.description,
                };
                assert_eq!(Profile::of_library(library), Some(family.profile));
            }
        }
        for name in family.file_names {
            assert_eq!(*name, name.to_lowercase());
        }
    }
}

#[test]
fn names_are_those_of_the_configuration() -> Result<(), Failure> {
    for name in Profile::names() {
        let read: Profile = serde_json::from_str(&format!("\"{name}\""))?;
        assert_eq!(read.name(), name);
    }
    for wrong in ["\"Luna\"", "\"\"", "\"thales\"", "7", "[]"] {
        let refused = serde_json::from_str::<Profile>(wrong);
        let Err(error) = refused else {
            return Err(format!("{wrong} was read").into());
        };
        assert!(error.to_string().contains("google-kms"), "{error}");
    }
    Ok(())
}

/// What is configured comes before the file name, and that before C_GetInfo.
#[test]
fn the_configuration_comes_before_the_module() -> Result<(), Failure> {
    let of = |module, lines, library| choice(module, lines, library).map(|(choice, _)| choice);
    let luna = "/opt/libCryptoki2.so";
    let told = of(luna, "profile = 'nethsm'", SOFTHSM)?;
    assert_eq!(
        (told.profile, told.origin),
        (Profile::Nethsm, ProfileOrigin::Configured)
    );
    let told = of(luna, "", LUNA)?;
    assert_eq!(
        (told.profile, told.origin, told.contradiction),
        (Profile::Luna, ProfileOrigin::FileName, None)
    );
    let told = of("/opt/p11.so", "", LUNA)?;
    assert_eq!(
        (told.profile, told.origin),
        (Profile::Luna, ProfileOrigin::LibraryInfo)
    );
    for (library, asked) in [
        (None, false),
        (Some(("", "")), true),
        (Some(("Acme", "SafeNet Chrystoki")), true),
    ] {
        let told = of("/opt/p11.so", "", library)?;
        assert_eq!(told.profile, Profile::Standard);
        assert_eq!(told.origin, ProfileOrigin::Nothing { asked });
    }
    Ok(())
}

/// A module's own text never makes the PIN guard send a PIN again.
#[test]
fn only_the_configuration_lifts_a_refusal() -> Result<(), Failure> {
    for (module, lines, library, lifts) in [
        ("/opt/libCryptoki2.so", "", None, true),
        ("/opt/libCryptoki2.so", "", LUNA, true),
        ("/opt/libCryptoki2.so", "", SOFTHSM, false),
        ("/opt/p11.so", "", LUNA, false),
        ("/opt/p11.so", "profile = 'luna'", SOFTHSM, true),
        ("/opt/p11.so", "profile = 'luna'", P11_KIT, true),
        // Copied from the configuration of another HSM.
        ("/opt/p11.so", "profile = 'luna'", UTIMACO, false),
        ("/opt/libCryptoki2.so", "profile = 'dpod'", LUNA, true),
        ("/opt/p11.so", "", None, false),
    ] {
        let (choice, summary) = choice(module, lines, library)?;
        assert_eq!(choice.lifts_refusals(), lifts, "{summary}");
        let next = match lines {
            "" => "if this is right, write `profile = \"luna\"`",
            _ => "correct `profile`",
        };
        let warns = summary.contains(&format!("still counts as a refused PIN: {next}"));
        assert_eq!(
            warns,
            choice.profile == Profile::Luna && !lifts,
            "{summary}"
        );
    }
    Ok(())
}

/// p11-kit passes on what the module behind it says of itself, and DPoD's module is Luna's.
#[test]
fn what_is_no_contradiction_is_none() -> Result<(), Failure> {
    for (module, lines, library) in [
        ("/usr/lib/p11-kit-client.so", "", SOFTHSM),
        ("/opt/libCryptoki2.so", "profile = 'dpod'", LUNA),
    ] {
        let (choice, summary) = choice(module, lines, library)?;
        assert_eq!(choice.contradiction, None, "{summary}");
    }
    let (_, summary) = choice("/opt/libCryptoki2.so", "", SOFTHSM)?;
    assert!(
        summary.contains("; C_GetInfo tells softhsm; an outage"),
        "{summary}"
    );
    Ok(())
}

#[test]
fn what_a_family_sets_is_said_unless_it_is_written() -> Result<(), Failure> {
    let yubico = Some(("Yubico (www.yubico.com)", "YubiHSM PKCS#11 Library"));
    for (module, lines, library, shown) in [
        (
            "/opt/p11.so",
            "",
            yubico,
            "(Auto, Random) yubihsm2, by manufacturerID and libraryDescription of C_GetInfo; keep_alive_call = \"random\"; \
             an outage at the login still counts as a refused PIN: if this is right, write `profile = \"yubihsm2\"`",
        ),
        (
            "/opt/p11.so",
            "keep_alive_call = 'find'\nprofile = 'yubihsm2'",
            yubico,
            "(Auto, Find) yubihsm2, as configured",
        ),
        (
            "/opt/libcloudhsm_pkcs11.so",
            "",
            None,
            "(ReadWrite, SessionInfo) aws-cloudhsm, by the module's file name; session = \"read-write\"",
        ),
        (
            "/opt/libcloudhsm_pkcs11.so",
            "session = 'auto'",
            None,
            "(Auto, SessionInfo) aws-cloudhsm, by the module's file name",
        ),
        (
            "/opt/libkmsp11.so",
            "",
            None,
            "(Auto, None) google-kms, by the module's file name; keep_alive_call = \"none\"",
        ),
    ] {
        let (_, summary) = choice(module, lines, library)?;
        assert_eq!(summary, shown);
    }
    Ok(())
}

#[test]
fn each_return_value_has_a_range_and_advice() {
    for family in Profile::families() {
        for value in family.return_values {
            let good = value.first <= value.last && !value.advice.is_empty();
            assert!(good && !value.advice.ends_with('.'), "{value:?}");
        }
        for fact in family.facts {
            assert!(fact.text.ends_with('.'), "{fact:?}");
        }
    }
}
