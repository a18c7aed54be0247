//! Where the body of a request ends, found byte by byte before hyper sees it: hyper is given one request and nothing
//! beyond it, so that the head of each request is checked by [`super::request_syntax`], also in one go with a body
//! before it.
//!
//! What is accepted here is accepted by hyper, and ends where hyper ends it. Chunks are read strictly (RFC 9112, section
//! 7.1): lines end with CR LF, and trailers are fields.

use super::request_syntax::is_token_byte;

/// The most bytes of all chunk extensions of a body. hyper allows 16 KiB.
const MAX_EXTENSIONS: usize = 16_000;
/// The most bytes of all trailers. hyper allows as many as in a head, of which the smallest limit is 4 KiB.
pub(super) const MAX_TRAILERS: usize = 4000;

/// The rest of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFraming {
    /// So many bytes are to come.
    Length(u64),
    /// Chunks are to come.
    Chunked(Chunks),
    /// What came is no chunk: where the body ends is not known.
    Malformed,
}

/// A position within chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunks {
    position: Position,
    /// The bytes that are to come of the current chunk.
    size: u64,
    extension_bytes: usize,
    trailer_bytes: usize,
}

/// What the next byte of chunks may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    FirstDigit,
    Digit,
    /// White space before an extension.
    BeforeExtension,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// The first byte of a trailer, or the CR of the last line.
    TrailerOrEnd,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Over,
}

impl BodyFraming {
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunks {
            position: Position::FirstDigit,
            size: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
        })
    }

    /// Whether the body has come to its end.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.position == Position::Over,
            Self::Malformed => false,
        }
    }

    /// Takes the bytes that come next: so many of them belong to the body. If the body is neither over nor malformed
    /// after them, all do.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Length(left) => {
                let taken =
                    usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= taken as u64;
                taken
            }
            Self::Chunked(chunks) => {
                let mut taken = 0;
                while taken < bytes.len() && chunks.position != Position::Over {
                    match chunks.step(&bytes[taken..]) {
                        Some(step) => taken += step,
                        None => {
                            *self = Self::Malformed;
                            break;
                        }
                    }
                }
                taken
            }
            Self::Malformed => 0,
        }
    }
}

impl Chunks {
    /// Takes one byte, or several of the data of a chunk. None: the byte is not allowed here.
    fn step(&mut self, bytes: &[u8]) -> Option<usize> {
        let byte = *bytes.first()?;
        self.position = match (self.position, byte) {
            (Position::Data, _) => {
                let taken =
                    usize::try_from(self.size).map_or(bytes.len(), |size| size.min(bytes.len()));
                self.size -= taken as u64;
                if self.size == 0 {
                    self.position = Position::DataCr;
                }
                return Some(taken);
            }
            (Position::FirstDigit, _) => self.add_digit(byte)?,
            (Position::Digit, b'\r') => Position::SizeLf,
            (Position::Digit | Position::BeforeExtension, b';') => Position::Extension,
            (Position::Digit | Position::BeforeExtension, b' ' | b'\t') => {
                self.count_extension()?;
                Position::BeforeExtension
            }
            (Position::Digit, _) => self.add_digit(byte)?,
            (Position::Extension, b'\r') => Position::SizeLf,
            (Position::Extension, _) if is_text(byte) => {
                self.count_extension()?;
                Position::Extension
            }
            (Position::SizeLf, b'\n') if self.size == 0 => Position::TrailerOrEnd,
            (Position::SizeLf, b'\n') => Position::Data,
            (Position::DataCr, b'\r') => Position::DataLf,
            (Position::DataLf, b'\n') => Position::FirstDigit,
            (Position::TrailerOrEnd, b'\r') => Position::EndLf,
            (Position::TrailerOrEnd, _) if is_token_byte(byte) => {
                self.count_trailer()?;
                Position::TrailerName
            }
            (Position::TrailerName, b':') => {
                self.count_trailer().map(|()| Position::TrailerValue)?
            }
            (Position::TrailerName, _) if is_token_byte(byte) => {
                self.count_trailer()?;
                Position::TrailerName
            }
            (Position::TrailerValue, b'\r') => Position::TrailerLf,
            (Position::TrailerValue, _) if is_text(byte) => {
                self.count_trailer()?;
                Position::TrailerValue
            }
            (Position::TrailerLf, b'\n') => {
                self.trailer_bytes += 2;
                Position::TrailerOrEnd
            }
            (Position::EndLf, b'\n') => Position::Over,
            _ => return None,
        };
        Some(1)
    }

    /// A digit of a chunk's size. None: it is none, or the size is above 2^64.
    fn add_digit(&mut self, byte: u8) -> Option<Position> {
        let digit = char::from(byte).to_digit(16)?;
        self.size = self.size.checked_mul(16)?.checked_add(digit.into())?;
        Some(Position::Digit)
    }

    fn count_extension(&mut self) -> Option<()> {
        self.extension_bytes += 1;
        (self.extension_bytes < MAX_EXTENSIONS).then_some(())
    }

    fn count_trailer(&mut self) -> Option<()> {
        self.trailer_bytes += 1;
        (self.trailer_bytes < MAX_TRAILERS).then_some(())
    }
}

/// Whether a byte may stand in the value of a field or in an extension.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

#[cfg(test)]
mod tests;
