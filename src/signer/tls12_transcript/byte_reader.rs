//! Reads the integers and vectors of TLS (RFC 8446, section 3) from untrusted bytes. A length that does not fit is an error,
//! and so is a byte that is left over.

/// The bytes that are not read yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByteReader<'a>(&'a [u8]);

impl<'a> ByteReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// `Some` if everything was read.
    pub(super) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    pub(super) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.bytes(2)
            .map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u24(&mut self) -> Option<usize> {
        self.bytes(3)
            .map(|bytes| u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize)
    }

    /// A vector whose length is one byte.
    pub(super) fn vector8(&mut self) -> Option<Self> {
        let length = self.u8()?;
        self.bytes(length.into()).map(Self)
    }

    /// A vector whose length is two bytes.
    pub(super) fn vector16(&mut self) -> Option<Self> {
        let length = self.u16()?;
        self.bytes(length.into()).map(Self)
    }

    /// A vector whose length is three bytes.
    pub(super) fn vector24(&mut self) -> Option<Self> {
        let length = self.u24()?;
        self.bytes(length).map(Self)
    }

    /// All that is left as numbers of two bytes: at least one, each once.
    pub(super) fn distinct_numbers(mut self) -> Option<Vec<u16>> {
        let mut numbers = Vec::new();
        while !self.is_empty() {
            let number = self.u16()?;
            if numbers.contains(&number) {
                return None;
            }
            numbers.push(number);
        }
        (!numbers.is_empty()).then_some(numbers)
    }
}
