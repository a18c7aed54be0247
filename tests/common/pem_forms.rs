//! PEM as people and programs write it: RFC 7468 has parsers take more than generators may make.

/// The text of a PEM file in each form that people and programs give it.
pub fn pem_forms(pem: &str) -> Vec<(&'static str, Vec<u8>)> {
    let label = pem.lines().next().expect("PEM").replace("-----", "");
    let label = label.strip_prefix("BEGIN ").expect("PEM").to_owned();
    let blocks: Vec<(String, String)> = pem
        .split("-----BEGIN ")
        .skip(1)
        .map(|block| {
            let lines: Vec<_> = block.lines().skip(1).collect();
            let end = lines
                .iter()
                .position(|line| line.starts_with("-----END"))
                .expect("PEM");
            (lines[..end].concat(), lines[end].to_owned())
        })
        .collect();
    let wrapped = |width: usize| -> Vec<u8> {
        let block = |(body, end): &(String, String)| {
            let lines = body.as_bytes().chunks(width);
            let lines: Vec<_> = lines.map(|line| String::from_utf8_lossy(line)).collect();
            format!("-----BEGIN {label}-----\n{}\n{end}\n", lines.join("\n"))
        };
        blocks.iter().map(block).collect::<String>().into_bytes()
    };
    let begin = format!("-----BEGIN {label}-----");
    let text = |text: String| text.into_bytes();
    let utf16 = |mark: &[u8], unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
        mark.iter()
            .copied()
            .chain(pem.encode_utf16().flat_map(unit))
            .collect()
    };
    vec![
        ("lines of 65", wrapped(65)),
        ("lines of 76", wrapped(76)),
        ("lines of 1", wrapped(1)),
        ("lines of 63", wrapped(63)),
        ("one line of base64", wrapped(usize::MAX)),
        ("all in one line", text(pem.replace('\n', ""))),
        ("all in one line with blanks", text(pem.replace('\n', " "))),
        ("escaped as in JSON", text(pem.replace('\n', "\\n"))),
        ("CRLF", text(pem.replace('\n', "\r\n"))),
        ("CR", text(pem.replace('\n', "\r"))),
        ("blanks at line ends", text(pem.replace('\n', "  \t\n"))),
        ("a blank after BEGIN", text(pem.replace(&begin, &format!("{begin} ")))),
        ("indented", text(pem.replace('\n', "\n      "))),
        ("empty lines", text(pem.replace('\n', "\n\n"))),
        ("a byte order mark", [b"\xef\xbb\xbf", pem.as_bytes()].concat()),
        ("Latin-1 before it", [b"subject=O = S\xf6hne\n", pem.as_bytes()].concat()),
        ("Latin-1 after it", [pem.as_bytes(), b"S\xf6hne \xa9\n"].concat()),
        ("zeros after it", [pem.as_bytes(), &[0; 16]].concat()),
        (
            "bag attributes",
            text(pem.replace(
                &begin,
                &format!("Bag Attributes\n    localKeyID: 0A 0B\nKey Attributes: <No Attributes>\nsubject=/O=a\n{begin}"),
            )),
        ),
        ("a header", text(pem.replace(&begin, &format!("{begin}\nComment: c3\n")))),
        ("UTF-16LE", utf16(b"\xff\xfe", u16::to_le_bytes)),
        ("UTF-16BE", utf16(b"\xfe\xff", u16::to_be_bytes)),
        ("UTF-16 without a mark", utf16(b"", u16::to_le_bytes)),
    ]
}
