//! Families of HSMs in a bank's own network, and Luna's service: nobody here has had one of them in hand.

use super::family::{
    CKR_USER_TYPE_INVALID, Fact, Family, LibraryText, Meaning, ReturnValue, Source,
};
use super::{DeviceState, KeepAliveCall, Profile};

const LUNA_NETWORK: &str = "the Luna client did not reach its HSM: look at the network, at `vtl verify` and at the client's Chrystoki.conf";
const LUNA_PIN: &str = "do not repeat it: ten failed logins of the officer lock both roles of the partition; correct the PIN source first";
const LUNA_HEADERS: Source = Source::VendorCode("headers of the Luna client");
const LUNA_DOCUMENTED: Source = Source::Vendor("");

const fn luna(first: u64, last: u64, meaning: Meaning, advice: &'static str) -> ReturnValue {
    let source = LUNA_HEADERS;
    ReturnValue {
        first,
        last,
        meaning,
        advice,
        source,
    }
}

static LUNA_VALUES: [ReturnValue; 11] = [
    luna(
        0x8000_0007,
        0x8000_0007,
        Meaning::PinRefused,
        "the role is locked out after too many failed logins: the partition's security officer has to unlock it",
    ),
    luna(0x8000_001a, 0x8000_001a, Meaning::PinRefused, LUNA_PIN),
    luna(0x8000_0067, 0x8000_0067, Meaning::PinRefused, LUNA_PIN),
    luna(
        0x8000_001f,
        0x8000_0020,
        Meaning::NotReachable,
        LUNA_NETWORK,
    ),
    luna(
        0x8000_0023,
        0x8000_0024,
        Meaning::NotReachable,
        LUNA_NETWORK,
    ),
    luna(
        0x8000_002b,
        0x8000_002b,
        Meaning::NotReachable,
        LUNA_NETWORK,
    ),
    luna(
        0x8000_002d,
        0x8000_002e,
        Meaning::NotReachable,
        LUNA_NETWORK,
    ),
    luna(
        0x8000_0045,
        0x8000_0066,
        Meaning::NotReachable,
        LUNA_NETWORK,
    ),
    luna(
        0x8000_0035,
        0x8000_0035,
        Meaning::State(DeviceState::AuditLogFull),
        "the HSM's audit log is full: its auditor has to archive it",
    ),
    luna(
        0x8000_0076,
        0x8000_0076,
        Meaning::State(DeviceState::Tampered),
        "the HSM reports tampering: its security officer has to look at it",
    ),
    luna(
        0x8000_008d,
        0x8000_008d,
        Meaning::State(DeviceState::RestartRequired),
        "the HSM has to be restarted by its administrator",
    ),
];

pub(super) static FAMILIES: [Family; 6] = [
    Family {
        profile: Profile::Luna,
        name: "luna",
        title: "Thales Luna 7",
        file_names: &["libcryptoki2"],
        library: &[LibraryText {
            manufacturer: "SafeNet",
            description: "Chrystoki",
            source: Source::Report("output of `pkcs11-tool -I` with client 10.9"),
        }],
        session: None,
        keep_alive_call: None,
        return_values: &LUNA_VALUES,
        facts: &[
            Fact {
                text: "The Crypto Officer is CKU_USER and makes and destroys keys; the Crypto User, 0x80000001, only uses them.",
                source: LUNA_HEADERS,
            },
            Fact {
                text: "The client waits 20 s for an answer (ReceiveTimeout) before it takes an appliance for lost.",
                source: Source::Vendor("Luna Network HSM 7, Timeouts"),
            },
            Fact {
                text: "Without HAOnly, slot numbers change when a member of an HA group fails.",
                source: LUNA_DOCUMENTED,
            },
            Fact {
                text: "An unchanged first password answers CKR_PIN_EXPIRED.",
                source: LUNA_DOCUMENTED,
            },
            Fact {
                text: "In FIPS mode, RSA keys are made with CKM_RSA_X9_31_KEY_PAIR_GEN or a 186-3 mechanism only.",
                source: LUNA_DOCUMENTED,
            },
            Fact {
                text: "After the loss of all members, at times only a new process helps.",
                source: Source::Report("OpenSC/libp11#228, Pkcs11Interop#188"),
            },
        ],
    },
    Family {
        profile: Profile::Dpod,
        name: "dpod",
        title: "Thales Luna Cloud HSM (Data Protection on Demand)",
        file_names: &[],
        library: &[],
        session: None,
        keep_alive_call: None,
        return_values: &LUNA_VALUES,
        facts: &[
            Fact {
                text: "Its module is the Luna client's, so only `profile` tells it from a Luna HSM.",
                source: Source::Vendor("Dynamic Partition Loading for Luna Cloud HSM Services"),
            },
            Fact {
                text: "The service is reached over REST: sections REST and XTC of Chrystoki.conf, in the folder that ChrystokiConfigurationPath names.",
                source: Source::Vendor("Dynamic Partition Loading for Luna Cloud HSM Services"),
            },
            Fact {
                text: "Generated private keys have to be CKA_PRIVATE and CKA_SENSITIVE.",
                source: Source::Vendor(""),
            },
            Fact {
                text: "Roles and return values are those of Luna.",
                source: Source::Inference,
            },
        ],
    },
    Family {
        profile: Profile::Nshield,
        name: "nshield",
        title: "Entrust nShield",
        file_names: &["libcknfast"],
        library: &[
            LibraryText {
                manufacturer: "nCipher",
                description: "",
                source: Source::OtherCode("tests of PKCS#11 bindings"),
            },
            LibraryText {
                manufacturer: "",
                description: "Entrust nShield",
                source: Source::OtherCode("kurtserdar/hsm-doctor"),
            },
        ],
        session: None,
        keep_alive_call: None,
        return_values: &[ReturnValue {
            first: 0x8000_00e0,
            last: 0x8000_00e0,
            meaning: Meaning::CardWanted,
            advice: "an nShield in FIPS 140 level 3 makes keys only while a card of its Security World is presented: put an ACS or OCS card into the reader and try again, \
                     or type `generatekey pkcs11 protect=token type=RSA size=2048 plainname=c3` there, and write the key's URI into `key` of [c3]",
            source: Source::OtherCode(""),
        }],
        facts: &[
            Fact {
                text: "The accelerator slot takes no login and has no private objects: use an operator card set or, with CKNFAST_LOADSHARING=1, a softcard.",
                source: Source::Vendor("nShield PKCS #11 library environment variables"),
            },
            Fact {
                text: "Keys are files in kmdata of this host: the signer has to be able to read and write there.",
                source: Source::Vendor(""),
            },
            Fact {
                text: "Under `preload`, the passphrase is not checked.",
                source: Source::Vendor(""),
            },
            Fact {
                text: "In FIPS level 3 a card of the administrator or operator set has to be present to make a key: make it with `generatekey`.",
                source: Source::OtherCode(""),
            },
            Fact {
                text: "Removing the last card of a set ends all sessions.",
                source: Source::Vendor(""),
            },
        ],
    },
    Family {
        profile: Profile::Utimaco,
        name: "utimaco",
        title: "Utimaco SecurityServer, u.trust Anchor",
        file_names: &["libcs_pkcs11_r2", "libcs_pkcs11_r3"],
        library: &[LibraryText {
            manufacturer: "Utimaco",
            description: "",
            source: Source::OtherCode("otpki/pkcs11"),
        }],
        session: None,
        keep_alive_call: None,
        return_values: &[],
        facts: &[
            Fact {
                text: "A session ends after 15 idle minutes unless KeepAlive is set in the module's own file, where it is off by default.",
                source: Source::OtherCode(""),
            },
            Fact {
                text: "A command of the module may take 60 s (CommandTimeout).",
                source: Source::OtherCode(""),
            },
            Fact {
                text: "Each slot has a serial number of its own.",
                source: Source::Report(""),
            },
        ],
    },
    Family {
        profile: Profile::Primus,
        name: "primus",
        title: "Securosys Primus, CloudHSM",
        file_names: &["libprimusp11"],
        library: &[LibraryText {
            manufacturer: "Securosys",
            description: "",
            source: Source::OtherCode("otpki/pkcs11"),
        }],
        session: None,
        keep_alive_call: None,
        return_values: &[],
        facts: &[
            Fact {
                text: "The module reads /etc/primus/primus.cfg and the partition's secret in /etc/primus/.secrets.cfg; a slot is a partition, and `ppin --test` shows whether it is reached.",
                source: Source::Vendor("Securosys PKCS#11 Provider, installation and `ppin`"),
            },
            Fact {
                text: "After a loss of the network, a reinitialisation may take minutes.",
                source: Source::Report(""),
            },
        ],
    },
    Family {
        profile: Profile::Nethsm,
        name: "nethsm",
        title: "Nitrokey NetHSM",
        file_names: &["libnethsm_pkcs11", "nethsm-pkcs11"],
        library: &[LibraryText {
            manufacturer: "Nitrokey",
            description: "Nitrokey NetHSM",
            source: Source::VendorCode("Nitrokey/nethsm-pkcs11"),
        }],
        session: None,
        // It answers C_GetSessionInfo without a request.
        keep_alive_call: Some(KeepAliveCall::Random),
        return_values: &[ReturnValue {
            first: CKR_USER_TYPE_INVALID,
            last: CKR_USER_TYPE_INVALID,
            meaning: Meaning::NotReachable,
            advice: "the NetHSM was not reached at the login, or does not know this user: look at the network and at the `operator` of its p11nethsm.conf",
            source: Source::VendorCode("Nitrokey/nethsm-pkcs11"),
        }],
        facts: &[
            Fact {
                text: "C_GetSessionInfo is answered without a request to the device.",
                source: Source::VendorCode("Nitrokey/nethsm-pkcs11"),
            },
            Fact {
                text: "CKU_USER is the operator, who signs; CKU_SO the administrator, who alone makes keys. A login counts for its session only.",
                source: Source::VendorCode("Nitrokey/nethsm-pkcs11"),
            },
            Fact {
                text: "RSA keys always say CKA_DECRYPT, and no key says CKA_LOCAL: `key generate` wants --accept-claims.",
                source: Source::VendorCode("Nitrokey/nethsm-pkcs11"),
            },
            Fact {
                text: "The label of a key is its id. The serial number is `unknown`, or that of the instance that answered: leave it out of `uri`.",
                source: Source::VendorCode("Nitrokey/nethsm-pkcs11"),
            },
        ],
    },
];
