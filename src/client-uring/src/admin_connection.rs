//! One connection for questions, asked one at a time by whoever holds it.
//!
//! It knows nothing of topics. What a newcomer gets wrong: after a fault the connection is thrown
//! away, because an answer to an old question may still arrive on it.

use crate::engine::{READ_BYTES, dial, io_fault};
use bytes::Bytes;
use plimsoll_client::{
    Admin, AdminReply, AdminRequest, ConnectionFault, IncomingFrames, RequestError,
};
use std::mem;
use std::time::Duration;
use tokio_uring::net::TcpStream;

pub(crate) struct AdminConnection {
    stream: TcpStream,
    admin: Admin,
    incoming: IncomingFrames,
    /// Lent to the kernel for each read.
    buffer: Vec<u8>,
    timeout: Duration,
}

impl AdminConnection {
    pub(crate) async fn open(
        address: &str,
        client_name: &str,
        connect_timeout: Duration,
        timeout: Duration,
    ) -> Result<AdminConnection, RequestError> {
        let stream = dial(address, connect_timeout).await.map_err(RequestError::Connection)?;
        let (admin, incoming) = (Admin::new(client_name), IncomingFrames::new());
        let buffer = vec![0; READ_BYTES];
        Ok(AdminConnection { stream, admin, incoming, buffer, timeout })
    }

    /// Asks and waits. After [`RequestError::Connection`] the connection is of no more use.
    pub(crate) async fn ask(
        &mut self,
        request: &AdminRequest<'_>,
    ) -> Result<AdminReply, RequestError> {
        let timeout = self.timeout;
        let silent = RequestError::Connection(ConnectionFault::Silent(timeout));
        let asked = tokio::time::timeout(timeout, self.ask_and_wait(request)).await;
        asked.unwrap_or(Err(silent))
    }

    async fn ask_and_wait(
        &mut self,
        request: &AdminRequest<'_>,
    ) -> Result<AdminReply, RequestError> {
        self.admin.ask(request);
        loop {
            while let Some(chunk) = self.admin.poll_transmit() {
                let (written, _) = self.stream.write_all(Bytes::from_owner(chunk)).await;
                written.map_err(|error| RequestError::Connection(io_fault(&error)))?;
            }
            if let Some(reply) = self.admin.poll_reply() {
                return reply.map_err(RequestError::Server);
            }
            let (read, buffer) = self.stream.read(mem::take(&mut self.buffer)).await;
            self.buffer = buffer;
            match read {
                Ok(0) => return Err(RequestError::Connection(ConnectionFault::ClosedByServer)),
                Ok(bytes) => self.take_in(bytes)?,
                Err(error) => return Err(RequestError::Connection(io_fault(&error))),
            }
        }
    }

    /// Takes frames out of the first bytes of the buffer, as many as there is room for at once.
    fn take_in(&mut self, bytes: usize) -> Result<(), RequestError> {
        let mut taken = 0;
        while taken < bytes {
            taken += self.incoming.take_from(&self.buffer[taken..bytes]);
            while let Some(frame) = self.incoming.next_frame().map_err(RequestError::Connection)? {
                self.admin.handle_frame(frame).map_err(RequestError::Connection)?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for AdminConnection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AdminConnection")
            .field("admin", &self.admin)
            .finish_non_exhaustive()
    }
}
