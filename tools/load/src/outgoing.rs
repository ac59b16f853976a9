//! Produce frames on their way out: a head each, and a batch that may be the same for all.
//!
//! Nothing is copied: head and batch are written from where they lie, many in one system call.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::net::TcpStream;
use std::rc::Rc;

use plimsoll_wire::PRODUCE_HEAD_BYTES;

/// Frames for one system call. Two slices each; the kernel takes 1024.
const FRAMES_AT_ONCE: usize = 64;

/// What waits to be written to one connection.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    frames: VecDeque<QueuedFrame>,
    /// Bytes of the first frame that are written.
    written_bytes: usize,
    waiting_bytes: usize,
}

#[derive(Debug)]
struct QueuedFrame {
    head: [u8; PRODUCE_HEAD_BYTES],
    batch: Rc<Vec<u8>>,
}

impl Outgoing {
    pub(crate) fn push(&mut self, head: [u8; PRODUCE_HEAD_BYTES], batch: Rc<Vec<u8>>) {
        self.waiting_bytes += head.len() + batch.len();
        self.frames.push_back(QueuedFrame { head, batch });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Writes until nothing waits or the connection takes no more. Batches that nobody else holds
    /// are given to `spent`, for their memory.
    pub(crate) fn write_to(
        &mut self,
        stream: &mut TcpStream,
        spent: &mut Vec<Vec<u8>>,
    ) -> io::Result<()> {
        while !self.frames.is_empty() {
            let mut slices = [IoSlice::new(&[]); 2 * FRAMES_AT_ONCE];
            let mut count = 0;
            let mut offered_bytes = 0;
            let mut skip = self.written_bytes;
            for frame in self.frames.iter().take(FRAMES_AT_ONCE) {
                let head = &frame.head[skip.min(frame.head.len())..];
                let batch = &frame.batch[skip.saturating_sub(frame.head.len())..];
                for part in [head, batch] {
                    if !part.is_empty() {
                        slices[count] = IoSlice::new(part);
                        count += 1;
                        offered_bytes += part.len();
                    }
                }
                skip = 0;
            }
            match stream.write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    self.written(bytes, spent);
                    if bytes < offered_bytes {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn written(&mut self, bytes: usize, spent: &mut Vec<Vec<u8>>) {
        self.waiting_bytes -= bytes;
        self.written_bytes += bytes;
        while let Some(first) = self.frames.front() {
            let frame_bytes = first.head.len() + first.batch.len();
            if self.written_bytes < frame_bytes {
                return;
            }
            self.written_bytes -= frame_bytes;
            if let Some(frame) = self.frames.pop_front()
                && let Ok(memory) = Rc::try_unwrap(frame.batch)
            {
                spent.push(memory);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;

    #[test]
    fn frames_arrive_whole_and_in_order_however_the_socket_cuts_them() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let (mut outgoing, mut spent, mut expected) = (Outgoing::default(), Vec::new(), Vec::new());
        for number in 0..200_u8 {
            let batch = vec![number; 20_000 + 7 * usize::from(number)];
            expected.extend_from_slice(&[number; PRODUCE_HEAD_BYTES]);
            expected.extend_from_slice(&batch);
            outgoing.push([number; PRODUCE_HEAD_BYTES], Rc::new(batch));
        }
        let (mut received, mut buffer) = (Vec::new(), vec![0; 100_003]);
        while received.len() < expected.len() {
            outgoing.write_to(&mut stream, &mut spent).unwrap();
            let bytes = peer.read(&mut buffer).unwrap();
            received.extend_from_slice(&buffer[..bytes]);
        }
        assert!(received == expected);
        assert_eq!((outgoing.waiting_bytes(), spent.len()), (0, 200));
    }
}
