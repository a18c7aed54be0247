//! Families of tokens at or in the host: a USB HSM, a TPM, chips, software tokens. The tests run several of them.

use super::family::{CKR_DEVICE_MEMORY, Fact, Family, LibraryText, Meaning, ReturnValue, Source};
use super::{DeviceState, KeepAliveCall, Profile};

const YUBIHSM_CODE: Source = Source::VendorCode("Yubico/yubihsm-shell, pkcs11");
const CRYPTOAUTHLIB_CODE: Source = Source::VendorCode("MicrochipTech/cryptoauthlib, lib/pkcs11");
const OPENCRYPTOKI: Source = Source::Seen("openCryptoki 3.8.1, soft token");
const TPM2: Source = Source::Seen("tpm2-pkcs11 1.9, swtpm and tpm2-abrmd");
const NSS: Source = Source::Seen("NSS softokn 3.87");
const SOFTHSM: Source = Source::Seen("SoftHSM 2.6.1");
const KRYOPTIC_CODE: Source = Source::VendorCode("latchset/kryoptic 1.5.4");
const P11_KIT: Source = Source::Seen("p11-kit 0.24");

pub(super) static FAMILIES: [Family; 8] = [
    Family {
        profile: Profile::YubiHsm2,
        name: "yubihsm2",
        title: "YubiHSM 2",
        file_names: &["yubihsm_pkcs11"],
        library: &[LibraryText {
            manufacturer: "Yubico",
            description: "YubiHSM",
            source: YUBIHSM_CODE,
        }],
        session: None,
        // It answers C_GetSessionInfo by itself, while the device's session has ended.
        keep_alive_call: Some(KeepAliveCall::Random),
        return_values: &[ReturnValue {
            first: CKR_DEVICE_MEMORY,
            last: CKR_DEVICE_MEMORY,
            meaning: Meaning::State(DeviceState::AuditLogFull),
            advice: "the YubiHSM's log of 62 entries may be full: fetch it, and set its log index",
            source: YUBIHSM_CODE,
        }],
        facts: &[
            Fact {
                text: "C_GetSessionInfo is answered without asking the device; C_GenerateRandom and C_FindObjectsInit reach it.",
                source: YUBIHSM_CODE,
            },
            Fact {
                text: "The PIN is the id of the authentication key in four hexadecimal digits, and its password: `0001password`.",
                source: Source::Vendor("YubiHSM 2 User Guide"),
            },
            Fact {
                text: "With force-audit, a full log of 62 entries blocks every command.",
                source: Source::Vendor(""),
            },
            Fact {
                text: "CKA_ALWAYS_SENSITIVE is constantly true, and CKA_NEVER_EXTRACTABLE means \"not exportable under wrap\".",
                source: YUBIHSM_CODE,
            },
        ],
    },
    Family {
        profile: Profile::Tpm2,
        name: "tpm2",
        title: "TPM 2.0 (tpm2-pkcs11)",
        file_names: &["libtpm2_pkcs11"],
        library: &[LibraryText {
            manufacturer: "tpm2-software.github.io",
            description: "TPM2.0 Cryptoki",
            source: Source::VendorCode("tpm2-software/tpm2-pkcs11, src/lib/general.c"),
        }],
        session: None,
        keep_alive_call: None,
        return_values: &[],
        facts: &[
            Fact {
                text: "A token that C_InitToken made has no RSA-PSS, and so no TLS 1.3 with RSA keys: make it with `tpm2_ptool`.",
                source: TPM2,
            },
            Fact {
                text: "CKA_DECRYPT and CKA_ENCRYPT are refused in templates; `key generate` finds that out.",
                source: TPM2,
            },
        ],
    },
    Family {
        profile: Profile::OpenCryptoki,
        name: "opencryptoki",
        title: "openCryptoki",
        file_names: &["libopencryptoki", "pkcs11_api.so"],
        library: &[LibraryText {
            manufacturer: "IBM",
            description: "Meta PKCS11",
            source: OPENCRYPTOKI,
        }],
        session: None,
        keep_alive_call: None,
        return_values: &[],
        facts: &[
            Fact {
                text: "The daemon pkcsslotd has to run, and the user has to be in the group pkcs11.",
                source: OPENCRYPTOKI,
            },
            Fact {
                text: "PINs have 4 to 8 characters. There is no CKA_COPYABLE.",
                source: OPENCRYPTOKI,
            },
        ],
    },
    Family {
        profile: Profile::Nss,
        name: "nss",
        title: "NSS softokn",
        file_names: &["libsoftokn3"],
        library: &[LibraryText {
            manufacturer: "Mozilla Foundation",
            description: "NSS",
            source: NSS,
        }],
        session: None,
        keep_alive_call: None,
        return_values: &[],
        facts: &[
            Fact {
                text: "C_Initialize wants a string: `initialize`. Without it, it returns CKR_ARGUMENTS_BAD.",
                source: NSS,
            },
            Fact {
                text: "Keys that it made itself do not say CKA_LOCAL.",
                source: NSS,
            },
        ],
    },
    Family {
        profile: Profile::SoftHsm,
        name: "softhsm",
        title: "SoftHSM2",
        file_names: &["libsofthsm2"],
        library: &[LibraryText {
            manufacturer: "SoftHSM",
            description: "",
            source: SOFTHSM,
        }],
        session: None,
        keep_alive_call: None,
        return_values: &[],
        facts: &[Fact {
            text: "It is for development and CI: keys are files, and no number of wrong PINs locks it.",
            source: SOFTHSM,
        }],
    },
    Family {
        profile: Profile::Kryoptic,
        name: "kryoptic",
        title: "kryoptic",
        file_names: &["libkryoptic"],
        library: &[LibraryText {
            manufacturer: "Kryoptic",
            description: "",
            source: KRYOPTIC_CODE,
        }],
        session: None,
        keep_alive_call: None,
        return_values: &[],
        facts: &[Fact {
            text: "It counts wrong PINs and locks, as an HSM does.",
            source: Source::Seen("kryoptic 1.5.4"),
        }],
    },
    Family {
        profile: Profile::P11Kit,
        name: "p11-kit",
        title: "p11-kit, remote module",
        file_names: &["p11-kit-client", "p11-kit-proxy"],
        library: &[LibraryText {
            manufacturer: "PKCS#11 Kit",
            description: "",
            source: P11_KIT,
        }],
        session: None,
        keep_alive_call: None,
        return_values: &[],
        facts: &[
            Fact {
                text: "What differs is the module's at the other end: `profile` names that one's family.",
                source: Source::Inference,
            },
            Fact {
                text: "CKM_RSA_PKCS_PSS is passed on, CKM_SHA256_RSA_PKCS_PSS is not; hashes are made here, so nothing is missing.",
                source: P11_KIT,
            },
            Fact {
                text: "Anybody who may open the socket may try PINs: give it a folder that only this user may enter.",
                source: Source::Inference,
            },
        ],
    },
    Family {
        profile: Profile::Cryptoauthlib,
        name: "cryptoauthlib",
        title: "Microchip CryptoAuthLib (ATECC608)",
        file_names: &["libcryptoauth"],
        library: &[LibraryText {
            manufacturer: "Microchip Technology",
            description: "Cryptoauthlib",
            source: CRYPTOAUTHLIB_CODE,
        }],
        session: None,
        keep_alive_call: None,
        return_values: &[],
        facts: &[
            Fact {
                text: "The chip has P-256 keys only, in slots that its configuration fixes: the scheme documents RSA-2048, so ask before one is used.",
                source: Source::Inference,
            },
            Fact {
                text: "Exhausted sessions return CKR_HOST_MEMORY: keep `sessions` small.",
                source: CRYPTOAUTHLIB_CODE,
            },
        ],
    },
];
