//! An answer as an application reads it from a connection that ends with it: line, fields in
//! order, body, and whether the body came to its end.

use std::fmt;

/// An answer, byte for byte.
#[derive(Clone)]
pub struct RawAnswer {
    pub line: String,
    pub status: u16,
    /// Names in lower case, in order.
    pub fields: Vec<(String, String)>,
    /// Without what chunks add.
    pub body: Vec<u8>,
    /// Whether all came that was promised.
    pub complete: bool,
    raw: Vec<u8>,
}

impl fmt::Debug for RawAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.raw[..self.raw.len().min(1000)];
        write!(
            f,
            "{}, complete: {}",
            String::from_utf8_lossy(shown),
            self.complete
        )
    }
}

impl RawAnswer {
    /// Reads strictly: what is no answer fails the test.
    pub fn of(bytes: &[u8]) -> Self {
        let shown = || String::from_utf8_lossy(bytes).into_owned();
        let end = bytes.windows(4).position(|found| found == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {:?}", shown()));
        let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = text.split("\r\n");
        let line = lines.next().expect("a line").to_owned();
        let status = line.get(9..12).and_then(|status| status.parse().ok());
        let fields: Vec<_> = lines
            .map(|line| {
                let (name, value) = line.split_once(':').expect("a field");
                assert_eq!(name, name.trim(), "space before a colon: {line:?}");
                assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
                (name.to_lowercase(), value.trim().to_owned())
            })
            .collect();
        let mut found = Self {
            line,
            status: status.unwrap_or_else(|| panic!("no status: {:?}", shown())),
            fields,
            body: bytes[end + 4..].to_vec(),
            complete: true,
            raw: bytes.to_vec(),
        };
        if found.all("transfer-encoding") == ["chunked"] {
            found.unchunk();
        } else if let [length] = found.all("content-length")[..] {
            let length: usize = length.parse().expect("a length");
            found.complete = found.body.len() == length;
        }
        found
    }

    fn unchunk(&mut self) {
        let mut rest = std::mem::take(&mut self.body);
        self.complete = false;
        while let Some(line) = rest.windows(2).position(|found| found == b"\r\n") {
            let size = std::str::from_utf8(&rest[..line]).expect("a size");
            let size = usize::from_str_radix(size, 16).expect("a size");
            rest.drain(..line + 2);
            if size == 0 {
                assert_eq!(rest, b"\r\n", "after the last chunk");
                self.complete = true;
                return;
            }
            let chunk = rest.len().min(size);
            self.body.extend(rest.drain(..chunk));
            rest.drain(..rest.len().min(2));
        }
    }

    /// The values of a field, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.fields.iter().filter(|(found, _)| found == name);
        fields.map(|(_, value)| value.as_str()).collect()
    }

    /// As it came.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.raw).into_owned()
    }
}
