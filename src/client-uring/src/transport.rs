//! Sockets and tasks on tokio-uring.
//!
//! What a newcomer gets wrong: a read that is dropped goes on in the kernel, and holds the socket
//! and its buffer. So a socket is shut down when its halves are gone, which ends the read.

use bytes::Bytes;
use plimsoll_client::{Ack, AppendError, Chunk, IncomingFrames, LinkId};
use plimsoll_client_async::{Driven, Engine, Receipt, Transport};
use std::io;
use std::marker::PhantomData;
use std::net::Shutdown;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use tokio_uring::net::TcpStream;

/// The transport of this crate; never a value. It keeps all that is named after it on one thread.
#[derive(Clone, Copy, Debug)]
pub struct Uring {
    _not_send: PhantomData<*const ()>,
}

impl Transport for Uring {
    const CLIENT_NAME: &'static str = "plimsoll-client-uring";

    type Reading = Reading;
    type Writing = Writing;
    type Waiting = Pin<Box<dyn Future<Output = Result<Ack, AppendError>>>>;

    async fn dial(address: &str) -> io::Result<(Reading, Writing)> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in tokio::net::lookup_host(address).await? {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    let socket = Rc::new(Socket(stream));
                    let (buffer, unread) = (vec![0; READ_BYTES], 0..0);
                    let reading = Reading { socket: Rc::clone(&socket), buffer, unread };
                    return Ok((reading, Writing { socket }));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn read(reading: &mut Reading, incoming: &mut IncomingFrames) -> io::Result<usize> {
        if reading.unread.is_empty() {
            let buffer = std::mem::take(&mut reading.buffer);
            let (read, buffer) = reading.socket.0.read(buffer).await;
            reading.buffer = buffer;
            reading.unread = 0..read?;
        }
        let taken = incoming.take_from(&reading.buffer[reading.unread.clone()]);
        reading.unread.start += taken;
        Ok(taken)
    }

    async fn write(writing: &mut Writing, chunk: Chunk) -> io::Result<()> {
        writing.socket.0.write_all(Bytes::from_owner(chunk)).await.0
    }

    fn spawn_keeper<S: Driven>(engine: Arc<Engine<S>>, link: LinkId) {
        tokio_uring::spawn(engine.keep::<Uring>(link));
    }

    fn wait(receipt: Receipt<Uring>) -> Self::Waiting {
        Box::pin(async move { receipt.wait().await })
    }
}

/// How much one read may bring.
const READ_BYTES: usize = 64 << 10;

/// What is read from.
pub struct Reading {
    socket: Rc<Socket>,
    /// Lent to the kernel for each read.
    buffer: Vec<u8>,
    /// What was read and is not yet taken out of the buffer.
    unread: Range<usize>,
}

/// What is written to.
pub struct Writing {
    socket: Rc<Socket>,
}

struct Socket(TcpStream);

impl Drop for Socket {
    fn drop(&mut self) {
        // The server may have closed it already: that is as good.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}
