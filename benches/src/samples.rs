//! A series of timed samples and its median.

use std::time::Duration;

/// The median of `samples`, in microseconds. The order of `samples` is lost.
pub(crate) fn p50_us(samples: &mut [Duration]) -> f64 {
    samples.sort_unstable();
    samples.get(samples.len() / 2).map_or(f64::NAN, |sample| sample.as_secs_f64() * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_microseconds_and_does_not_depend_on_the_order() {
        let mut samples = [30, 10, 20].map(Duration::from_micros);
        assert!((p50_us(&mut samples) - 20.0).abs() < 1e-9);
        assert!(p50_us(&mut []).is_nan());
    }
}
