//! `rbuild build --call` and `--check`: what a build is made of, without building it.

mod check;
mod describe;
mod excerpt;
mod outline;
mod place;
mod targets;

use std::path::Path;
use std::sync::Arc;

use rbuild_parser::Parsed;
use rbuild_planner::{BaseImages, Inspected, Inspection, Request};
use serde_json::{Value, json};

use crate::arguments::{BuildArguments, Call, CallFormat, CallMethod, PlanOptions, ProgressMode};
use crate::fetching::Fetching;
use crate::progress::Progress;
use crate::report::{Failure, Source};
use crate::stop::Stop;
use crate::workplace::Workplace;
use crate::{bases, context, output, planning, secrets};

/// Answers a call. Nothing is run, hashed or written but the answer.
pub(crate) fn run(root: &Path, options: &BuildArguments, call: &Call) -> Result<(), Failure> {
    let caller = Caller {
        call,
        metadata_file: options.metadata_file.as_deref(),
    };
    if call.method == CallMethod::Describe {
        return caller.answer(&describe::json(), &describe::text());
    }
    let secrets = Arc::new(secrets::parse_all(&options.secret)?);
    let fetching = Fetching::new(root, secrets, Stop::new()?);
    let input = context::open(&options.plan, &fetching)?;
    let ignore = input.ignore();
    let source = input.dockerfile;
    if call.method == CallMethod::Targets {
        let parsed = planning::parse(&source, &options.plan)?;
        return caller.answer(&targets::json(&source, &parsed), &targets::text(&parsed));
    }
    let mut request = planning::request(&options.plan, input.named, input.times)?;
    request.ignore = ignore;
    let resolver = Resolver {
        root,
        options: &options.plan,
        request: &request,
    };
    if call.method == CallMethod::Outline {
        outline::run(&source, &resolver, &caller)
    } else {
        check::run(&source, &resolver, &caller)
    }
}

/// Who waits for an answer.
struct Caller<'a> {
    call: &'a Call,
    metadata_file: Option<&'a Path>,
}

impl Caller<'_> {
    /// Prints an answer in the form that was asked for, and keeps it if that is wanted.
    fn answer(&self, json: &Value, text: &str) -> Result<(), Failure> {
        if let Some(file) = self.metadata_file {
            let metadata = json!({"result.json": json, "result.txt": text});
            fs_err::write(file, format!("{metadata:#}\n"))?;
        }
        match self.call.format {
            CallFormat::Json => output::result(&format!("{json:#}\n")),
            CallFormat::Text => output::result(text),
        }
    }
}

/// Looks at a file with as many of its base images as can be had.
struct Resolver<'a> {
    root: &'a Path,
    options: &'a PlanOptions,
    request: &'a Request,
}

impl Resolver<'_> {
    fn inspect(&self, parsed: &Parsed, all_stages: bool) -> Result<Inspection, Failure> {
        let mut progress = Progress::new(ProgressMode::Quiet);
        let mut answers = BaseImages::new();
        let mut workplace = None;
        for _ in 0..planning::MAX_ROUNDS {
            let file = &parsed.dockerfile;
            match rbuild_planner::inspect(file, self.request, &answers, all_stages) {
                Inspected::Done(inspection) => return Ok(*inspection),
                Inspected::Needs(needs) => {
                    // The store is not touched for a file that needs nothing of it.
                    let workplace = match &workplace {
                        Some(open) => open,
                        None => workplace.insert(Workplace::open(self.root)?),
                    };
                    let queries = needs.into_iter().map(|need| need.query).collect();
                    let found =
                        bases::resolve_all(workplace, queries, self.options.pull, &mut progress);
                    answers.extend(found);
                }
            }
        }
        Err(planning::endless_triggers())
    }
}

/// Returns bytes as JSON holds them.
fn encoded(source: &Source) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(&source.text)
}

/// Lays out rows in columns as Go's tab writer does: every cell but the last of a row is padded.
fn columns(rows: &[Vec<String>], padding: usize) -> String {
    let n_columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..n_columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0) + padding
        })
        .collect();
    let mut out = String::new();
    for row in rows {
        for (place, (cell, width)) in row.iter().zip(&widths).enumerate() {
            out.push_str(cell);
            if place + 1 < row.len() {
                out.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let rows = [["NAME", "TEXT"], ["a-longer", ""], ["é", "x"]];
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|row| row.iter().map(ToString::to_string).collect())
            .collect();
        assert_eq!(columns(&rows, 1), "NAME     TEXT\na-longer \né        x\n");
        assert_eq!(columns(&[], 1), "");
    }
}
