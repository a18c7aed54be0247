//! What is taken for a PIN, what is refused, and that nothing of it is repeated.

use secrecy::ExposeSecret;

use super::*;
use crate::config::pin::PinSource;

fn refusal(bytes: &[u8]) -> String {
    match pin_of(bytes) {
        Err(fault) => fault.to_string(),
        Ok(_) => panic!("taken for a PIN: {bytes:?}"),
    }
}

fn taken(bytes: &[u8]) -> (String, Option<Oddity>) {
    let (text, oddity) = pin_of(bytes).unwrap_or_else(|fault| panic!("{bytes:?}: {fault}"));
    (text.expose_secret().to_owned(), oddity)
}

/// The forms of vendors, and what keyboards of several countries give.
#[test]
fn what_a_keyboard_gives_is_taken_and_one_line_end_cut_off() {
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
                taken(format!("{pin}{end}").as_bytes()),
                (pin.to_owned(), None)
            );
        }
    }
    assert_eq!(taken(&[b'1'; LONGEST_PIN]).0.len(), LONGEST_PIN);
}

#[test]
fn blanks_and_quotation_marks_around_it_are_a_part_of_it_and_are_noticed() {
    for (pin, oddity) in [
        (" 1234", Oddity::BlankAtStart),
        ("1234  ", Oddity::BlankAtEnd),
        (" 1234 ", Oddity::BlanksAround),
        ("\"1234\"", Oddity::Quoted),
        ("'1234'", Oddity::Quoted),
    ] {
        assert_eq!(
            taken(format!("{pin}\n").as_bytes()),
            (pin.to_owned(), Some(oddity))
        );
    }
}

/// Each at the start, in the middle and at the end.
#[test]
fn what_no_keyboard_gives_is_refused_wherever_it_stands() {
    let controls = ('\0'..='\u{1f}')
        .chain('\u{7f}'..='\u{9f}')
        .filter(|c| *c != '\n');
    let spaces = (0x2000..=0x200a).filter_map(char::from_u32);
    let others = "\u{a0}\u{ad}\u{34f}\u{61c}\u{1680}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\u{202a}\u{202e}\
        \u{2028}\u{2029}\u{202f}\u{205f}\u{2060}\u{2066}\u{3000}\u{3164}\u{fe0f}\u{feff}\u{fff9}\u{fffd}\u{fffe}\
        \u{1fffe}\u{e0001}\u{e0100}\u{2018}\u{2019}\u{201c}\u{201d}\u{201e}\u{2013}\u{2014}\u{2026}\u{2022}\
        \u{f8ff}\u{ff11}";
    for c in controls.chain(spaces).chain(others.chars()) {
        for (text, place) in [
            (format!("{c}8745"), " at its start, which no keyboard gives"),
            (
                format!("87{c}45"),
                " as character 3, which no keyboard gives",
            ),
            (format!("8745{c}"), " at its end, which no keyboard gives"),
        ] {
            let said = refusal(text.as_bytes());
            assert!(said.contains(place), "{c:?}: {said}");
            assert!(!said.contains("87") && !said.contains("45"), "{said}");
        }
    }
}

#[test]
fn what_is_no_text_of_one_line_is_refused_as_what_it_is() {
    for (bytes, says) in [
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
        (&[b'1'; LONGEST_PIN + 1], "it is longer than 4096 bytes"),
    ] {
        let said = refusal(bytes);
        assert!(said.contains(says), "{bytes:?}: {said}");
    }
}

#[test]
fn what_is_plainly_something_else_is_not_sent() {
    for (text, says) in [
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
        let said = refusal(text.as_bytes());
        assert!(said.contains(says), "{text}: {said}");
        assert!(!said.contains("8745"), "{said}");
    }
}

#[test]
fn each_fault_has_an_advice_for_each_source() {
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
            let fault = pin_of(bytes).err().map(|fault| fault.advice(source));
            assert!(
                fault.is_some_and(|advice| advice.len() > 20),
                "{source}: {bytes:?}"
            );
        }
    }
}
