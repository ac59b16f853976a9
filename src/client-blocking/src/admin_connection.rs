//! One connection for questions, asked one at a time by whoever holds it.
//!
//! It knows nothing of topics. What a newcomer gets wrong: after a fault the connection is thrown
//! away, because an answer to an old question may still arrive on it.

use crate::dial::{dial, io_fault};
use plimsoll_client::{
    Admin, AdminReply, AdminRequest, ConnectionFault, IncomingFrames, RequestError,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct AdminConnection {
    stream: TcpStream,
    admin: Admin,
    incoming: IncomingFrames,
    timeout: Duration,
}

impl AdminConnection {
    pub(crate) fn open(
        address: &str,
        client_name: &str,
        connect_timeout: Duration,
        request_timeout: Duration,
    ) -> Result<AdminConnection, ConnectionFault> {
        let stream = dial(address, connect_timeout)?;
        stream.set_read_timeout(Some(request_timeout)).map_err(|error| io_fault(&error))?;
        stream.set_write_timeout(Some(request_timeout)).map_err(|error| io_fault(&error))?;
        let incoming = IncomingFrames::new();
        Ok(AdminConnection {
            stream,
            admin: Admin::new(client_name),
            incoming,
            timeout: request_timeout,
        })
    }

    /// Asks and waits. After [`RequestError::Connection`] the connection is of no more use.
    pub(crate) fn ask(&mut self, request: &AdminRequest<'_>) -> Result<AdminReply, RequestError> {
        self.admin.ask(request);
        loop {
            while let Some(frame) = self.incoming.next_frame().map_err(RequestError::Connection)? {
                self.admin.handle_frame(frame).map_err(RequestError::Connection)?;
            }
            // An answer may lead to another question.
            while let Some(chunk) = self.admin.poll_transmit() {
                self.stream.write_all(&chunk).map_err(|error| self.fault(&error))?;
            }
            if let Some(reply) = self.admin.poll_reply() {
                return reply.map_err(RequestError::Server);
            }
            match self.stream.read(self.incoming.space()) {
                Ok(0) => return Err(RequestError::Connection(ConnectionFault::ClosedByServer)),
                Ok(bytes) => self.incoming.filled(bytes),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.fault(&error)),
            }
        }
    }

    fn fault(&self, error: &std::io::Error) -> RequestError {
        use std::io::ErrorKind::{TimedOut, WouldBlock};
        RequestError::Connection(match error.kind() {
            TimedOut | WouldBlock => ConnectionFault::Silent(self.timeout),
            _ => io_fault(error),
        })
    }
}
