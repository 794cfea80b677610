//! The sources of an `ADD` that come from elsewhere.

use std::sync::Arc;

use rbuild_cache::files::FileDigests;
use rbuild_cache::key::KeyBuilder;
use rbuild_parser::ignore::Ignore;
use rbuild_planner::{FileSource, Files};

use super::StepContext;
use crate::context::Context;
use crate::error::StepError;
use crate::files::patterns::Patterns;
use crate::files::{Fetched, Selection};
use crate::remotes::{RemoteFailure, RemoteTree};

/// How many sources of one step are asked for at a time.
const N_AT_A_TIME: usize = 8;

/// Asks for every source that comes from elsewhere: files are brought, revisions become commits.
pub(super) fn fetch(
    context: &StepContext<'_>,
    files: &Files,
) -> Result<Vec<Option<Fetched>>, StepError> {
    let mut found: Vec<Option<Fetched>> = files.sources.iter().map(|_| None).collect();
    let is_remote =
        |source: &FileSource| matches!(source, FileSource::Http(_) | FileSource::Git(_));
    let wanted: Vec<usize> = (0..files.sources.len())
        .filter(|at| is_remote(&files.sources[*at]))
        .collect();
    for group in wanted.chunks(N_AT_A_TIME) {
        let answers: Vec<_> = match group {
            [one] => vec![(*one, ask(context, *one, &files.sources[*one]))],
            group => std::thread::scope(|scope| {
                let threads: Vec<_> = group
                    .iter()
                    .map(|at| scope.spawn(|| (*at, ask(context, *at, &files.sources[*at]))))
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| match thread.join() {
                        Ok(answer) => answer,
                        Err(panic) => std::panic::resume_unwind(panic),
                    })
                    .collect()
            }),
        };
        for (at, answer) in answers {
            found[at] = answer?;
        }
    }
    Ok(found)
}

fn ask(
    context: &StepContext<'_>,
    at: usize,
    source: &FileSource,
) -> Result<Option<Fetched>, StepError> {
    let build = context.build;
    let answer = match source {
        FileSource::Http(http) => build.remotes.file(http, build.cancel).map(Fetched::File),
        FileSource::Git(git) => build.remotes.commit(git, build.cancel).map(Fetched::Commit),
        FileSource::Path { .. } | FileSource::Inline { .. } => return Ok(None),
    };
    answer.map(Some).map_err(failed(context, at))
}

fn failed(context: &StepContext<'_>, argument: usize) -> impl FnOnce(RemoteFailure) -> StepError {
    let is_cancelled = context.build.cancel.is_cancelled();
    move |source| {
        if is_cancelled {
            StepError::Cancelled
        } else {
            StepError::Remote { argument, source }
        }
    }
}

/// Removes files whose bytes are not what they were, so that they are brought again.
pub(super) fn forget(context: &StepContext<'_>, files: &Files) -> Result<(), StepError> {
    for (at, source) in files.sources.iter().enumerate() {
        if let FileSource::Http(http) = source {
            let forgotten = context.build.remotes.forget(http);
            forgotten.map_err(failed(context, at))?;
        }
    }
    Ok(())
}

/// Adds what a fetched source is besides its content. Never its URL.
pub(super) fn add_to_key(
    key: &mut KeyBuilder,
    place: usize,
    source: &FileSource,
    fetched: &[Option<Fetched>],
) {
    let Some(Some(fetched)) = fetched.get(place) else {
        return;
    };
    match (fetched, source) {
        (Fetched::Commit(id), FileSource::Git(git)) => {
            key.text(&format!("source {place} commit"), id)
                .text(&format!("source {place} folder"), &git.subdir)
                .text(
                    &format!("source {place} keeps .git"),
                    &git.keep_git_dir.unwrap_or(false).to_string(),
                )
                .text(
                    &format!("source {place} submodules"),
                    &git.submodules.to_string(),
                );
        }
        (Fetched::File(file), _) => {
            let time = file
                .last_modified
                .map_or("none".to_owned(), |time| time.to_string());
            key.text(&format!("source {place} last modified"), &time);
        }
        (Fetched::Commit(_), _) => {}
    }
}

/// Brings the files of the commits that a selection names. They stay as long as the result does.
pub(super) fn check_out(
    context: &StepContext<'_>,
    files: &Files,
    selection: &mut Selection,
) -> Result<Vec<RemoteTree>, StepError> {
    let build = context.build;
    let mut trees = Vec::new();
    for (at, commit) in selection.commits() {
        let Some(FileSource::Git(git)) = files.sources.get(at) else {
            continue;
        };
        let tree = build.remotes.checkout(git, &commit, build.cancel);
        let tree = tree.map_err(failed(context, at))?;
        let nothing = Patterns::from(Arc::new(Ignore::default()));
        let checkout = Context::open(&tree.path, nothing, FileDigests::passing())?;
        selection.check_out(files, at, Arc::new(checkout))?;
        trees.push(tree);
    }
    Ok(trees)
}
