//! Our own metrics, read back from their text.

use std::collections::BTreeMap;

/// Every series of a scrape: its name with its labels, as it stands in the text, and its value.
#[derive(Clone, Debug, Default)]
pub(super) struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    /// Reads the text format of OpenMetrics, as our own server writes it: what is no series is passed over.
    pub(super) fn parse(text: &str) -> Self {
        let series = text.lines().filter(|line| !line.starts_with('#'));
        // A label may hold a space, a value may not.
        let pairs = series.filter_map(|line| line.rsplit_once(' '));
        Scrape(pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
    }

    /// The value of one series; `None` if there is none.
    pub(super) fn value(&self, series: &str) -> Option<f64> {
        self.0.get(series).copied()
    }

    /// The sum over all series of a family.
    pub(super) fn sum(&self, family: &str) -> f64 {
        self.of(family).map(|(_, value)| value).sum()
    }

    /// Every series of a family: its first label's value, and its own.
    pub(super) fn of<'a>(&'a self, family: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.iter().filter_map(move |(name, value)| {
            let labels = name.strip_prefix(family)?.strip_prefix('{');
            let label = match labels {
                Some(labels) => labels.split('"').nth(1)?,
                None if name == family => "",
                None => return None,
            };
            Some((label, *value))
        })
    }

    /// The quantile of a histogram over what came since `before`, in its unit, reckoned as Prometheus does: evenly spread
    /// within a bucket. `None` if nothing came.
    pub(super) fn quantile(&self, histogram: &str, quantile: f64, before: Option<&Scrape>) -> Option<f64> {
        let family = format!("{histogram}_bucket");
        let mut buckets: Vec<(f64, f64)> = self
            .of(&family)
            .map(|(bound, count)| {
                let series = format!("{family}{{le=\"{bound}\"}}");
                let earlier = before.and_then(|before| before.value(&series)).unwrap_or(0.0);
                (bound.parse().unwrap_or(f64::INFINITY), count - earlier)
            })
            .collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        let total = buckets.last()?.1;
        if total <= 0.0 {
            return None;
        }
        let rank = quantile * total;
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in buckets {
            if count >= rank {
                let is_open = bound.is_infinite();
                // Beyond the last bound nothing is known but that.
                return Some(if is_open {
                    low
                } else {
                    low + (bound - low) * (rank - below) / (count - below).max(1e-9)
                });
            }
            (low, below) = (bound, count);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE a counter\na_total{kind=\"x y\"} 3\na_total{kind=\"z\"} 4\nb 1.5\nbc 9\n\
        h_bucket{le=\"0.1\"} 50\nh_bucket{le=\"0.2\"} 90\nh_bucket{le=\"+Inf\"} 100\nh_count 100\n# EOF\n";

    #[test]
    fn series_are_found_by_name_and_label() {
        let scrape = Scrape::parse(TEXT);
        assert_eq!((scrape.value("b"), scrape.value("c")), (Some(1.5), None));
        assert_eq!((scrape.sum("a_total"), scrape.sum("b")), (7.0, 1.5));
        assert_eq!(scrape.of("a_total").collect::<Vec<_>>(), [("x y", 3.0), ("z", 4.0)]);
    }

    #[test]
    fn quantiles_are_reckoned_within_buckets_and_since_a_moment() {
        let scrape = Scrape::parse(TEXT);
        let near = |value: Option<f64>, wanted: f64| assert!((value.unwrap() - wanted).abs() < 1e-9, "{value:?}");
        near(scrape.quantile("h", 0.5, None), 0.1);
        near(scrape.quantile("h", 0.7, None), 0.15);
        near(scrape.quantile("h", 0.99, None), 0.2);
        let before = Scrape::parse("h_bucket{le=\"0.1\"} 50\nh_bucket{le=\"0.2\"} 50\nh_bucket{le=\"+Inf\"} 50\n");
        near(scrape.quantile("h", 0.5, Some(&before)), 0.1625);
        assert_eq!(scrape.quantile("h", 0.5, Some(&scrape)), None);
        assert_eq!(scrape.quantile("none", 0.5, None), None);
    }
}
