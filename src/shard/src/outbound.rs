//! What a connection has to send: encoded frames, and batches that go out of the arena uncopied.
//!
//! There is one send in flight. Frames of one turn gather in `open` and leave together; a frame
//! with a body closes the piece that it ends, because a send is one head and one body. The order of
//! the frames is the order in which they were written.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use plimsoll_device::Memory;
use plimsoll_storage::Lent;

#[derive(Debug, Default)]
pub(crate) struct Outbound {
    /// Frames that nobody sends yet. Append to it.
    pub(crate) open: Vec<u8>,
    sealed: VecDeque<(Vec<u8>, Lent)>,
    sealed_bytes: usize,
    sending: Option<Sending>,
}

#[derive(Debug)]
struct Sending {
    bytes: usize,
    body: Option<Lent>,
}

impl Outbound {
    /// Ends the open piece with `body`; its head has just been written to `open`. `spare` becomes
    /// the next open piece.
    pub(crate) fn seal(&mut self, body: Lent, spare: Vec<u8>) {
        let head = core::mem::replace(&mut self.open, spare);
        self.sealed_bytes += head.len() + body.range.length_bytes;
        self.sealed.push_back((head, body));
    }

    /// What to send next, unless a send is in flight or there is nothing.
    pub(crate) fn next_send(&mut self) -> Option<(Vec<u8>, Memory)> {
        if self.sending.is_some() {
            return None;
        }
        if let Some((head, body)) = self.sealed.pop_front() {
            let memory = Memory::Arena(body.range);
            let bytes = head.len() + body.range.length_bytes;
            self.sealed_bytes -= bytes;
            self.sending = Some(Sending { bytes, body: Some(body) });
            return Some((head, memory));
        }
        if self.open.is_empty() {
            return None;
        }
        let head = core::mem::take(&mut self.open);
        self.sending = Some(Sending { bytes: head.len(), body: None });
        Some((head, Memory::None))
    }

    /// The send in flight has ended; gives the body that may be released.
    pub(crate) fn sent(&mut self) -> Option<Lent> {
        self.sending.take().and_then(|sending| sending.body)
    }

    /// Everything that waits or is being sent, in bytes.
    pub(crate) fn backlog_bytes(&self) -> usize {
        let sending_bytes = self.sending.as_ref().map_or(0, |sending| sending.bytes);
        self.open.len() + self.sealed_bytes + sending_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.sealed.is_empty() && self.sending.is_none()
    }

    /// Gives up what was not begun to be sent; gives the next body that may be released.
    pub(crate) fn discard(&mut self) -> Option<Lent> {
        self.open = Vec::new();
        let (head, body) = self.sealed.pop_front()?;
        self.sealed_bytes -= head.len() + body.range.length_bytes;
        Some(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_during_a_send_leaves_in_one_piece_afterwards() {
        let mut outbound = Outbound::default();
        outbound.open.extend_from_slice(b"one");
        let (head, _) = outbound.next_send().unwrap();
        assert_eq!(head, b"one");
        outbound.open.extend_from_slice(b"two");
        outbound.open.extend_from_slice(b"three");
        assert!(outbound.next_send().is_none(), "one send in flight");
        assert_eq!(outbound.backlog_bytes(), 11);
        assert!(outbound.sent().is_none());
        assert_eq!(outbound.next_send().unwrap().0, b"twothree");
        assert!(!outbound.is_empty());
        assert!(outbound.sent().is_none());
        assert!(outbound.is_empty());
    }
}
