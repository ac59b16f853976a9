//! The simulated machine against the contract of `plimsoll-device`.

mod crash;
mod disk;
#[cfg(test)]
mod machine;
mod network;
