//! Arbitrary bytes against the decoders: one function a decoder, which takes any bytes and panics
//! when a promise is broken.
//!
//! Two callers feed them. `tools/fuzz` has libFuzzer look for bytes by what they cover
//! (`make fuzz`), and `tests/mutations.rs` changes the kept seeds at random (`make test`). Nothing
//! here may depend on anything but the bytes. What a newcomer gets wrong: random bytes hardly ever
//! carry a right checksum, so each function also tries them with their checksum made right.

#![forbid(unsafe_code)]

mod batch_validate;
mod config_read;
mod directory;
mod frame_decode;
mod journal_file;
mod journal_recovery;
mod segment_read;

pub use batch_validate::batch_validate;
pub use config_read::config_read;
pub use frame_decode::frame_decode;
pub use journal_recovery::journal_recovery;
pub use segment_read::segment_read;
