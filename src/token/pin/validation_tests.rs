//! Which inputs are accepted as a PIN and which are rejected, and that no message repeats a part of them.

use secrecy::ExposeSecret;

use super::*;
use crate::config::pin::PinSource;

fn refusal(bytes: &[u8]) -> String {
    match parse_pin(bytes) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("taken for a PIN: {bytes:?}"),
    }
}

fn accepted(bytes: &[u8]) -> (String, Option<PinAnomaly>) {
    let (text, anomaly) = parse_pin(bytes).unwrap_or_else(|error| panic!("{bytes:?}: {error}"));
    (text.expose_secret().to_owned(), anomaly)
}

/// The vendors' forms, and characters of keyboards of several countries.
#[test]
fn keyboard_characters_are_accepted_and_one_line_end_is_removed() {
    for pin in [
        "1234",
        "user:password",
        "0001password",
        "a b  c",
        "pä§ß€£µ²°éÉçñåøžşİقلمПинピン密码",
        "e\u{301}",
        "«x»",
        "$1{2}[3]<4>|\\~^`\"'",
        "a=b",
        "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXo=",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
        "pin",
        "secret==",
        "http://10.0.0.1:8200",
        "file:///etc/fortanix.json",
        "{not json}",
        "-----",
    ] {
        for end in ["", "\n", "\r\n"] {
            assert_eq!(
                accepted(format!("{pin}{end}").as_bytes()),
                (pin.to_owned(), None)
            );
        }
    }
    assert_eq!(accepted(&[b'1'; MAX_PIN_LENGTH]).0.len(), MAX_PIN_LENGTH);
}

#[test]
fn surrounding_blanks_and_quotation_marks_are_kept_and_reported_as_anomaly() {
    for (pin, anomaly) in [
        (" 1234", PinAnomaly::BlankAtStart),
        ("1234  ", PinAnomaly::BlankAtEnd),
        (" 1234 ", PinAnomaly::BlanksAround),
        ("\"1234\"", PinAnomaly::Quoted),
        ("'1234'", PinAnomaly::Quoted),
    ] {
        assert_eq!(
            accepted(format!("{pin}\n").as_bytes()),
            (pin.to_owned(), Some(anomaly))
        );
    }
}

/// Each character at the start, in the middle and at the end.
#[test]
fn other_characters_are_rejected_at_every_position() {
    let controls = ('\0'..='\u{1f}')
        .chain('\u{7f}'..='\u{9f}')
        .filter(|c| *c != '\n');
    let spaces = (0x2000..=0x200a).filter_map(char::from_u32);
    let others = "\u{a0}\u{ad}\u{34f}\u{61c}\u{1680}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\u{202a}\u{202e}\
        \u{2028}\u{2029}\u{202f}\u{205f}\u{2060}\u{2066}\u{3000}\u{3164}\u{fe0f}\u{feff}\u{fff9}\u{fffd}\u{fffe}\
        \u{1fffe}\u{e0001}\u{e0100}\u{2018}\u{2019}\u{201c}\u{201d}\u{201e}\u{2013}\u{2014}\u{2026}\u{2022}\
        \u{f8ff}\u{ff11}";
    for c in controls.chain(spaces).chain(others.chars()) {
        for (text, position) in [
            (format!("{c}8745"), " at its start, which no keyboard gives"),
            (
                format!("87{c}45"),
                " as character 3, which no keyboard gives",
            ),
            (format!("8745{c}"), " at its end, which no keyboard gives"),
        ] {
            let message = refusal(text.as_bytes());
            assert!(message.contains(position), "{c:?}: {message}");
            assert!(
                !message.contains("87") && !message.contains("45"),
                "{message}"
            );
        }
    }
}

#[test]
fn other_than_one_line_of_text_is_rejected_with_its_reason() {
    for (bytes, expected) in [
        (&b""[..], "it is empty"),
        (b"\n", "it is empty"),
        (b"\r\n", "it is empty"),
        (b"   \n", "blanks and nothing else"),
        (
            b"\xef\xbb\xbf8745",
            "a byte order mark (U+FEFF) at its start",
        ),
        (b"\xef\xbb\xbf", "a byte order mark (U+FEFF) at its start"),
        (b"\xff\xfe8\x007\x00\r\x00\n\x00", "not UTF-8 but UTF-16"),
        (b"\xfe\xff\x008\x007", "not UTF-8 but UTF-16"),
        (b"8\x007\x004\x005\x00\n\x00", "not UTF-8 but UTF-16"),
        (b"\x008\x007\x00\n", "not UTF-8 but UTF-16"),
        (b"\xff\xfe\x00\x008\x00\x00\x00", "not UTF-8 but UTF-32"),
        (b"87\xe445", "it is not UTF-8: byte 3"),
        (b"\x30\x82\x04\xbc", "it is not UTF-8: byte 2"),
        (
            b"8745\n8745\n",
            "a line break within the PIN: several lines",
        ),
        (b"\n8745", "a line break within the PIN: several lines"),
        (b"8745\n\n", "a line break within the PIN: an empty line"),
        (b"8745\r", "a carriage return at its end"),
        (b"8745\r\r\n", "a carriage return at its end"),
        (&[b'1'; MAX_PIN_LENGTH + 1], "it is longer than 4096 bytes"),
    ] {
        let message = refusal(bytes);
        assert!(message.contains(expected), "{bytes:?}: {message}");
    }
}

#[test]
fn other_formats_are_recognised_and_not_sent() {
    for (text, expected) in [
        ("-----BEGIN PRIVATE KEY-----\nMIG\n", "a PEM file"),
        ("-----BEGIN CERTIFICATE-----", "a PEM file"),
        ("{\"pin\": \"8745\"}", "JSON"),
        ("{\n  \"pin\": \"8745\"\n}\n", "JSON"),
        ("[\"8745\"]", "JSON"),
        ("HSM_PIN=8745", "a setting"),
        ("export TOKEN_PIN='8745'", "a setting"),
        ("pin = \"8745\"", "a setting"),
        ("pin: 8745", "a setting"),
        ("PIN=8745\nOTHER=1\n", "a setting"),
        ("\"password\": \"8745\",", "a setting"),
        ("${HSM_PIN}", "a placeholder"),
        ("{{ hsm_pin }}", "a placeholder"),
        ("<no value>", "a value that is missing"),
        ("null", "a value that is missing"),
        ("<!DOCTYPE html><html>", "HTML"),
        ("$ANSIBLE_VAULT;1.1;AES256\n6162\n", "still encrypted"),
        ("ENC[AES256_GCM,data:8745]", "still encrypted"),
        ("pkcs11:token=lfi?pin-value=8745", "a PKCS#11 URI"),
        ("#!/bin/sh\necho 8745\n", "a script"),
    ] {
        let message = refusal(text.as_bytes());
        assert!(message.contains(expected), "{text}: {message}");
        assert!(!message.contains("8745"), "{message}");
    }
}

#[test]
fn each_error_has_advice_for_each_source() {
    let sources = [
        PinSource::File("/run/pin".into()),
        PinSource::Env("PIN".to_owned()),
        PinSource::Credential("pin".to_owned()),
        PinSource::Command(vec!["/bin/vault".to_owned()]),
        PinSource::Prompt,
    ];
    for bytes in [
        &b"\xef\xbb\xbf1"[..],
        b"",
        b" ",
        b"1\n2",
        b"\xff1",
        b"PIN=1",
        &[b'1'; 5000],
    ] {
        for source in &sources {
            let error = parse_pin(bytes).err().map(|error| error.advice(source));
            assert!(
                error.is_some_and(|advice| advice.len() > 20),
                "{source}: {bytes:?}"
            );
        }
    }
}
