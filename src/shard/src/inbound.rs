//! What a connection has received and not yet decoded, and where the next bytes go.
//!
//! An idle connection holds nothing: the machine lends a small pooled buffer when bytes arrive.
//! Small half frames are collected in a small vector. A large frame, or a connection that fills
//! what it is given, gets a buffer of its own out of the shard's budget; it is received
//! into directly, behind what is there, so that a frame's bytes are copied at most once.

use alloc::vec::Vec;

use plimsoll_device::{Buffer, RECEIVE_POOLED_BYTES};

use crate::receive_memory::{
    RECEIVE_BUSY_BYTES, RECEIVE_LARGE_BYTES, RECEIVE_SMALL_BYTES, ReceiveMemory,
};

/// A half frame up to this size is collected from pooled receives.
const COLLECTED_BYTES_MAX: usize = 2 * RECEIVE_POOLED_BYTES;

/// A drained connection whose last receive was smaller than this goes back to the pool.
const QUIET_BYTES: usize = 16 << 10;

/// The least that a frame takes, for one whose length has not arrived yet.
const FRAME_BYTES_MIN: usize = 16;

/// Bytes that wait to be decoded, taken out of a connection while it is served.
#[derive(Debug, Default)]
pub(crate) enum Held {
    #[default]
    Nothing,
    Collected(Vec<u8>),
    Own {
        buffer: Buffer,
        start: usize,
        filled: usize,
    },
}

impl Held {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Nothing => &[],
            Self::Collected(bytes) => bytes,
            Self::Own { buffer, start, filled } => &buffer[*start..*filled],
        }
    }

    /// Forgets the first `bytes`: they were decoded.
    pub(crate) fn consume(self, bytes: usize) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::Collected(held) if held.len() == bytes => Self::Nothing,
            Self::Collected(mut held) => {
                held.drain(..bytes);
                Self::Collected(held)
            }
            Self::Own { buffer, start, filled } if start + bytes == filled => {
                Self::Own { buffer, start: 0, filled: 0 }
            }
            Self::Own { buffer, start, filled } => {
                Self::Own { buffer, start: start + bytes, filled }
            }
        }
    }

    /// Keeps what is left of a pooled receive.
    pub(crate) fn collected(rest: &[u8]) -> Self {
        if rest.is_empty() { Self::Nothing } else { Self::Collected(rest.to_vec()) }
    }
}

/// The receiving side of a connection.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    pub(crate) held: Held,
    /// What a receive into an own buffer had to begin with, while the buffer is with the machine.
    unread: (usize, usize),
    last_received_bytes: usize,
    pub(crate) is_receiving: bool,
}

/// Where the next bytes go.
#[derive(Debug)]
pub(crate) enum Target {
    /// Into the buffer, from the position on; without one, into the pool.
    Receive(Option<(Buffer, usize)>),
    /// There is no memory for the frame now.
    NoMemory,
}

impl Inbound {
    /// Takes in a pooled receive behind what is held. Only for a connection that held something:
    /// otherwise the bytes are decoded where they lie.
    pub(crate) fn collect(&mut self, bytes: &[u8]) {
        match &mut self.held {
            Held::Collected(held) => held.extend_from_slice(bytes),
            Held::Nothing => self.held = Held::Collected(bytes.to_vec()),
            Held::Own { .. } => unreachable!("a connection with its own buffer receives into it"),
        }
    }

    pub(crate) fn note_received(&mut self, bytes: usize) {
        self.is_receiving = false;
        self.last_received_bytes = bytes;
    }

    /// Takes back the own buffer, with `bytes` more in it.
    pub(crate) fn restore(&mut self, buffer: Buffer, bytes: usize) {
        let (start, filled) = self.unread;
        let filled = (filled + bytes).min(buffer.len());
        self.held = Held::Own { buffer, start, filled };
    }

    /// Chooses where the next bytes go. `frame_bytes` is the length of the half frame at the front
    /// of what is held, if it is known. The caller sends the receive off.
    pub(crate) fn target(
        &mut self,
        frame_bytes: Option<usize>,
        memory: &mut ReceiveMemory,
    ) -> Target {
        let needed_bytes = frame_bytes.unwrap_or(FRAME_BYTES_MIN);
        match core::mem::take(&mut self.held) {
            Held::Own { buffer, start, filled } if start == filled => {
                self.target_of_drained(buffer, memory)
            }
            Held::Own { buffer, start, filled } => {
                self.target_of_own(buffer, (start, filled), needed_bytes, memory)
            }
            small => self.target_of_small(small, needed_bytes, memory),
        }
    }

    /// Gives memory back at the end of the connection.
    pub(crate) fn release(&mut self, memory: &mut ReceiveMemory) {
        if let Held::Own { buffer, .. } = core::mem::take(&mut self.held) {
            memory.give_back(buffer);
        }
    }

    fn target_of_small(
        &mut self,
        held: Held,
        needed_bytes: usize,
        memory: &mut ReceiveMemory,
    ) -> Target {
        let is_large = needed_bytes > COLLECTED_BYTES_MAX;
        let is_busy = self.last_received_bytes >= RECEIVE_POOLED_BYTES && !memory.is_short();
        if is_large || is_busy {
            if let Some(mut buffer) = memory.take(needed_bytes) {
                let filled = held.bytes().len();
                buffer[..filled].copy_from_slice(held.bytes());
                return self.receive_into(buffer, 0, filled);
            }
            if is_large {
                self.held = held;
                return Target::NoMemory;
            }
        }
        self.held = held;
        self.is_receiving = true;
        Target::Receive(None)
    }

    fn target_of_drained(&mut self, buffer: Buffer, memory: &mut ReceiveMemory) -> Target {
        let is_quiet = self.last_received_bytes < QUIET_BYTES.min(buffer.len());
        if is_quiet || memory.is_short() || buffer.len() > RECEIVE_LARGE_BYTES {
            memory.give_back(buffer);
            self.is_receiving = true;
            return Target::Receive(None);
        }
        let came_full = self.last_received_bytes >= RECEIVE_SMALL_BYTES;
        if came_full
            && buffer.len() < RECEIVE_BUSY_BYTES
            && let Some(larger) = memory.take(RECEIVE_BUSY_BYTES)
        {
            memory.give_back(buffer);
            return self.receive_into(larger, 0, 0);
        }
        self.receive_into(buffer, 0, 0)
    }

    fn target_of_own(
        &mut self,
        mut buffer: Buffer,
        (start, filled): (usize, usize),
        needed_bytes: usize,
        memory: &mut ReceiveMemory,
    ) -> Target {
        if needed_bytes > buffer.len() {
            let Some(mut larger) = memory.take(needed_bytes.max(RECEIVE_BUSY_BYTES)) else {
                self.held = Held::Own { buffer, start, filled };
                return Target::NoMemory;
            };
            larger[..filled - start].copy_from_slice(&buffer[start..filled]);
            memory.give_back(buffer);
            return self.receive_into(larger, 0, filled - start);
        }
        if start + needed_bytes > buffer.len() {
            // The rest has to move: for a busy connection, into a buffer that lasts longer.
            let may_grow = buffer.len() < RECEIVE_BUSY_BYTES && !memory.is_short();
            if may_grow && let Some(mut larger) = memory.take(RECEIVE_BUSY_BYTES) {
                larger[..filled - start].copy_from_slice(&buffer[start..filled]);
                memory.give_back(buffer);
                return self.receive_into(larger, 0, filled - start);
            }
            buffer.copy_within(start..filled, 0);
            return self.receive_into(buffer, 0, filled - start);
        }
        self.receive_into(buffer, start, filled)
    }

    fn receive_into(&mut self, buffer: Buffer, start: usize, filled: usize) -> Target {
        assert!(filled < buffer.len(), "there is room to receive into");
        self.unread = (start, filled);
        self.is_receiving = true;
        Target::Receive(Some((buffer, filled)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> ReceiveMemory {
        ReceiveMemory::new(64 << 20)
    }

    fn own(target: Target) -> (Buffer, usize) {
        match target {
            Target::Receive(Some(own)) => own,
            other => panic!("no buffer of its own: {other:?}"),
        }
    }

    #[test]
    fn an_idle_connection_receives_without_a_buffer() {
        let mut inbound = Inbound::default();
        assert!(matches!(inbound.target(None, &mut memory()), Target::Receive(None)));
    }

    #[test]
    fn a_small_half_frame_is_collected_and_a_large_one_gets_a_buffer_that_holds_it() {
        let (mut inbound, mut memory) = (Inbound::default(), memory());
        inbound.held = Held::collected(&[1; 100]);
        inbound.note_received(100);
        assert!(matches!(inbound.target(Some(200), &mut memory), Target::Receive(None)));
        inbound.collect(&[2; 50]);
        assert_eq!(inbound.held.bytes().len(), 150);

        inbound.note_received(50);
        let (buffer, filled) = own(inbound.target(Some(1 << 20), &mut memory));
        assert_eq!((buffer.len(), filled), (RECEIVE_LARGE_BYTES, 150));
        assert_eq!(&buffer[98..102], [1, 1, 2, 2]);
    }

    #[test]
    fn bytes_are_received_behind_what_is_there_and_moved_only_when_the_frame_does_not_fit() {
        let (mut inbound, mut memory) = (Inbound::default(), memory());
        inbound.note_received(RECEIVE_POOLED_BYTES);
        let (buffer, _) = own(inbound.target(None, &mut memory));
        inbound.note_received(50_000);
        inbound.restore(buffer, 50_000);
        inbound.held = core::mem::take(&mut inbound.held).consume(40_000);

        let (buffer, filled) = own(inbound.target(Some(20_000), &mut memory));
        assert_eq!(filled, 50_000, "40,000 + 20,000 fit: nothing moves");
        inbound.note_received(0);
        inbound.restore(buffer, 0);
        let (_, filled) = own(inbound.target(Some(30_000), &mut memory));
        assert_eq!(filled, 10_000, "40,000 + 30,000 do not fit: the rest moves to the front");
    }

    #[test]
    fn a_drained_quiet_connection_goes_back_to_the_pool_and_a_busy_one_grows() {
        let (mut inbound, mut memory) = (Inbound::default(), memory());
        inbound.note_received(RECEIVE_POOLED_BYTES);
        let (buffer, _) = own(inbound.target(None, &mut memory));
        inbound.note_received(RECEIVE_SMALL_BYTES);
        inbound.restore(buffer, RECEIVE_SMALL_BYTES);
        inbound.held = core::mem::take(&mut inbound.held).consume(RECEIVE_SMALL_BYTES);
        let (buffer, _) = own(inbound.target(None, &mut memory));
        assert_eq!(buffer.len(), RECEIVE_BUSY_BYTES);

        inbound.note_received(100);
        inbound.restore(buffer, 100);
        inbound.held = core::mem::take(&mut inbound.held).consume(100);
        assert!(matches!(inbound.target(None, &mut memory), Target::Receive(None)));
        assert!(memory.take(60 << 20).is_some(), "all of the memory came back");
    }

    #[test]
    fn without_memory_a_large_frame_waits_and_keeps_what_it_has() {
        let mut memory = ReceiveMemory::new(RECEIVE_SMALL_BYTES);
        let taken = memory.take(1).unwrap();
        let mut inbound = Inbound { held: Held::collected(&[7; 40]), ..Inbound::default() };
        assert!(matches!(inbound.target(Some(9_000), &mut memory), Target::NoMemory));
        assert_eq!(inbound.held.bytes(), [7; 40]);
        memory.give_back(taken);
        assert_eq!(own(inbound.target(Some(9_000), &mut memory)).1, 40);
    }
}
