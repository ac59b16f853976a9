//! The protocol as its peers meet it: bytes in, bytes out, through the public interface alone.

#[cfg(test)]
mod document;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod fuzz_seeds;
#[cfg(test)]
mod hostile_bytes;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod share_frames;
