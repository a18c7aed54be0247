//! Information structures full of arbitrary bytes: every field that identifies nothing and decides nothing.

use cryptoki_sys::*;

/// A sequence of bytes that a seed determines (xorshift, 64 bits).
struct Bytes(u64);

impl Bytes {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn fill(&mut self, field: &mut [u8]) {
        field.fill_with(|| (self.next() >> 24) as u8);
    }

    fn version(&mut self) -> CK_VERSION {
        let bytes = self.next().to_le_bytes();
        CK_VERSION {
            major: bytes[0],
            minor: bytes[1],
        }
    }
}

fn bytes(seed: u64) -> Bytes {
    Bytes(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
}

/// Everything but label, serialNumber, manufacturerID (they identify the token) and the flags.
pub(crate) fn token(info: &mut CK_TOKEN_INFO, seed: u64) {
    let mut bytes = bytes(seed);
    bytes.fill(&mut info.model);
    bytes.fill(&mut info.utcTime);
    info.flags |= CKF_CLOCK_ON_TOKEN;
    for count in [
        &mut info.ulSessionCount,
        &mut info.ulRwSessionCount,
        &mut info.ulMaxPinLen,
        &mut info.ulMinPinLen,
        &mut info.ulTotalPublicMemory,
        &mut info.ulFreePublicMemory,
        &mut info.ulTotalPrivateMemory,
        &mut info.ulFreePrivateMemory,
    ] {
        *count = bytes.next();
    }
    info.hardwareVersion = bytes.version();
    info.firmwareVersion = bytes.version();
}

/// All texts and versions.
pub(crate) fn slot(info: &mut CK_SLOT_INFO, seed: u64) {
    let mut bytes = bytes(seed);
    bytes.fill(&mut info.slotDescription);
    bytes.fill(&mut info.manufacturerID);
    info.hardwareVersion = bytes.version();
    info.firmwareVersion = bytes.version();
}

/// All texts and versions.
pub(crate) fn module(info: &mut CK_INFO, seed: u64) {
    let mut bytes = bytes(seed);
    bytes.fill(&mut info.libraryDescription);
    bytes.fill(&mut info.manufacturerID);
    info.libraryVersion = bytes.version();
    info.flags = bytes.next();
}
