//! `--metadata-file` and `--iidfile`: what a build tells other programs.

use rbuild_image::digest::Digest;
use rbuild_image::manifest::Descriptor;
use rbuild_image::reference::Reference;
use serde_json::{Map, Value};

use crate::environment;
use crate::report::Failure;

/// The kernel makes a new one of these whenever it is read.
const RANDOM_ID: &str = "/proc/sys/kernel/random/uuid";

/// What was made of a build.
#[derive(Debug)]
pub(crate) struct Metadata<'a> {
    /// The image's ID; `None` if there is no image.
    pub(crate) id: Option<Digest>,
    /// How many platforms it is for.
    pub(crate) n_platforms: usize,
    /// The manifest or index that was written, if one was.
    pub(crate) target: Option<&'a Descriptor>,
    /// What it is called.
    pub(crate) names: &'a [Reference],
}

impl Metadata<'_> {
    /// Returns the document, with the fields that buildx writes.
    pub(crate) fn to_json(&self) -> Result<String, Failure> {
        let mut fields = Map::new();
        let mut set = |key: &str, value: Value| drop(fields.insert(key.to_owned(), value));
        set("buildx.build.ref", build_name(self.id).into());
        if let Some(id) = self.id {
            // The config of one platform says little of an index.
            if self.n_platforms == 1 {
                set("containerimage.config.digest", id.to_string().into());
            }
            let digest = self.target.map_or(id, |target| target.digest);
            set("containerimage.digest", digest.to_string().into());
            if let Some(target) = self.target {
                let target = serde_json::to_value(target)?;
                set("containerimage.descriptor", target);
            }
            let names: Vec<_> = self.names.iter().map(ToString::to_string).collect();
            if !names.is_empty() {
                set("image.name", names.join(",").into());
            }
        }
        Ok(format!("{:#}\n", Value::Object(fields)))
    }
}

/// A name that no other build has: builder, node, and 25 digits.
fn build_name(id: Option<Digest>) -> String {
    let random = fs_err::read(RANDOM_ID).unwrap_or_default();
    let (now, process) = (environment::now(), std::process::id());
    let text = format!("{random:?} {now} {process} {id:?}");
    format!(
        "rbuild/rbuild0/{}",
        &Digest::of(text.as_bytes()).hex()[..25]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_have_names_of_their_own() {
        let name = build_name(None);
        assert_eq!(name.len(), "rbuild/rbuild0/".len() + 25);
        assert_ne!(name, build_name(None));
    }
}
