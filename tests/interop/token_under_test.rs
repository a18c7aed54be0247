//! The tokens: each is an empty one that was made for the run, with a bank that is configured for it.

use std::any::Any;

use crate::common::bank::Bank;
use crate::common::kryoptic_token::KryopticToken;
use crate::common::nss_token::NssToken;
use crate::common::opencryptoki::OpenCryptoki;
use crate::common::remote_token::RemoteToken;
use crate::common::tpm_token::TpmToken;
use crate::version::{locked_crate, packages};

pub struct TokenUnderTest {
    /// As the page calls it.
    pub name: &'static str,
    /// What was installed.
    pub version: String,
    pub bank: Bank,
    // Ends with it.
    _token: Box<dyn Any>,
}

impl TokenUnderTest {
    pub fn softhsm() -> Self {
        Self::of("SoftHSM", packages(&["softhsm2"]), |_| ())
    }

    pub fn p11_kit() -> Self {
        let version = packages(&["p11-kit", "p11-kit-modules", "softhsm2"]);
        Self::of("p11-kit remote", version, RemoteToken::of)
    }

    pub fn kryoptic() -> Self {
        let version = packages(&["libssl3", "libsqlite3-0"]);
        let version = format!(
            "kryoptic {} with {version}",
            locked_crate("tests/interop/kryoptic", "kryoptic")
        );
        Self::of("kryoptic", version, |bank| {
            let token = KryopticToken::new();
            token.configure(bank);
            token
        })
    }

    /// In the namespaces of this process.
    pub fn opencryptoki(token: OpenCryptoki) -> Self {
        Self::of("openCryptoki", packages(&["opencryptoki"]), |bank| {
            token.configure(bank);
            token
        })
    }

    pub fn tpm2() -> Self {
        let version = packages(&[
            "libtpm2-pkcs11-1",
            "swtpm",
            "tpm2-abrmd",
            "libtss2-tcti-tabrmd0",
        ]);
        Self::of("TPM 2.0", version, |bank| {
            let token = TpmToken::new();
            token.configure(bank);
            token
        })
    }

    pub fn nss_softokn() -> Self {
        Self::of("NSS softokn", packages(&["libnss3"]), |bank| {
            let token = NssToken::new();
            token.configure(bank);
            token
        })
    }

    fn of<Token: 'static>(
        name: &'static str,
        version: String,
        token: impl FnOnce(&mut Bank) -> Token,
    ) -> Self {
        let mut bank = Bank::new();
        let token = Box::new(token(&mut bank));
        Self {
            name,
            version,
            bank,
            _token: token,
        }
    }
}
