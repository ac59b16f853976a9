//! Opens a TCP connection the way every part of the client wants it.
//!
//! It does not retry: that is the session's business. What a newcomer gets wrong: a name is looked
//! up anew each time, so that a server may move.

use plimsoll_client::ConnectionFault;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// The addresses of `HOST:PORT`.
pub(crate) fn resolve(address: &str) -> io::Result<Vec<SocketAddr>> {
    let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
    }
    Ok(addresses)
}

/// Connects to the first address that answers.
pub(crate) fn dial(address: &str, timeout: Duration) -> Result<TcpStream, ConnectionFault> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in resolve(address).map_err(|error| io_fault(&error))? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                // Batching is the session's: what it gives out is to go now.
                stream.set_nodelay(true).map_err(|error| io_fault(&error))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(io_fault(&last))
}

pub(crate) fn io_fault(error: &io::Error) -> ConnectionFault {
    ConnectionFault::Io(Arc::from(error.to_string()))
}
