//! `WORKDIR`: a layer with the directories that are missing.

use rbuild_cache::key::{CacheKey, Leaf};
use rbuild_cache::record::Record;
use rbuild_planner::Workdir;

use super::{MadeLayer, StepContext};
use crate::error::StepError;
use crate::files::{self, Owner, OwnerAccounts};
use crate::owner::Accounts;

/// Finds or makes the layer of a `WORKDIR`.
pub(super) fn resolve(
    context: &StepContext<'_>,
    workdir: &Workdir,
) -> Result<(Record, bool), StepError> {
    context.find_or_make(key(context, workdir), || make(context, workdir))
}

/// The leaves: `docs/cache-keys.md`.
fn key(context: &StepContext<'_>, workdir: &Workdir) -> (CacheKey, Vec<Leaf>) {
    let Workdir { path, user } = workdir;
    let mut key = context.key("workdir");
    key.digest("parent", &context.parent.content_chain());
    key.text("path", path)
        .text("user", user.as_deref().unwrap_or_default());
    key.finish()
}

fn make(context: &StepContext<'_>, workdir: &Workdir) -> Result<MadeLayer, StepError> {
    let parent = context.parent_rootfs()?;
    let owner = match &workdir.user {
        None => Owner::default(),
        Some(user) => {
            let accounts = match files::needs_accounts(user) {
                true => context.accounts(&parent)?,
                false => Accounts::default(),
            };
            let Accounts { passwd, group } = &accounts;
            files::resolve_owner(user, OwnerAccounts::Files { passwd, group })?
        }
    };
    let packed = context.pack_with_blob(|blob| {
        files::workdir(workdir, &parent, owner, context.times(), Some(blob))
    })?;
    context.publish(packed, None)
}
