//! A second run receives what the first has received, and sends no byte twice.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

async fn connection() -> (HandshakeStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, server) = (client.await.unwrap(), listener.accept().await.unwrap().0);
    let stream = HandshakeStream::new(client.into(), &Arc::new(Replay::default()));
    (stream, server)
}

async fn read(stream: &mut (impl AsyncRead + Unpin), length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn the_second_run_goes_on_where_the_first_has_ended() {
    let (mut stream, mut server) = connection().await;
    stream.write_all(b"hello, ").await.unwrap();
    server.write_all(b"certificate").await.unwrap();
    assert_eq!(read(&mut stream, 11).await, b"certificate");
    stream.write_all(b"hub").await.unwrap();
    let mut stream = stream.rewound();
    // In other portions than before.
    stream.write_all(b"he").await.unwrap();
    assert_eq!(read(&mut stream, 4).await, b"cert");
    stream.write_all(b"llo, hub; finished").await.unwrap();
    server.write_all(b"; ticket").await.unwrap();
    assert_eq!(read(&mut stream, 15).await, b"ificate; ticket");
    assert!(stream.recording.is_none());
    assert_eq!(read(&mut server, 20).await, b"hello, hub; finished");
    // From now on it is the TCP stream.
    stream.write_all(b"request").await.unwrap();
    assert_eq!(read(&mut server, 7).await, b"request");
    drop(stream);
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_second_run_that_sends_something_else_fails_and_sends_nothing() {
    let (mut stream, mut server) = connection().await;
    stream.write_all(b"hello").await.unwrap();
    let mut stream = stream.rewound();
    assert!(stream.write_all(b"help!").await.is_err());
    drop(stream);
    let mut received = Vec::new();
    server.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"hello");
}

#[tokio::test]
async fn a_handshake_without_an_end_is_cut_off() {
    let (mut stream, mut server) = connection().await;
    let sending = tokio::spawn(async move {
        let block = vec![0; 64 << 10];
        while server.write_all(&block).await.is_ok() {}
    });
    let mut received = 0;
    let mut block = vec![0; 64 << 10];
    let error = loop {
        match stream.read(&mut block).await {
            Ok(length) => received += length,
            Err(error) => break error,
        }
    };
    assert!(
        (MAX_INPUT - block.len()..=MAX_INPUT).contains(&received),
        "{error}"
    );
    drop(stream);
    sending.await.unwrap();
}
