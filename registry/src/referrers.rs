//! What refers to a manifest, where the registry does not keep account of it: an index under a tag
//! made of the subject's digest.
//!
//! Spec: <https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#referrers-tag-schema>

use rbuild_image::manifest::{Descriptor, Document, Index, Manifest};
use rbuild_image::media::Format;
use rbuild_image::reference::Reference;

use crate::error::RegistryError;
use crate::push::Push;

impl Push<'_> {
    /// Notes that `descriptor`, a manifest or index with these bytes, says something about `subject`.
    pub(crate) fn refer(
        &self,
        subject: &Descriptor,
        descriptor: &Descriptor,
        bytes: &[u8],
    ) -> Result<(), RegistryError> {
        let place = Reference {
            tag: Some(format!("sha256-{}", subject.digest.hex())),
            ..self.repository().clone()
        };
        let mut entries = match self.client().resolve(&place) {
            Ok(resolved) => match resolved.document {
                Document::Index(index) => index.manifests,
                // A tag that only looks like one of these is somebody's own.
                Document::Manifest(_) => return Ok(()),
            },
            Err(RegistryError::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        if entries
            .iter()
            .any(|entry| entry.digest == descriptor.digest)
        {
            return Ok(());
        }
        entries.push(entry(descriptor, bytes));
        let index = Index::new(Format::Oci, entries).to_bytes();
        let listed = Descriptor::of(Format::Oci.index(), &index);
        self.store_bytes(&listed, &index, &place).map(drop)
    }
}

/// The entry of a list of referrers: with the type and the annotations of what it names.
fn entry(descriptor: &Descriptor, bytes: &[u8]) -> Descriptor {
    let mut entry = Descriptor::new(&descriptor.media_type, descriptor.digest, descriptor.size);
    match Document::parse(bytes, &descriptor.media_type) {
        Ok(Document::Manifest(Manifest {
            artifact_type,
            annotations,
            config,
            ..
        })) => {
            entry.artifact_type = artifact_type.or(Some(config.media_type));
            entry.annotations = annotations;
        }
        Ok(Document::Index(index)) => {
            entry.artifact_type = index.artifact_type;
            entry.annotations = index.annotations;
        }
        Err(_) => {}
    }
    entry
}
