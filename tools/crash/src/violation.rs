//! A promise that was broken, in words.
//!
//! The harness of the tests panics where something is not as it must be; here that ends the
//! campaign with a verdict. What a newcomer gets wrong: a panic of a producer's thread is an answer
//! about the server, not a fault of the campaign.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

/// What was seen that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) String);

impl Violation {
    /// Does it, and takes a panic of the harness for what it is.
    pub(crate) fn watched<T>(work: impl FnOnce() -> Result<T, Violation>) -> Result<T, Violation> {
        catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|panic| Err(Violation(words_of(panic.as_ref()))))
    }

    /// What a thread of the harness came to.
    pub(crate) fn joined<T>(thread: JoinHandle<T>) -> Result<T, Violation> {
        thread.join().map_err(Violation::of)
    }

    /// A panic of the harness, in its words.
    #[expect(clippy::needless_pass_by_value, reason = "it is what a join gives")]
    pub(crate) fn of(panic: Box<dyn Any + Send>) -> Violation {
        Violation(words_of(panic.as_ref()))
    }
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "the harness panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_harness_is_a_violation_in_its_words() {
        let watched: Result<(), _> = Violation::watched(|| panic!("offset {} twice", 7));
        assert_eq!(watched, Err(Violation("offset 7 twice".to_owned())));
        let joined = Violation::joined(std::thread::spawn(|| panic!("gone")));
        assert_eq!(joined, Err(Violation("gone".to_owned())));
    }
}
