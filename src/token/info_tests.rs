//! Arbitrary content of the information structures: all of it is accepted, and nothing panics.

use proptest::array;
use proptest::prelude::*;

use super::*;

fn version() -> impl Strategy<Value = CK_VERSION> {
    any::<(u8, u8)>().prop_map(|(major, minor)| CK_VERSION { major, minor })
}

fn config() -> ProptestConfig {
    ProptestConfig::with_cases(25_000)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_token_info_is_read(
        label in array::uniform32(any::<u8>()),
        manufacturer in array::uniform32(any::<u8>()),
        model in array::uniform16(any::<u8>()),
        serial in array::uniform16(any::<u8>()),
        utc_time in array::uniform16(any::<u8>()),
        counts in array::uniform10(any::<CK_ULONG>()),
        flags: CK_FLAGS,
        hardware in version(),
        firmware in version(),
    ) {
        let info = TokenInfo::from(&CK_TOKEN_INFO {
            label,
            manufacturerID: manufacturer,
            model,
            serialNumber: serial,
            flags,
            ulMaxSessionCount: counts[0],
            ulSessionCount: counts[1],
            ulMaxRwSessionCount: counts[2],
            ulRwSessionCount: counts[3],
            ulMaxPinLen: counts[4],
            ulMinPinLen: counts[5],
            ulTotalPublicMemory: counts[6],
            ulFreePublicMemory: counts[7],
            ulTotalPrivateMemory: counts[8],
            ulFreePrivateMemory: counts[9],
            hardwareVersion: hardware,
            firmwareVersion: firmware,
            utcTime: utc_time,
        });
        prop_assert_eq!(info.has(CKF_USER_PIN_LOCKED), flags & CKF_USER_PIN_LOCKED != 0);
        prop_assert_eq!(info.firmware_version(), (firmware.major, firmware.minor));
        let lossy = String::from_utf8_lossy(&label);
        let ended = lossy.split('\0').next().unwrap_or_default();
        prop_assert_eq!(info.label(), ended.trim_end_matches(' '));
        if let Some(limit) = info.max_sessions() {
            prop_assert_eq!(limit, counts[0]);
        }
    }

    #[test]
    fn any_slot_info_is_read(
        description in array::uniform32(any::<(u8, u8)>()),
        manufacturer in array::uniform32(any::<u8>()),
        flags: CK_FLAGS,
        hardware in version(),
        firmware in version(),
    ) {
        let mut text = [0; 64];
        for (pair, (first, second)) in text.chunks_exact_mut(2).zip(description) {
            pair.copy_from_slice(&[first, second]);
        }
        let info = SlotInfo::from(&CK_SLOT_INFO {
            slotDescription: text,
            manufacturerID: manufacturer,
            flags,
            hardwareVersion: hardware,
            firmwareVersion: firmware,
        });
        prop_assert_eq!(info.hardware_slot(), flags & CKF_HW_SLOT != 0);
    }

    #[test]
    fn any_module_info_is_read(
        manufacturer in array::uniform32(any::<u8>()),
        description in array::uniform32(any::<u8>()),
        flags: CK_FLAGS,
        library in version(),
        cryptoki in version(),
    ) {
        let info = ModuleDescription::from(&CK_INFO {
            cryptokiVersion: cryptoki,
            manufacturerID: manufacturer,
            flags,
            libraryDescription: description,
            libraryVersion: library,
        });
        prop_assert_eq!(info.cryptoki, (cryptoki.major, cryptoki.minor));
    }

    #[test]
    fn any_mechanism_and_session_info_is_read(sizes: (CK_ULONG, CK_ULONG), flags: CK_FLAGS, slot: CK_SLOT_ID, state: CK_STATE) {
        let mechanism = MechanismInfo::from(&CK_MECHANISM_INFO {
            ulMinKeySize: sizes.0,
            ulMaxKeySize: sizes.1,
            flags,
        });
        prop_assert_eq!(mechanism.has(CKF_SIGN), flags & CKF_SIGN != 0);
        let session = SessionInfo::from(&CK_SESSION_INFO {
            slotID: slot,
            state,
            flags,
            ulDeviceError: sizes.0,
        });
        prop_assert_eq!(session.slot(), slot);
        prop_assert_eq!(session.is_public(), state == 0 || state == 2);
    }
}

#[test]
fn padding_is_no_part_of_a_text() {
    assert_eq!(text(b"lfi\0\0\0\0 "), "lfi");
    assert_eq!(text(b"lfi\0what was on the stack"), "lfi");
    assert_eq!(text(b"        "), "");
    assert_eq!(text(b"two words   "), "two words");
    assert_eq!(text(b"\xff\xfe  "), "\u{fffd}\u{fffd}");
}
