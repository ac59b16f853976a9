//! What it checks is said where it does so: `plimsoll_arbitrary::segment_read`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plimsoll_arbitrary::segment_read(bytes));
