//! One connection for questions, asked one at a time by whoever holds it.
//!
//! It knows nothing of topics. What a newcomer gets wrong: after a fault the connection is thrown
//! away, because an answer to an old question may still arrive on it.

use crate::engine::{dial, io_fault};
use crate::transport::Transport;
use plimsoll_client::{
    Admin, AdminReply, AdminRequest, ConnectionFault, IncomingFrames, RequestError,
};
use std::fmt;
use std::time::Duration;

pub(crate) struct AdminConnection<T: Transport> {
    reading: T::Reading,
    writing: T::Writing,
    admin: Admin,
    incoming: IncomingFrames,
    timeout: Duration,
}

impl<T: Transport> AdminConnection<T> {
    pub(crate) async fn open(
        address: &str,
        client_name: &str,
        connect_timeout: Duration,
        timeout: Duration,
    ) -> Result<AdminConnection<T>, RequestError> {
        let dialled = dial::<T>(address, connect_timeout).await;
        let (reading, writing) = dialled.map_err(RequestError::Connection)?;
        let (admin, incoming) = (Admin::new(client_name), IncomingFrames::new());
        Ok(AdminConnection { reading, writing, admin, incoming, timeout })
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
            while let Some(frame) = self.incoming.next_frame().map_err(RequestError::Connection)? {
                self.admin.handle_frame(frame).map_err(RequestError::Connection)?;
            }
            // An answer may lead to another question.
            while let Some(chunk) = self.admin.poll_transmit() {
                let written = T::write(&mut self.writing, chunk).await;
                written.map_err(|error| RequestError::Connection(io_fault(&error)))?;
            }
            if let Some(reply) = self.admin.poll_reply() {
                return reply.map_err(RequestError::Server);
            }
            match T::read(&mut self.reading, &mut self.incoming).await {
                Ok(0) => return Err(RequestError::Connection(ConnectionFault::ClosedByServer)),
                Ok(_) => {}
                Err(error) => return Err(RequestError::Connection(io_fault(&error))),
            }
        }
    }
}

impl<T: Transport> fmt::Debug for AdminConnection<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AdminConnection")
            .field("admin", &self.admin)
            .finish_non_exhaustive()
    }
}
