//! Tokio's sockets and tasks.
//!
//! What a newcomer gets wrong: that the futures here are `Send` is proven in this file, where the
//! transport is known, not where they are written.

use plimsoll_client::{Ack, AppendError, Chunk, IncomingFrames, LinkId};
use plimsoll_client_async::{Driven, Engine, Receipt, Transport};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// The transport of this crate; never a value.
#[derive(Clone, Copy, Debug)]
pub enum Tokio {}

impl Transport for Tokio {
    const CLIENT_NAME: &'static str = "plimsoll-client-tokio";

    type Reading = OwnedReadHalf;
    type Writing = OwnedWriteHalf;
    type Waiting = Pin<Box<dyn Future<Output = Result<Ack, AppendError>> + Send>>;

    async fn dial(address: &str) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream.into_split())
    }

    async fn read(reading: &mut OwnedReadHalf, incoming: &mut IncomingFrames) -> io::Result<usize> {
        let bytes = reading.read(incoming.space()).await?;
        incoming.filled(bytes);
        Ok(bytes)
    }

    async fn write(writing: &mut OwnedWriteHalf, chunk: Chunk) -> io::Result<()> {
        writing.write_all(&chunk).await
    }

    fn spawn_keeper<S: Driven>(engine: Arc<Engine<S>>, link: LinkId) {
        tokio::spawn(engine.keep::<Tokio>(link));
    }

    fn wait(receipt: Receipt<Tokio>) -> Self::Waiting {
        Box::pin(async move { receipt.wait().await })
    }
}
