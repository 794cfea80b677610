//! `rbuild search`

use std::io::{self, Read as _};

use clap::Args;
use rbuild_registry::{Client, Get, Web};
use rbuild_template::Value;
use serde::Deserialize;

use crate::environment::registry_settings;
use crate::filters::{self, Filter, parse_bool};
use crate::listing::{Listing, TABLE};
use crate::output;
use crate::progress::clean_text;
use crate::report::Failure;
use crate::table::ellipsis;

/// Where Docker Hub is searched.
const HUB: &str = "https://index.docker.io/v1/search";
/// Longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 4 << 20;
const DEFAULT_LIMIT: usize = 25;

#[derive(Debug, Args)]
pub(crate) struct SearchArguments {
    /// How many results, from 1 to 100
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Only what matches: stars=N, is-official=true
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Do not shorten descriptions
    #[arg(long)]
    no_trunc: bool,
    /// How a line looks: table, json, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// What to look for on Docker Hub, or HOST/TERM for the names of another registry
    #[arg(value_name = "TERM")]
    term: String,
}

const LISTING: Listing = Listing {
    name: "*formatter.searchContext",
    titles: &[
        ("Description", "DESCRIPTION"),
        ("IsAutomated", "AUTOMATED"),
        ("IsOfficial", "OFFICIAL"),
        ("Name", "NAME"),
        ("StarCount", "STARS"),
    ],
};

const DEFAULT: &str = "table {{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}";

#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    results: Vec<Found>,
}

/// A repository.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Found {
    name: String,
    description: Option<String>,
    star_count: i64,
    is_official: bool,
    is_automated: bool,
}

/// Looks for repositories.
pub(crate) fn run(options: &SearchArguments) -> Result<(), Failure> {
    let limit = match options.limit {
        None | Some(0) => DEFAULT_LIMIT,
        Some(limit @ 1..=100) => limit,
        Some(limit) => {
            return Err(Failure::message(format!(
                "limit {limit} is outside the range of [1, 100]"
            )));
        }
    };
    let conditions = filters::parse(&options.filter, filters::SHORT_AND_LONG)?;
    let wanted = Conditions::new(&conditions)?;
    let mut found = match registry_of(&options.term) {
        Some((host, term)) => in_catalog(host, term)?,
        None => on_hub(&options.term, limit)?,
    };
    found.retain(|found| wanted.hold(found));
    found.truncate(limit);
    output::result(&show(&found, options)?)
}

fn show(found: &[Found], options: &SearchArguments) -> Result<String, Failure> {
    let yes = |truth: bool| if truth { "[OK]" } else { "" };
    let row = |found: &Found| {
        let description = found.description.as_deref().unwrap_or_default();
        let description = clean_text(description).replace(['\n', '\r', '\t'], " ");
        let cells = [
            &if options.no_trunc {
                description
            } else {
                ellipsis(&description)
            },
            yes(found.is_automated),
            yes(found.is_official),
            &clean_text(&found.name).replace(['\n', '\t'], " "),
            &found.star_count.to_string(),
        ];
        LISTING.row(cells.map(|cell: &str| Value::text(cell)))
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    let format = match options.format.as_deref() {
        None | Some("" | TABLE) => DEFAULT,
        Some(format) => format,
    };
    LISTING.show(format, &rows)
}

/// A term that begins with a registry, as references do.
fn registry_of(term: &str) -> Option<(&str, &str)> {
    let (host, rest) = term.split_once('/')?;
    let is_host = host == "localhost" || host.contains(['.', ':']);
    let is_hub = matches!(host, "docker.io" | "index.docker.io");
    (is_host && !is_hub).then_some((host, rest))
}

fn on_hub(term: &str, limit: usize) -> Result<Vec<Found>, Failure> {
    let term = term.strip_prefix("index.docker.io/").unwrap_or(term);
    let term = term.strip_prefix("docker.io/").unwrap_or(term);
    let url = format!("{HUB}?q={}&n={limit}", percent_encoded(term));
    let web = Web::new(&registry_settings()?)?;
    let get = Get {
        url: &url,
        ..Get::default()
    };
    let answer = web.get(&get, |page| {
        let mut bytes = Vec::new();
        page.body.take(MAX_ANSWER).read_to_end(&mut bytes)?;
        Ok(bytes)
    })?;
    parse_answer(&answer)
        .map_err(|_not_json| Failure::message("Docker Hub did not answer with results"))
}

fn parse_answer(bytes: &[u8]) -> io::Result<Vec<Found>> {
    let answer: Answer = serde_json::from_slice(bytes)?;
    Ok(answer.results)
}

/// Registries have no search, but many list what they have.
fn in_catalog(host: &str, term: &str) -> Result<Vec<Found>, Failure> {
    let client = Client::new(registry_settings()?)?;
    let term = term.to_lowercase();
    let names = client.catalog(host)?.into_iter();
    let names = names.filter(|name| name.to_lowercase().contains(&term));
    Ok(names
        .map(|name| Found {
            name: format!("{host}/{name}"),
            ..Found::default()
        })
        .collect())
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// What filters ask for.
#[derive(Debug, Default)]
struct Conditions {
    stars: i64,
    is_official: Option<bool>,
    is_automated: Option<bool>,
}

impl Conditions {
    fn new(filters: &[Filter]) -> Result<Self, Failure> {
        let mut found = Self::default();
        for (name, value) in filters {
            match name.as_str() {
                "stars" => {
                    let bad = |_| Failure::message(format!("invalid filter 'stars={value}'"));
                    found.stars = found.stars.max(value.parse().map_err(bad)?);
                }
                "is-official" => found.is_official = Some(parse_bool(name, value)?),
                "is-automated" => found.is_automated = Some(parse_bool(name, value)?),
                _ => return Err(Failure::message(format!("invalid filter '{name}'"))),
            }
        }
        Ok(found)
    }

    fn hold(&self, found: &Found) -> bool {
        let is = |wanted: Option<bool>, truth: bool| wanted.is_none_or(|wanted| wanted == truth);
        found.star_count >= self.stars
            && is(self.is_official, found.is_official)
            && is(self.is_automated, found.is_automated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{"num_results":2,"results":[
        {"name":"nginx","description":"Official build of Nginx.","star_count":20000,"is_official":true,"is_automated":false},
        {"name":"me/nginx","description":"A\nvery \u001b[31mlong description that does not fit in the table at all","star_count":2}]}"#;

    fn options(format: Option<&str>) -> SearchArguments {
        SearchArguments {
            limit: None,
            filter: Vec::new(),
            no_trunc: false,
            format: format.map(str::to_owned),
            term: "nginx".to_owned(),
        }
    }

    #[test]
    fn answers_become_lists() {
        let found = parse_answer(ANSWER.as_bytes()).unwrap();
        assert_eq!(
            show(&found, &options(None)).unwrap(),
            "\
NAME       DESCRIPTION                                     STARS     OFFICIAL
nginx      Official build of Nginx.                        20000     [OK]
me/nginx   A very long description that does not fit in…   2         
"
        );
        assert_eq!(
            show(&found[..1], &options(Some("{{.Name}}: {{.StarCount}}"))).unwrap(),
            "nginx: 20000\n"
        );
        assert!(parse_answer(b"<html>").is_err());
    }

    #[test]
    fn filters_choose() {
        let found = parse_answer(ANSWER.as_bytes()).unwrap();
        let names = |filter: (&str, &str)| {
            let filter = (filter.0.to_owned(), filter.1.to_owned());
            let wanted = Conditions::new(&[filter]).unwrap();
            let found = found.iter().filter(|found| wanted.hold(found));
            found.map(|found| found.name.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(names(("stars", "3")), ["nginx"]);
        assert_eq!(names(("is-official", "false")), ["me/nginx"]);
        for bad in [("stars", "many"), ("is-official", "maybe"), ("x", "1")] {
            assert!(Conditions::new(&[(bad.0.to_owned(), bad.1.to_owned())]).is_err());
        }
    }

    #[test]
    fn terms_may_name_a_registry() {
        assert_eq!(
            registry_of("localhost:5000/app"),
            Some(("localhost:5000", "app"))
        );
        assert_eq!(registry_of("ghcr.io/me/app"), Some(("ghcr.io", "me/app")));
        for hub in ["nginx", "me/nginx", "docker.io/nginx"] {
            assert_eq!(registry_of(hub), None, "{hub}");
        }
    }
}
