//! `--filter`: conditions on images.

use jiff::Timestamp;
use rbuild_image::config::ImageConfig;
use rbuild_image::reference::Reference;
use rbuild_parser::glob::Pattern;

use crate::environment::now;
use crate::inventory::StoredImage;
use crate::report::Failure;
use crate::workplace::Workplace;

/// A key and what it is to be.
pub(crate) type Filter = (String, String);

/// Reads filters as typed.
pub(crate) fn parse(typed: &[String], flag: &str) -> Result<Vec<Filter>, Failure> {
    let parse = |text: &String| match text.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_lowercase(), value.trim().to_owned())),
        None => Err(Failure::Flag(format!(
            "invalid argument \"{text}\" for \"{flag}\" flag: bad format of filter (expected name=value)"
        ))),
    };
    typed.iter().map(parse).collect()
}

/// The flag of most commands.
pub(crate) const SHORT_AND_LONG: &str = "-f, --filter";

/// Conditions of one key are alternatives, but labels; those of different keys must all hold.
#[derive(Debug, Default)]
pub(crate) struct ImageFilters {
    dangling: Option<bool>,
    references: Vec<Pattern>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    labels: Vec<LabelCondition>,
}

#[derive(Debug)]
struct LabelCondition {
    name: String,
    value: Option<String>,
    is_wanted: bool,
}

impl ImageFilters {
    /// Understands filters; those for times may name images.
    pub(crate) fn new(workplace: &Workplace, filters: &[Filter]) -> Result<Self, Failure> {
        let mut found = Self::default();
        let created = |image: &str| -> Result<Timestamp, Failure> {
            let record = workplace.store.require(image)?.record;
            let created = record.created.as_deref().unwrap_or_default();
            Ok(created.parse().unwrap_or(Timestamp::UNIX_EPOCH))
        };
        let earlier = |a: Option<Timestamp>, b: Timestamp| Some(a.map_or(b, |a| a.min(b)));
        for (name, value) in filters {
            match name.as_str() {
                "dangling" => found.dangling = Some(parse_bool(name, value)?),
                "reference" => found.add_reference(value)?,
                "before" => found.before = earlier(found.before, created(value)?),
                "until" => {
                    let until = Timestamp::from_second(parse_until(value)?)?;
                    found.before = earlier(found.before, until);
                }
                "since" => {
                    let since = created(value)?;
                    found.since = Some(found.since.map_or(since, |other| other.max(since)));
                }
                "label" | "label!" => {
                    let (label, expected) = split_label(value);
                    found.labels.push(LabelCondition {
                        name: label,
                        value: expected,
                        is_wanted: name == "label",
                    });
                }
                _ => return Err(Failure::message(format!("invalid filter '{name}'"))),
            }
        }
        Ok(found)
    }

    /// Adds an alternative: a pattern of names.
    pub(crate) fn add_reference(&mut self, pattern: &str) -> Result<(), Failure> {
        self.references.push(Pattern::new(pattern.as_bytes())?);
        Ok(())
    }

    /// Returns an image with those of its names that fit; `None` if it does not fit.
    pub(crate) fn apply(
        &self,
        workplace: &Workplace,
        mut image: StoredImage,
    ) -> Result<Option<StoredImage>, Failure> {
        if self
            .dangling
            .is_some_and(|wanted| wanted != image.is_dangling())
        {
            return Ok(None);
        }
        if !self.references.is_empty() {
            image.tags.retain(|name| self.is_named(name));
            image.digests.retain(|name| self.is_named(name));
            if image.is_dangling() {
                return Ok(None);
            }
        }
        let created = image.created().unwrap_or(Timestamp::UNIX_EPOCH);
        if self.before.is_some_and(|before| created >= before)
            || self.since.is_some_and(|since| created <= since)
        {
            return Ok(None);
        }
        let has_labels = self.labels.is_empty() || {
            let config = workplace.config(&image.record.id)?;
            self.labels.iter().all(|condition| condition.holds(&config))
        };
        Ok(has_labels.then_some(image))
    }

    /// Patterns are for names as users see them, or in full; with the tag or without.
    fn is_named(&self, name: &Reference) -> bool {
        let forms = [
            name.familiar(),
            name.familiar_name(),
            name.to_string(),
            name.name(),
        ];
        let fits = |pattern: &Pattern| forms.iter().any(|form| pattern.matches(form.as_bytes()));
        self.references.iter().any(fits)
    }
}

impl LabelCondition {
    fn holds(&self, config: &ImageConfig) -> bool {
        let labels = config.config.labels.as_ref();
        let found = labels.and_then(|labels| labels.get(&self.name));
        let has_it = match (&self.value, found) {
            (None, found) => found.is_some(),
            (Some(wanted), found) => found == Some(wanted),
        };
        has_it == self.is_wanted
    }
}

/// A label's name, and its value if that counts.
pub(crate) fn split_label(text: &str) -> (String, Option<String>) {
    match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    }
}

/// A truth as Docker's filters have it.
pub(crate) fn parse_bool(name: &str, value: &str) -> Result<bool, Failure> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(Failure::message(format!(
            "invalid filter '{name}=[{value}]'"
        ))),
    }
}

/// A duration before now (`24h`, `1h30m`, `90s`), seconds since the Unix epoch, RFC 3339, or a day.
pub(crate) fn parse_until(text: &str) -> Result<i64, Failure> {
    let bad = || Failure::message(format!("invalid filter 'until={text}'"));
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(seconds);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_second());
    }
    if let Ok(day) = text.parse::<jiff::civil::Date>() {
        let zoned = day
            .to_zoned(jiff::tz::TimeZone::system())
            .map_err(|_ambiguous| bad())?;
        return Ok(zoned.timestamp().as_second());
    }
    let span: jiff::SignedDuration = text.parse().map_err(|_not_a_duration| bad())?;
    Ok(now().saturating_sub(span.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_have_a_name_and_a_value() {
        let typed = [" Label = a=b".to_owned(), "until=".to_owned()];
        let filters = parse(&typed, SHORT_AND_LONG).unwrap();
        assert_eq!(filters[0], ("label".to_owned(), "a=b".to_owned()));
        assert_eq!(filters[1], ("until".to_owned(), String::new()));
        let error = parse(&["foo".to_owned()], SHORT_AND_LONG).unwrap_err();
        assert_eq!(error.exit_code(), 125);
        assert_eq!(
            error.render(),
            "rbuild: invalid argument \"foo\" for \"-f, --filter\" flag: bad format of filter \
             (expected name=value)\n"
        );
    }

    #[test]
    fn patterns_of_names() {
        for (pattern, name, expected) in [
            ("app", "app:1", true),
            ("app:1", "app:1", true),
            ("app:2", "app:1", false),
            ("app", "team/app:1", false),
            ("*app*", "team/app:1", false),
            ("*/app", "team/app:1", true),
            ("*/*:1", "team/app:1", true),
            ("docker.io/library/app", "app:1", true),
            ("docker.io/library/app:1", "app:1", true),
            ("localhost:5000/*", "localhost:5000/app:1", true),
            ("a[^b]p", "app:1", true),
        ] {
            let mut filters = ImageFilters::default();
            filters.add_reference(pattern).unwrap();
            let name = Reference::parse(name).unwrap();
            assert_eq!(filters.is_named(&name), expected, "{pattern} {name}");
        }
        let error = ImageFilters::default().add_reference("a[").unwrap_err();
        assert!(error.render().contains("syntax error in pattern"));
    }

    #[test]
    fn times_have_many_forms() {
        let about = |text: &str| now() - parse_until(text).unwrap();
        assert!((86400..86410).contains(&about("24h")));
        assert!((5400..5410).contains(&about("1h30m")));
        assert!((90..100).contains(&about("90s")));
        assert_eq!(parse_until("1700000000").unwrap(), 1_700_000_000);
        assert_eq!(parse_until("2024-01-01T00:00:00Z").unwrap(), 1_704_067_200);
        assert!(parse_until("2024-01-01").is_ok());
        for bad in ["", "soon", "1x"] {
            assert!(parse_until(bad).is_err(), "{bad}");
        }
    }
}
