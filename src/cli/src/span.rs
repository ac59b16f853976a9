//! Spans of time on the command line: `500ms`, `30s`, `10m`, `2h`, `1d`; and times, `@UNIX_MS`.
//!
//! A number without a unit is refused: whether it means seconds or milliseconds is what people get
//! wrong.

use std::time::Duration;

use plimsoll_client_blocking::DeliverAfter;

/// Reads a span of time.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60 * 1000,
        "h" => 3600 * 1000,
        "d" => 24 * 3600 * 1000,
        _ => return Err(format!("`{text}` is not a span of time: write 500ms, 30s, 10m or 2h")),
    };
    let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms));
    ms.map(Duration::from_millis).ok_or_else(|| format!("`{text}` is more than can be counted"))
}

/// Reads when a record is to be delivered.
pub(crate) fn parse_deliver_after(text: &str) -> Result<DeliverAfter, String> {
    match text.strip_prefix('@') {
        Some(unix_ms) => unix_ms
            .parse()
            .map(DeliverAfter::UnixMs)
            .map_err(|_| format!("`{text}` is not a time: write @ and milliseconds since 1970")),
        None => match parse_span(text) {
            Ok(delay) => Ok(DeliverAfter::Delay(delay)),
            Err(error) => Err(format!("{error}, or @ and milliseconds since 1970")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_need_a_unit() {
        assert_eq!(parse_span("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_span("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_span("2h"), Ok(Duration::from_secs(7200)));
        for text in ["", "30", "s", "1.5s", "-1s", "1w"] {
            assert!(parse_span(text).is_err(), "{text}");
            assert!(parse_deliver_after(text).unwrap_err().contains('@'), "{text}");
        }
        assert!(parse_span("99999999999999999d").unwrap_err().contains("counted"));
    }

    #[test]
    fn a_delivery_is_after_a_span_or_at_a_time() {
        let delay = DeliverAfter::Delay(Duration::from_secs(10));
        assert_eq!(parse_deliver_after("10s"), Ok(delay));
        let at = DeliverAfter::UnixMs(1_700_000_000_000);
        assert_eq!(parse_deliver_after("@1700000000000"), Ok(at));
        assert!(parse_deliver_after("@soon").is_err());
    }
}
