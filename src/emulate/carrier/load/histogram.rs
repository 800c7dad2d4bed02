//! Durations counted in tenths of a millisecond.

use std::time::Duration;

use serde::Serialize;

/// Width of a bucket in microseconds.
const BUCKET_US: u128 = 100;

/// Buckets: up to four seconds, beyond which everything is equally bad.
const BUCKETS: usize = 40_000;

/// Many durations, for a few bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    /// Grows as far as the longest duration.
    counts: Vec<u64>,
    total: u64,
}

/// Some percentiles, in milliseconds, each rounded up to a tenth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// How many durations there were.
    pub count: u64,
    /// Half were no longer.
    pub p50: f64,
    /// 99 % were no longer.
    pub p99: f64,
    /// 99.9 % were no longer.
    pub p999: f64,
    /// The longest, up to 4000.
    pub max: f64,
}

impl Histogram {
    /// Counts `many` durations of the same length.
    pub(super) fn add(&mut self, duration: Duration, many: u64) {
        let bucket = usize::try_from(duration.as_micros() / BUCKET_US).unwrap_or(BUCKETS).min(BUCKETS - 1);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += many;
            self.total += many;
        }
    }

    /// The percentiles, `None` of nothing.
    pub(super) fn percentiles(&self) -> Option<Percentiles> {
        (self.total > 0).then(|| Percentiles {
            count: self.total,
            p50: self.at_most(500),
            p99: self.at_most(990),
            p999: self.at_most(999),
            max: self.at_most(1_000),
        })
    }

    /// What `permille` of the durations did not exceed.
    fn at_most(&self, permille: u64) -> f64 {
        let wanted = (self.total * permille).div_ceil(1_000);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        (bucket.unwrap_or(BUCKETS) + 1) as f64 / 10.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_upper_bounds_to_a_tenth_of_a_millisecond() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentiles(), None);
        histogram.add(Duration::from_micros(500), 989);
        histogram.add(Duration::from_millis(13), 10);
        histogram.add(Duration::from_secs(60), 1);
        let Percentiles { count, p50, p99, p999, max } = histogram.percentiles().unwrap();
        assert_eq!((count, p50, p99, p999, max), (1_000, 0.6, 13.1, 13.1, 4_000.0));
    }
}
