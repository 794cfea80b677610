//! What the planner finds without any base image: nothing is fetched, and the store stays closed.

use rbuild_image::platform::Platform;
use rbuild_parser::ast::Dockerfile;
use rbuild_parser::diagnostic::Diagnostic;
use rbuild_planner::{BaseImages, Inspected, Request, inspect};

/// Looks at all stages. That a base image is not known is no finding.
pub(super) fn check(dockerfile: &Dockerfile) -> Vec<Diagnostic> {
    let request = Request::new(Platform::host());
    let mut answers = BaseImages::new();
    // What is not known has no triggers that could ask again.
    for _ in 0..2 {
        match inspect(dockerfile, &request, &answers, true) {
            Inspected::Done(inspection) => {
                let mut found = inspection.errors;
                found.retain(|error| error.code != "plan::unresolved-base");
                found.extend(inspection.warnings);
                return found;
            }
            Inspected::Needs(needs) => {
                let unknown = |query| (query, Err("it is not looked for".to_owned()));
                answers.extend(needs.into_iter().map(|need| unknown(need.query)));
            }
        }
    }
    Vec::new()
}
