//! Time as a value. Decisions take `now` as an argument; only adapters and pipelines hold a [`Clock`].

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const EPOCH: Timestamp = Timestamp(0);

    pub const fn from_millis(millis: i64) -> Timestamp {
        Timestamp(millis)
    }

    pub const fn as_millis(self) -> i64 {
        self.0
    }

    pub const fn as_micros(self) -> i64 {
        self.0.saturating_mul(1000)
    }

    /// Whole days since the epoch, as Arrow's `Date32` counts them.
    pub const fn as_days(self) -> i32 {
        self.0.div_euclid(86_400_000) as i32
    }

    /// Zero where `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).max(0) as u64)
    }

    pub fn minus(self, span: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    pub fn plus(self, span: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// RFC 3339 with milliseconds, or a plain count of milliseconds outside of years 0 to 9999.
    pub fn to_rfc3339(self) -> String {
        let format =
            time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
        time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|moment| moment.format(&format).ok())
            .unwrap_or_else(|| self.0.to_string())
    }

    pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
        if let Some(moment) = usual_form(text) {
            return Some(moment);
        }
        let moment = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
        i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000_000)).ok().map(Timestamp)
    }
}

/// `YYYY-MM-DDThh:mm:ssZ`, with or without three decimals: what nearly all producers write. Anything else is not judged.
fn usual_form(text: &str) -> Option<Timestamp> {
    let (seconds, millis) = match text.len() {
        20 => (text.strip_suffix('Z')?, 0),
        24 => {
            let (seconds, decimals) = text.strip_suffix('Z')?.split_once('.')?;
            (seconds, digits(decimals.as_bytes())?)
        }
        _ => return None,
    };
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2] =
        <[u8; 19]>::try_from(seconds.as_bytes()).ok()?
    else {
        return None;
    };
    let (year, month, day) = (digits(&[y1, y2, y3, y4])?, digits(&[m1, m2])?, digits(&[d1, d2])?);
    let (hour, minute, second) = (digits(&[h1, h2])?, digits(&[n1, n2])?, digits(&[s1, s2])?);
    let month = time::Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = time::Date::from_calendar_date(year, month, u8::try_from(day).ok()?).ok()?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = date.to_julian_day() - time::macros::date!(1970 - 01 - 01).to_julian_day();
    let seconds = i64::from(days) * 86_400 + i64::from(hour * 3600 + minute * 60 + second);
    Some(Timestamp(seconds * 1000 + i64::from(millis)))
}

fn digits(text: &[u8]) -> Option<i32> {
    text.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i32::from(*byte - b'0')))
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// Where a pipeline takes its time from.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place that reads it
    fn now(&self) -> Timestamp {
        let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Timestamp(elapsed.map(|span| span.as_millis() as i64).unwrap_or_default())
    }
}

/// A clock that a test moves.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    pub fn at(moment: Timestamp) -> ManualClock {
        ManualClock(AtomicI64::new(moment.0))
    }

    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(span.as_millis() as i64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_value_agree() {
        let moment = Timestamp::from_millis(1_357_034_400_123);
        assert_eq!(moment.to_rfc3339(), "2013-01-01T10:00:00.123Z");
        assert_eq!(Timestamp::parse_rfc3339("2013-01-01T10:00:00.123Z"), Some(moment));
        assert_eq!(Timestamp::parse_rfc3339("2013-01-01T05:00:00.123-05:00"), Some(moment));
        assert_eq!(Timestamp::parse_rfc3339("yesterday"), None);
    }

    proptest::proptest! {
        #[test]
        fn the_usual_form_reads_as_any_other(
            text in "(19|20|00)[0-9]{2}-(0[0-9]|1[0-3])-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,4})?Z"
        ) {
            if let Some(moment) = usual_form(&text) {
                let slow = time::OffsetDateTime::parse(&text, &time::format_description::well_known::Rfc3339).unwrap();
                proptest::prop_assert_eq!(i128::from(moment.0) * 1_000_000, slow.unix_timestamp_nanos());
            }
        }
    }
}
