//! From the command line to a plan: the request, and the planner's questions answered.

use std::collections::BTreeMap;

use rbuild_image::platform::Platform;
use rbuild_parser::Parsed;
use rbuild_parser::ast::Dockerfile;
use rbuild_planner::{BaseImages, NamedContext, Network, Plan, Planned, Request};

use crate::arguments::{NetworkMode, PlanOptions};
use crate::bases;
use crate::context;
use crate::environment;
use crate::fetching::Fetching;
use crate::frontend;
use crate::progress::Progress;
use crate::report::{Failure, Source};
use crate::workplace::Workplace;

/// Most rounds of questions; each ONBUILD trigger may ask again.
pub(crate) const MAX_ROUNDS: usize = 64;

/// Parses a Dockerfile; all of its errors are reported at once.
pub(crate) fn parse(source: &Source, options: &PlanOptions) -> Result<Parsed, Failure> {
    frontend::check(source, &build_args(&options.build_arg))?;
    let parsed = rbuild_parser::parse(&source.text);
    if parsed.has_errors() {
        return Err(Failure::Source(source.clone(), parsed.diagnostics));
    }
    Ok(parsed)
}

/// Plans until every base image that is needed is known.
pub(crate) fn plan(
    workplace: &Workplace,
    source: &Source,
    dockerfile: &Dockerfile,
    request: &Request,
    pull: bool,
    progress: &mut Progress,
) -> Result<Box<Plan>, Failure> {
    let mut answers = BaseImages::new();
    for _ in 0..MAX_ROUNDS {
        match rbuild_planner::plan(dockerfile, request, &answers) {
            Planned::Ready(plan) => return Ok(plan),
            Planned::Failed(diagnostics) => {
                return Err(Failure::Source(source.clone(), diagnostics));
            }
            Planned::Needs(needs) => {
                let queries = needs.into_iter().map(|need| need.query).collect();
                answers.extend(bases::resolve_all(workplace, queries, pull, progress));
            }
        }
    }
    Err(endless_triggers())
}

/// More rounds of questions than any file needs.
pub(crate) fn endless_triggers() -> Failure {
    Failure::message("the base images' ONBUILD triggers never end")
}

/// Puts together what the planner is asked for.
pub(crate) fn request(
    options: &PlanOptions,
    contexts: BTreeMap<String, NamedContext>,
    context_times: BTreeMap<String, i64>,
) -> Result<Request, Failure> {
    Ok(Request {
        target: options.target.clone(),
        build_args: build_args(&options.build_arg),
        platforms: platforms(&options.platform)?,
        build_platform: Platform::host(),
        labels: options
            .label
            .iter()
            .map(|label| {
                let (name, value) = label.split_once('=').unwrap_or((label, ""));
                (name.to_owned(), value.to_owned())
            })
            .collect(),
        no_cache: options.no_cache,
        no_cache_filter: options.no_cache_filter.clone(),
        contexts,
        network: match options.network {
            NetworkMode::Default => Network::Default,
            NetworkMode::None => Network::None,
            NetworkMode::Host => Network::Host,
        },
        extra_hosts: options.run.hosts()?,
        limits: options.run.limits()?,
        allow_insecure: options.run.allows_insecure()?,
        context_times,
        ignore: None,
    })
}

/// `NAME=VALUE` as given; `NAME` takes the environment's value, or nothing if there is none.
/// `SOURCE_DATE_EPOCH` is passed on by itself.
fn build_args(options: &[String]) -> Vec<(String, String)> {
    let mut arguments: Vec<(String, String)> = options
        .iter()
        .filter_map(|option| match option.split_once('=') {
            Some((name, value)) => Some((name.to_owned(), value.to_owned())),
            None => Some((option.clone(), environment::variable(option)?)),
        })
        .collect();
    const EPOCH: &str = "SOURCE_DATE_EPOCH";
    if !arguments.iter().any(|(name, _)| name == EPOCH)
        && let Some(value) = environment::variable(EPOCH)
    {
        arguments.push((EPOCH.to_owned(), value));
    }
    arguments
}

/// Returns the time of the build; it may be that of a source, which is asked for then.
pub(crate) fn epoch(plan: &Plan, fetching: &Fetching) -> Result<Option<i64>, Failure> {
    match &plan.epoch_source {
        None => Ok(plan.epoch),
        Some(source) => fetching
            .time_of(source)
            .map_err(|error| context::failure(&error)),
    }
}

/// Refuses a `SOURCE_DATE_EPOCH` that is no number of seconds; an empty value means none.
pub(crate) fn check_epoch(request: &Request) -> Result<(), Failure> {
    let argument = request
        .build_args
        .iter()
        .rev()
        .find(|(name, _)| name == "SOURCE_DATE_EPOCH");
    argument
        .map(|(_, value)| value.as_str())
        .filter(|value| !value.is_empty())
        .map_or(Ok(()), |value| parse_epoch(value).map(|_seconds| ()))
}

/// Returns the environment's `SOURCE_DATE_EPOCH` in seconds.
pub(crate) fn environment_epoch() -> Result<Option<i64>, Failure> {
    environment::variable("SOURCE_DATE_EPOCH")
        .as_deref()
        .map(parse_epoch)
        .transpose()
}

fn parse_epoch(value: &str) -> Result<i64, Failure> {
    value
        .parse()
        .ok()
        .filter(|seconds| jiff::Timestamp::from_second(*seconds).is_ok())
        .ok_or_else(|| Failure::message(format!("invalid SOURCE_DATE_EPOCH: {value}")))
}

fn platforms(options: &[String]) -> Result<Vec<Platform>, Failure> {
    let mut platforms: Vec<Platform> = Vec::new();
    for option in options
        .iter()
        .map(|option| option.trim())
        .filter(|option| !option.is_empty())
    {
        let platform = if option == "local" {
            Platform::host()
        } else {
            Platform::parse(option)
                .map_err(|error| Failure::Usage(error.to_string()))?
                .normalized()
        };
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(platforms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_normalised_and_stand_once() {
        let found =
            platforms(&["linux/amd64".into(), "linux/x86_64".into(), "arm64".into()]).unwrap();
        assert_eq!(found.len(), 2);
        assert!(platforms(&["linux/".into()]).is_err());
    }
}
