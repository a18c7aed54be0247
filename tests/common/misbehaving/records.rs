//! Records of TLS, read and written by hand. rustls sends the alerts of its own errors only, and
//! none after a handshake that it holds for good, which is when a server of TLS 1.3 refuses a
//! certificate.

use std::io::{self, Read as _};
use std::net::TcpStream;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;

/// Type, version, length.
const HEADER: usize = 5;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const FATAL: u8 = 2;
const SERVER_HELLO: u8 = 2;
const TLS_1_1: [u8; 2] = [3, 2];
const ECDHE_RSA_AES_128_CBC_SHA: [u8; 2] = [0xc0, 0x13];

/// Reads one record, its header included.
pub fn record(tcp: &TcpStream) -> io::Result<Vec<u8>> {
    let header = header(tcp)?;
    rest(tcp, &header)
}

/// Reads as much as tells how long the record is.
pub fn header(mut tcp: &TcpStream) -> io::Result<[u8; HEADER]> {
    let mut header = [0; HEADER];
    tcp.read_exact(&mut header)?;
    Ok(header)
}

/// Of the record's content.
pub fn length(header: &[u8; HEADER]) -> usize {
    usize::from(u16::from_be_bytes([header[3], header[4]]))
}

/// Reads what follows a header, and gives both.
pub fn rest(mut tcp: &TcpStream, header: &[u8; HEADER]) -> io::Result<Vec<u8>> {
    let mut record = vec![0; HEADER + length(header)];
    record[..HEADER].copy_from_slice(header);
    tcp.read_exact(&mut record[HEADER..])?;
    Ok(record)
}

/// A ServerHello of a server that knows nothing newer than TLS 1.1.
pub fn old_server_hello() -> Vec<u8> {
    const RANDOM: [u8; 32] = [7; 32];
    let no_session = [0];
    let no_compression = [0];
    let body = [
        &TLS_1_1[..],
        &RANDOM,
        &no_session,
        &ECDHE_RSA_AES_128_CBC_SHA,
        &no_compression,
    ]
    .concat();
    let length = u8::try_from(body.len()).expect("a short hello");
    let message = [&[SERVER_HELLO, 0, 0, length][..], &body].concat();
    let [version_high, version_low] = TLS_1_1;
    let length = u8::try_from(message.len()).expect("a short record");
    let mut record = vec![HANDSHAKE, version_high, version_low, 0, length];
    record.extend(message);
    record
}

/// A record that nothing protects, as in the handshake of TLS 1.2 and before every handshake.
pub fn alert(code: u8) -> [u8; 7] {
    [ALERT, 3, 3, 0, 2, FATAL, code]
}

/// A record of TLS 1.3 under the key that protects what the server sends next (RFC 8446, 5.2).
pub fn sealed_alert(code: u8, (sequence, secrets): &(u64, ConnectionTrafficSecrets)) -> Vec<u8> {
    let (algorithm, key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
        _ => panic!("a suite that is not sealed here"),
    };
    let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).expect("a traffic key"));
    let mut content = vec![FATAL, code, ALERT];
    let length = u16::try_from(content.len() + algorithm.tag_len()).expect("a short record");
    let [high, low] = length.to_be_bytes();
    let mut record = vec![APPLICATION_DATA, 3, 3, high, low];
    let header: [u8; HEADER] = record.as_slice().try_into().expect("a header");
    let nonce = nonce(iv.as_ref(), *sequence);
    key.seal_in_place_append_tag(nonce, Aad::from(header), &mut content)
        .expect("an alert that can be sealed");
    record.extend(content);
    record
}

fn nonce(iv: &[u8], sequence: u64) -> Nonce {
    let mut nonce: [u8; NONCE_LEN] = iv.try_into().expect("an IV of 96 bits");
    let counted = &mut nonce[NONCE_LEN - size_of::<u64>()..];
    for (byte, count) in counted.iter_mut().zip(sequence.to_be_bytes()) {
        *byte ^= count;
    }
    Nonce::assume_unique_for_key(nonce)
}
