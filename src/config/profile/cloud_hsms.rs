//! Families of HSMs that are a cloud's service: nobody here has had one of them in hand.

use super::family::{CKR_PIN_EXPIRED, Fact, Family, LibraryText, Meaning, ReturnValue, Source};
use super::{KeepAliveCall, Profile, SessionMode};

const AWS_ISSUES: Source = Source::Vendor(
    "AWS CloudHSM User Guide, Known issues for the PKCS #11 library for AWS CloudHSM",
);
const AZURE_GUIDE: Source = Source::Vendor("Azure Cloud HSM PKCS#11 Integration Guide");
const AZURE_DOCUMENTED: Source = Source::Vendor("");
const MANAGED_HSM: Source =
    Source::Vendor("Azure Managed HSM TLS Offload Library, README and GET_STARTED");
const KMSP11_GUIDE: Source = Source::Vendor("PKCS #11 Library for Cloud KMS User Guide");
const KMSP11_CODE: Source = Source::VendorCode("GoogleCloudPlatform/kms-integrations, kmsp11");
const FORTANIX_GUIDE: Source = Source::Vendor("Fortanix DSM, Clients: PKCS#11 Library");

pub(super) static FAMILIES: [Family; 5] = [
    Family {
        profile: Profile::AwsCloudhsm,
        name: "aws-cloudhsm",
        title: "AWS CloudHSM, Client SDK 5",
        file_names: &["libcloudhsm_pkcs11"],
        library: &[],
        session: Some(SessionMode::ReadWrite),
        keep_alive_call: None,
        return_values: &[],
        facts: &[
            Fact {
                text: "Read-only sessions are not supported: C_OpenSession without CKF_RW_SESSION returns CKR_FUNCTION_FAILED.",
                source: AWS_ISSUES,
            },
            Fact {
                text: "The PIN is `user:password` of a crypto user.",
                source: Source::Vendor(
                    "AWS CloudHSM User Guide, Authenticate to the PKCS #11 library",
                ),
            },
            Fact {
                text: "Throttling shows as CKR_DEVICE_ERROR.",
                source: AWS_ISSUES,
            },
            Fact {
                text: "CKA_PRIVATE may only be TRUE, of public keys too, and templates name no CKA_SIGN_RECOVER, CKA_VERIFY_RECOVER or CKA_COPYABLE.",
                source: Source::Vendor("AWS CloudHSM User Guide, Key attributes"),
            },
            Fact {
                text: "A fresh key may be missing on another HSM of the cluster for a while.",
                source: Source::Vendor("AWS CloudHSM User Guide, Key synchronization"),
            },
            Fact {
                text: "The HSM's log has management commands only: the ledger is the only record of signatures.",
                source: Source::Vendor(""),
            },
        ],
    },
    Family {
        profile: Profile::AzureCloudHsm,
        name: "azure-cloud-hsm",
        title: "Azure Cloud HSM",
        file_names: &["libazcloudhsm_pkcs11"],
        library: &[],
        session: None,
        keep_alive_call: None,
        return_values: &[ReturnValue {
            first: CKR_PIN_EXPIRED,
            last: CKR_PIN_EXPIRED,
            meaning: Meaning::PinRefused,
            advice: "Azure Cloud HSM says CKR_PIN_EXPIRED of a wrong PIN: it is user:password of a crypto user; correct the PIN source first",
            source: AZURE_DOCUMENTED,
        }],
        facts: &[
            Fact {
                text: "The PIN is `user:password` of a crypto user.",
                source: AZURE_DOCUMENTED,
            },
            Fact {
                text: "The daemon azcloudhsm_client has to run, and azcloudhsm_application.cfg has to lie in the working directory.",
                source: AZURE_GUIDE,
            },
            Fact {
                text: "There is no raw CKM_RSA_PKCS, so RSA keys sign in TLS 1.3, and with RSASSA-PSS in TLS 1.2.",
                source: AZURE_DOCUMENTED,
            },
            Fact {
                text: "CKA_EXTRACTABLE is TRUE by default: only an explicit FALSE protects a key that another tool made.",
                source: Source::Inference,
            },
        ],
    },
    Family {
        profile: Profile::AzureManagedHsm,
        name: "azure-managed-hsm",
        title: "Azure Managed HSM, TLS Offload Library",
        file_names: &["libmhsm-pkcs11", "libmhsm_pkcs11"],
        library: &[],
        session: None,
        keep_alive_call: None,
        return_values: &[],
        facts: &[
            Fact {
                text: "The library serves only keys that it made: `mhsm_p11_create_key --RSA 2K --label c3`, with `--identity` for a managed identity.",
                source: MANAGED_HSM,
            },
            Fact {
                text: "With a managed identity in mhsm-pkcs11.conf, the credentials of C_Login are ignored.",
                source: MANAGED_HSM,
            },
            Fact {
                text: "Attributes are tags of the key in Azure Key Vault, which its REST API can change: they prove nothing.",
                source: MANAGED_HSM,
            },
            Fact {
                text: "It keeps up to 20 connections (MaxConnections of ConnectionCache): `sessions` should not be more.",
                source: MANAGED_HSM,
            },
        ],
    },
    Family {
        profile: Profile::GoogleKms,
        name: "google-kms",
        title: "Google Cloud HSM (libkmsp11)",
        file_names: &["libkmsp11"],
        library: &[LibraryText {
            manufacturer: "Google",
            description: "Cryptoki Library for Cloud KMS",
            source: KMSP11_CODE,
        }],
        session: None,
        // Each signature is an RPC of its own, and each call of C_GenerateRandom is a billed one.
        keep_alive_call: Some(KeepAliveCall::None),
        return_values: &[],
        facts: &[
            Fact {
                text: "Each operation is an RPC of its own, so no session has to be kept alive.",
                source: Source::Inference,
            },
            Fact {
                text: "C_GenerateRandom takes 8 to 1024 bytes: `keep_alive_call = \"random\"`, which asks for 16, works as well.",
                source: KMSP11_GUIDE,
            },
            Fact {
                text: "No login is required, and a PIN is ignored.",
                source: KMSP11_GUIDE,
            },
            Fact {
                text: "C_GenerateKeyPair takes a vendor's attribute and no public template: make the key with `gcloud kms keys create`.",
                source: KMSP11_GUIDE,
            },
            Fact {
                text: "A key has one algorithm and hash.",
                source: KMSP11_CODE,
            },
            Fact {
                text: "A token is a key ring; its label may be empty, and its serial number is all zeros.",
                source: KMSP11_CODE,
            },
            Fact {
                text: "The configuration file may be writable by its owner only. An RPC may take 30 s (rpc_timeout_secs).",
                source: KMSP11_GUIDE,
            },
        ],
    },
    Family {
        profile: Profile::Fortanix,
        name: "fortanix",
        title: "Fortanix Data Security Manager",
        file_names: &["fortanix_pkcs11", "libfortanix_pkcs11", "libpkcs11-sdkms"],
        library: &[LibraryText {
            manufacturer: "Fortanix",
            description: "",
            source: Source::Inference,
        }],
        session: None,
        keep_alive_call: None,
        return_values: &[],
        facts: &[
            Fact {
                text: "The module reads /etc/fortanix/pkcs11.conf: api_endpoint, and api_key where the PIN is not to be it.",
                source: Source::Vendor("DSM Accelerator PKCS#11 Developer Guide"),
            },
            Fact {
                text: "ECDSA and RSA are documented with the hash in the mechanism; raw ones are not.",
                source: FORTANIX_GUIDE,
            },
        ],
    },
];
