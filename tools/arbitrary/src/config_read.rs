//! Arbitrary text as the configuration file of `serve`: an answer or an error of a few lines, never
//! a panic. What is taken once is taken again to the same end.

use std::path::PathBuf;

use plimsoll_server::Config;

/// Text of a configuration, applied.
///
/// # Panics
///
/// When what the module promises is broken.
pub fn config_read(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let before = Config::new(PathBuf::from("/data"));
    let mut config = before.clone();
    if let Err(error) = config.apply_toml(text) {
        assert!(!error.to_string().is_empty());
        return;
    }
    let mut again = before;
    assert!(again.apply_toml(text).is_ok());
    assert!(again.apply_toml(text).is_ok());
    assert_eq!(again, config);
}
