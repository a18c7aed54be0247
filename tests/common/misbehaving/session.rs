//! The server's half of TLS, driven by hand: rustls decides what is to be said, this decides what
//! of it is sent, and how it ends.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ProtocolVersion, ServerConfig, ServerConnection};

use super::super::hub::answer::ClientNames;
use super::records;

/// A connection whose client has said all that it says in a handshake. What the server says last
/// (in TLS 1.2 its Finished) has not been sent.
pub struct Session<'a> {
    tls: ServerConnection,
    tcp: &'a TcpStream,
}

impl<'a> Session<'a> {
    /// `first` was read already: the record with the ClientHello.
    pub fn accept(
        config: Arc<ServerConfig>,
        tcp: &'a TcpStream,
        mut first: &[u8],
    ) -> io::Result<Self> {
        let tls = ServerConnection::new(config).map_err(io::Error::other)?;
        let mut session = Self { tls, tcp };
        while !first.is_empty() {
            session.tls.read_tls(&mut first)?;
            session.process()?;
        }
        while session.tls.is_handshaking() {
            session.flush()?;
            session.read()?;
        }
        Ok(session)
    }

    /// Sends a fatal alert in place of what the server would say next.
    pub fn refuse(mut self, code: u8) -> io::Result<()> {
        let record = match self.tls.protocol_version() {
            // Protected from here on; the client takes its own handshake for done.
            Some(ProtocolVersion::TLSv1_3) => {
                self.flush()?;
                let secrets = self.tls.dangerous_extract_secrets();
                records::sealed_alert(code, &secrets.map_err(io::Error::other)?.tx)
            }
            _ => records::alert(code).to_vec(),
        };
        self.tcp.write_all(&record)
    }

    /// The names in the certificate that the client presented.
    pub fn client(&self) -> Option<ClientNames> {
        let chain = self.tls.peer_certificates()?;
        chain.first().map(|der| ClientNames::of(der))
    }

    /// Completes the handshake and waits for a request without a body.
    pub fn request(&mut self) -> io::Result<Vec<u8>> {
        self.flush()?;
        let mut request = Vec::new();
        loop {
            let mut part = [0; 4096];
            match self.tls.reader().read(&mut part) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => request.extend_from_slice(&part[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.read()?,
                Err(error) => return Err(error),
            }
            if request.ends_with(b"\r\n\r\n") {
                return Ok(request);
            }
        }
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tls.writer().write_all(bytes)?;
        self.flush()
    }

    /// Says nothing until the client leaves.
    pub fn wait(&self) -> io::Result<()> {
        let mut tcp = self.tcp;
        io::copy(&mut tcp, &mut io::sink()).map(|_| ())
    }

    /// Says that nothing more comes.
    pub fn close(&mut self) -> io::Result<()> {
        self.tls.send_close_notify();
        self.flush()
    }

    fn read(&mut self) -> io::Result<()> {
        let mut tcp = self.tcp;
        if self.tls.read_tls(&mut tcp)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.process()
    }

    fn process(&mut self) -> io::Result<()> {
        let processed = self.tls.process_new_packets();
        if let Err(error) = processed {
            // The alert that says why.
            self.flush()?;
            return Err(io::Error::other(error));
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut tcp = self.tcp;
        while self.tls.wants_write() {
            self.tls.write_tls(&mut tcp)?;
        }
        Ok(())
    }
}
