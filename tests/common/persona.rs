//! SoftHSM as a family of HSMs whose behaviours are documented: chaos-token's personas, with the settings that an operator of
//! that family has. Simulated from documents.

use super::bank::{Bank, Run};
use super::chaos::Chaos;
use super::softhsm::SoftHsm;
use super::trust_framework::{Kind, write_file};

/// A family of HSMs.
#[derive(Clone, Copy, Debug)]
pub struct Persona {
    /// chaos-token's name for it.
    pub name: &'static str,
    /// What stands in `[[token]]` for it.
    token_lines: &'static str,
    pin: &'static str,
    /// A PIN of the same form that is wrong.
    wrong_pin: &'static str,
    /// The role that makes keys, where that is not the one that signs.
    key_maker: Option<&'static str>,
    /// Further arguments of `key generate`.
    generation: &'static [&'static str],
    /// The line of a plan for a device that is lost at the login, and not before.
    pub outage_at_login: &'static str,
    /// Keys are made by the vendor's tool.
    pub vendor_makes_keys: bool,
}

const PLAIN: Persona = Persona {
    name: "",
    token_lines: "",
    pin: "a passphrase",
    wrong_pin: "another one",
    key_maker: None,
    generation: &[],
    outage_at_login: "fail C_Login all CKR_TOKEN_NOT_PRESENT",
    vendor_makes_keys: false,
};

const AWS: Persona = Persona {
    name: "aws",
    token_lines: "profile = \"aws-cloudhsm\"",
    pin: "cu1:user1234",
    wrong_pin: "cu1:user4321",
    ..PLAIN
};

const AZURE_CLOUD: Persona = Persona {
    name: "azure-cloud",
    token_lines: "profile = \"azure-cloud-hsm\"",
    generation: &["--accept-claims"],
    ..AWS
};

const LUNA: Persona = Persona {
    name: "luna",
    token_lines: "profile = \"luna\"\nuser = 0x80000001",
    outage_at_login: "fail C_Login all 0x80000020",
    key_maker: Some("user"),
    ..PLAIN
};

const NETHSM: Persona = Persona {
    name: "nethsm",
    token_lines: "profile = \"nethsm\"\nidentity = \"label\"",
    outage_at_login: "fail C_Login all CKR_USER_TYPE_INVALID",
    key_maker: Some("so"),
    generation: &["--accept-claims"],
    ..PLAIN
};

const GOOGLE: Persona = Persona {
    name: "google",
    token_lines: "profile = \"google-kms\"",
    vendor_makes_keys: true,
    ..PLAIN
};

const YUBIHSM: Persona = Persona {
    name: "yubihsm",
    token_lines: "profile = \"yubihsm2\"",
    pin: "0001password",
    wrong_pin: "0001drowssap",
    ..PLAIN
};

const NSHIELD: Persona = Persona {
    name: "nshield",
    token_lines: "profile = \"nshield\"",
    ..PLAIN
};

const NSHIELD_ACCELERATOR: Persona = Persona {
    name: "nshield-accelerator",
    vendor_makes_keys: true,
    ..NSHIELD
};

const CRYPTOAUTHLIB: Persona = Persona {
    name: "cryptoauthlib",
    ..PLAIN
};

/// Every persona of chaos-token.
pub const ALL: [Persona; 9] = [
    AWS,
    AZURE_CLOUD,
    CRYPTOAUTHLIB,
    GOOGLE,
    LUNA,
    NETHSM,
    NSHIELD,
    NSHIELD_ACCELERATOR,
    YUBIHSM,
];

impl Persona {
    pub fn named(name: &str) -> Self {
        let mut all = ALL.into_iter();
        all.find(|persona| persona.name == name)
            .unwrap_or_else(|| panic!("{name} is no persona"))
    }

    /// A plan of this persona, after other lines that are looked at first.
    pub fn plan(self, lines: &str) -> String {
        format!("{lines}\npersona {}\n", self.name)
    }

    /// Whether C_Login compares PINs.
    pub fn has_pin(self) -> bool {
        !self.vendor_makes_keys
    }

    /// Whether each session has a login of its own.
    pub fn logs_in_per_session(self) -> bool {
        self.name == "nethsm"
    }

    /// A bank with an empty token of this family.
    pub fn bank(self) -> (Bank, Chaos) {
        let mut bank = Bank::with_token(Kind::Sandbox, SoftHsm::with_pin("lfi", self.pin));
        let chaos = Chaos::between(&mut bank, &self.plan(""));
        // In the configuration, so that each process of the product has them.
        let variables = chaos.environment().map(|(name, path)| {
            let path = path.to_str().expect("a plain path").to_owned();
            (name.to_owned(), path)
        });
        bank.configure(|settings| {
            settings.env = variables.into();
            settings.token_lines = self.token_lines.to_owned();
        });
        (bank, chaos)
    }

    /// `key generate` as this family's operator types it.
    pub fn generate(self, bank: &Bank, key_type: &str) -> Run {
        let source = format!("file:{}", bank.token.pin_file().display());
        let mut arguments = vec!["key", "generate", "--type", key_type];
        if let Some(role) = self.key_maker {
            arguments.extend(["--user-type", role, "--pin-source", &source]);
        }
        arguments.extend(self.generation);
        bank.run(&arguments)
    }

    /// Makes a key, has it certified and installs the certificate.
    pub fn certify(self, bank: &Bank, key_type: &str) {
        self.generate(bank, key_type).expect(0);
        install_certificate(bank);
    }

    /// Configures a PIN of the right form that is wrong.
    pub fn mistype_pin(self, bank: &mut Bank) {
        self.mistype_pin_as(bank, self.wrong_pin);
    }

    /// Configures this PIN.
    pub fn mistype_pin_as(self, bank: &mut Bank, pin: &str) {
        let wrong = bank.path("wrong-pin");
        write_file(&wrong, pin, 0o600);
        bank.configure(|settings| settings.pin = format!("{{ file = \"{}\" }}", wrong.display()));
    }
}

/// Has the token's key certified and installs the certificate.
pub fn install_certificate(bank: &Bank) {
    let leaf = bank.issue();
    let chain = bank.write("issued.pem", &(leaf + &bank.framework.issuing_pem()));
    bank.run(&["cert", "install", chain.to_str().expect("a plain path")])
        .expect(0);
}
