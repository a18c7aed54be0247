//! Examples of the errors of a login: of the PIN source, of the PIN guard and of the token.

use std::path::PathBuf;

use super::*;
use crate::config::pin::PinSource;
use crate::token::guard::EarlierAttempt;
use crate::token::pin::{PinAnomaly, PinSourceError};

pub(super) fn pin() -> Vec<Example> {
    let source = |pin_source, why| PinError::Source { pin_source, why };
    let file = || PinSource::File("/run/secrets/pin".into());
    let guarded = |flag, acceptance: Option<&str>, folder: Option<&str>| PinError::Guarded {
        flag,
        meaning: "what the flag means",
        acceptance: acceptance.map(text),
        state_folder: folder.map(PathBuf::from),
    };
    let earlier = |pin_source, failures| {
        Box::new(EarlierAttempt {
            pin_source,
            at: text("2026-01-01T00:00:00Z"),
            answer: text("C_Login returned CKR_PIN_INCORRECT"),
            failures,
            record: "/var/lib/hsm-mtls/pin-00.json".into(),
        })
    };
    every_variant!(PinError {
        Source: [
            source(file(), PinSourceError::Empty),
            source(
                file(),
                PinSourceError::Character {
                    kind: "a byte order mark (U+FEFF)",
                    at: 1,
                    last: 5
                }
            ),
            source(file(), PinSourceError::LineBreak { and_nothing: true }),
            source(file(), PinSourceError::NotAFile("a folder")),
            source(
                file(),
                PinSourceError::Exposed {
                    why: text("/run/secrets/pin (root:root, mode 0644): everybody may read it"),
                    advice: text("`chmod go-rwx /run/secrets/pin`"),
                }
            ),
            source(PinSource::Env(text("THE_PIN")), PinSourceError::NotSet),
            source(
                PinSource::Env(text("THE_PIN")),
                PinSourceError::NotAPin("a PEM file")
            ),
            source(
                PinSource::Credential(text("pin")),
                PinSourceError::NoCredentials
            ),
            source(
                PinSource::Command(vec![text("/usr/bin/vault"), text("secret")]),
                PinSourceError::Command(text("it did not end within 30 s"))
            ),
            source(PinSource::Prompt, PinSourceError::Asking(not_found())),
            source(PinSource::ProtectedPath, PinSourceError::NoKeypad),
        ],
        NobodyThere: [PinError::NobodyThere(PinSource::Prompt)],
        NoPin: [PinError::NoPin],
        NoLoginUser: [PinError::NoLoginUser],
        NoUserNames: [PinError::NoUserNames(fault())],
        Guarded: [
            guarded("CKF_USER_PIN_COUNT_LOW", None, Some("/var/lib/hsm-mtls")),
            guarded(
                "CKF_USER_PIN_COUNT_LOW",
                Some("it is of 2026-01-01T00:00:00Z, and held for an hour"),
                None
            ),
            guarded("CKF_USER_PIN_LOCKED", None, None),
        ],
        Refused: [PinError::Refused(fault())],
        RefusedOdd: [PinError::RefusedOdd {
            fault: fault(),
            pin_source: file(),
            anomaly: PinAnomaly::BlankAtEnd,
        }],
        RefusedBefore: [PinError::RefusedBefore(fault())],
        RefusedEarlier: [
            PinError::RefusedEarlier(earlier(PinSource::File("/run/secrets/pin".into()), 0)),
            PinError::RefusedEarlier(earlier(PinSource::Env(text("THE_PIN")), 0)),
        ],
        Unanswered: [
            PinError::Unanswered(earlier(PinSource::Credential(text("pin")), 1)),
            PinError::Unanswered(earlier(PinSource::Credential(text("pin")), 3)),
        ],
        RefusedInARow: [PinError::RefusedInARow(earlier(
            PinSource::File("/run/secrets/pin".into()),
            2
        ))],
        TooSoon: [PinError::TooSoon {
            earlier: earlier(PinSource::Env(text("THE_PIN")), 5),
            seconds: 8,
        }],
        Busy: [
            PinError::Busy {
                lock: Some("/var/lib/hsm-mtls/pin-00.lock".into()),
                seconds: 30,
            },
            PinError::Busy {
                lock: None,
                seconds: 30,
            },
        ],
        Damaged: [PinError::Damaged {
            record: "/var/lib/hsm-mtls/pin-00.json".into(),
            why: text("EOF while parsing"),
        }],
        Unrecorded: [PinError::Unrecorded {
            place: "/var/lib/hsm-mtls".into(),
            why: std::io::Error::from_raw_os_error(30).into(),
        }],
        Ledger: [PinError::Ledger(LedgerError::Sink(text("full")))],
        Call: [PinError::Call(fault())],
    })
}
