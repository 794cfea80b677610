//! `rbuild plan`

use std::path::Path;
use std::sync::Arc;

use crate::arguments::{PlanArguments, PlanFormat, ProgressMode};
use crate::fetching::Fetching;
use crate::progress::Progress;
use crate::report::Failure;
use crate::stop::Stop;
use crate::workplace::Workplace;
use crate::{context, output, planning};

/// Prints the graph that a Dockerfile compiles to. Runs nothing.
pub(crate) fn run(root: &Path, options: &PlanArguments) -> Result<(), Failure> {
    let fetching = Fetching::new(root, Arc::default(), Stop::new()?);
    let input = context::open(&options.plan, &fetching)?;
    let parsed = planning::parse(&input.dockerfile, &options.plan)?;
    let request = planning::request(&options.plan, input.named, input.times)?;
    let workplace = Workplace::open(root)?;
    let plan = planning::plan(
        &workplace,
        &input.dockerfile,
        &parsed.dockerfile,
        &request,
        options.plan.pull,
        &mut Progress::new(ProgressMode::Quiet),
    )?;
    let text = match options.format {
        PlanFormat::Text => format!("{}\n", plan.to_text().trim_end()),
        PlanFormat::Dot => plan.to_dot(),
        PlanFormat::Json => format!("{:#}\n", plan.to_json()),
    };
    output::result(&text)
}
