//! Randomness of the kernel, and the identity of the present boot.
//!
//! Simulated shards get identities as parameters and never come here. What a newcomer gets wrong: a
//! container that restarts keeps the boot's identity, while its own tmpfs is gone; the identity
//! says how old memory may be, not that it is there.

use std::fmt;

/// `N` random bytes of the kernel, fit for identities and tokens. Waits, once after a machine's
/// start, until the kernel has gathered enough.
pub fn random_bytes<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        let rest = &mut bytes[filled..];
        // SAFETY: `rest` is valid to write to for its length.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(got) {
            Ok(got) => filled += got,
            Err(_) => {
                let error = std::io::Error::last_os_error();
                if error.kind() != std::io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(bytes)
}

/// The identity of the present boot: what lies in memory was put there since then.
pub fn boot_id() -> Result<[u8; 16], BootIdError> {
    let text =
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(BootIdError::Io)?;
    parse(&text).ok_or(BootIdError::Malformed)
}

fn parse(text: &str) -> Option<[u8; 16]> {
    let mut digits = text.trim().chars().filter(|letter| *letter != '-');
    let mut id = [0; 16];
    for byte in &mut id {
        let high = digits.next()?.to_digit(16)?;
        let low = digits.next()?.to_digit(16)?;
        *byte = (high * 16 + low) as u8;
    }
    digits.next().is_none().then_some(id)
}

/// Why the boot's identity is not known.
#[derive(Debug)]
#[non_exhaustive]
pub enum BootIdError {
    /// /proc could not be read.
    Io(std::io::Error),
    /// It is no identity of 16 bytes.
    Malformed,
}

impl fmt::Display for BootIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("/proc/sys/kernel/random/boot_id: ")?;
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Malformed => f.write_str("not an identity of 16 bytes"),
        }
    }
}

impl std::error::Error for BootIdError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_identity_is_the_same_each_time_and_random_bytes_are_not() {
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
        assert_ne!(random_bytes::<16>().unwrap(), random_bytes::<16>().unwrap());
    }

    #[test]
    fn an_identity_of_another_length_is_refused() {
        assert_eq!(parse("01020304-0506-0708-090a-0b0c0d0e0f10\n").unwrap()[15], 16);
        assert_eq!(parse("0102"), None);
        assert_eq!(parse("01020304-0506-0708-090a-0b0c0d0e0f1011"), None);
    }
}
