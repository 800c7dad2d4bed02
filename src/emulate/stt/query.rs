//! The query of a handshake, read strictly: a name that the vendor does not document is a mistake, and so is a value out of
//! its range. A real server may be more lenient; a client that passes here passes there.

use std::ops::RangeInclusive;

use tokio_tungstenite::tungstenite::http::StatusCode;

use super::handshake::Refused;

/// Name and value, in order, decoded.
#[derive(Clone, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl std::fmt::Debug for Query {
    /// Without the values: one may be a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// A 400 that names the parameter, never its value.
fn bad(name: &str, wanted: &str) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, format!("query parameter {name}: {wanted}"))
}

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// Refuses parameters of any other name.
    pub(super) fn only(&self, names: &[&str]) -> Result<(), Refused> {
        match self.0.iter().find(|(name, _)| !names.contains(&name.as_str())) {
            Some((name, _)) => Err(bad(name, "is not known")),
            None => Ok(()),
        }
    }

    /// Every value of `name`.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of `name`; twice is a mistake.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, Refused> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(bad(name, "is given twice")),
        }
    }

    /// The value of `name`, one of `choices`.
    pub(super) fn choice<'q>(&'q self, name: &str, choices: &[&str]) -> Result<Option<&'q str>, Refused> {
        match self.one(name)? {
            Some(value) if !choices.contains(&value) => Err(bad(name, &format!("one of {}", choices.join(", ")))),
            value => Ok(value),
        }
    }

    /// As [`Query::choice`], and it must be there.
    pub(super) fn must<'q>(&'q self, name: &str, choices: &[&str]) -> Result<&'q str, Refused> {
        self.choice(name, choices)?.ok_or_else(|| bad(name, "is missing"))
    }

    /// A number in `range`.
    pub(super) fn number(&self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, Refused> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let number = text.parse::<f64>().ok().filter(|number| range.contains(number));
        let wanted = || bad(name, &format!("a number from {} to {}", range.start(), range.end()));
        number.map(Some).ok_or_else(wanted)
    }

    /// A whole number of milliseconds in `range`.
    pub(super) fn millis(&self, name: &str, range: RangeInclusive<u32>) -> Result<Option<u32>, Refused> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let number = text.parse::<u32>().ok().filter(|number| range.contains(number));
        let wanted = || bad(name, &format!("a whole number from {} to {}", range.start(), range.end()));
        number.map(Some).ok_or_else(wanted)
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Refused> {
        Ok(self.choice(name, &["true", "false"])? == Some("true"))
    }

    /// Refuses more than `terms` values of `name`, and more than `chars` characters in all of them.
    pub(super) fn terms(&self, name: &str, terms: usize, chars: usize) -> Result<Vec<String>, Refused> {
        let values: Vec<String> = self.all(name).map(str::to_owned).collect();
        if values.len() > terms || values.iter().map(|value| value.chars().count()).sum::<usize>() > chars {
            return Err(bad(name, &format!("at most {terms} terms of {chars} characters together")));
        }
        Ok(values)
    }

    /// Checks that the audio is what the scripted recogniser can compare: 8 kHz, in an encoding of `encodings` that stands
    /// for mu-law or s16; both parameters must be there.
    pub(super) fn format(&self, mulaw: &str, s16: &str, known: &[&str]) -> Result<super::input::InputFormat, Refused> {
        let encoding = self.must("encoding", known)?;
        let rate = self.one("sample_rate")?.ok_or_else(|| bad("sample_rate", "is missing"))?;
        let rate: u32 = rate.parse().map_err(|_| bad("sample_rate", "a whole number"))?;
        if rate != 8_000 {
            return Err(bad("sample_rate", "the scripted recogniser compares bytes at 8000 only"));
        }
        match encoding {
            _ if encoding == mulaw => Ok(super::input::InputFormat::Mulaw),
            _ if encoding == s16 => Ok(super::input::InputFormat::S16),
            _ => Err(bad("encoding", &format!("the scripted recogniser compares {mulaw} and {s16} only"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason<T>(checked: Result<T, Refused>) -> String {
        checked.map(drop).unwrap_err().reason
    }

    #[test]
    fn values_are_read_and_mistakes_named_without_their_value() {
        let query = Query::parse("a=1&b=true&c=x%20y&c=z&key=secret&key=secret");
        assert_eq!(query.one("a").unwrap(), Some("1"));
        assert_eq!(query.number("a", 0.5..=2.0).unwrap(), Some(1.0));
        assert_eq!(query.millis("a", 1..=2).unwrap(), Some(1));
        assert!(query.flag("b").unwrap() && !query.flag("d").unwrap());
        assert_eq!(query.terms("c", 2, 4).unwrap(), ["x y", "z"]);
        assert!(reason(query.number("a", 2.0..=3.0)).contains("from 2 to 3"));
        assert!(reason(query.millis("c", 0..=1)).contains("given twice"));
        assert!(reason(query.millis("b", 0..=1)).contains("whole number"));
        assert!(reason(query.flag("a")).contains("true, false"));
        assert!(reason(query.terms("c", 2, 3)).contains("2 terms"));
        assert!(reason(query.only(&["a", "b", "c"])).contains("key: is not known"));
        assert!(!reason(query.one("key")).contains("secret") && !format!("{query:?}").contains("secret"));
    }

    #[test]
    fn the_format_is_one_that_can_be_compared() {
        let format =
            |query: &str| Query::parse(query).format("pcm_mulaw", "pcm_s16le", &["pcm_mulaw", "pcm_s16le", "pcm_alaw"]);
        assert_eq!(format("encoding=pcm_mulaw&sample_rate=8000").unwrap(), super::super::input::InputFormat::Mulaw);
        assert_eq!(format("encoding=pcm_s16le&sample_rate=8000").unwrap(), super::super::input::InputFormat::S16);
        for (query, wrong) in [
            ("sample_rate=8000", "encoding: is missing"),
            ("encoding=pcm_mulaw", "sample_rate: is missing"),
            ("encoding=mulaw&sample_rate=8000", "encoding: one of"),
            ("encoding=pcm_alaw&sample_rate=8000", "scripted recogniser"),
            ("encoding=pcm_mulaw&sample_rate=16000", "scripted recogniser"),
            ("encoding=pcm_mulaw&sample_rate=8k", "a whole number"),
        ] {
            assert!(reason(format(query)).contains(wrong), "{query}");
        }
    }
}
