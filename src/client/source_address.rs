//! A TCP connection from a certain local address (`source_address` of `[network]`): firewalls know a machine with several by one
//! of them.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

/// Connects, from this local address and any port of it; without one, as the system chooses.
pub(super) async fn connect(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(source) = source else {
        return TcpStream::connect(address).await;
    };
    if source.is_ipv4() != address.is_ipv4() {
        let why =
            format!("not to be reached from {source} (`source_address`): of the other family");
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, why));
    }
    let socket = match source {
        IpAddr::V4(_) => TcpSocket::new_v4(),
        IpAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    let bound = socket.bind(SocketAddr::new(source, 0));
    bound.map_err(|error| {
        let why = format!("{error}: {source} (`source_address`) is no address of this machine?");
        io::Error::new(error.kind(), why)
    })?;
    socket.connect(address).await
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_other_side_sees_the_address() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let source: IpAddr = "127.0.0.9".parse().unwrap();
        let connecting = connect(address, Some(source));
        let (connected, accepted) = tokio::join!(connecting, listener.accept());
        connected?;
        assert_eq!(accepted?.1.ip(), source);
        for (source, said) in [("::1", "other family"), ("192.0.2.1", "this machine")] {
            let failed = connect(address, Some(source.parse().unwrap())).await;
            let error = failed.unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        Ok(())
    }
}
