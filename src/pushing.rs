//! What goes to a registry: an image of the store, its layers as far as the registry lacks them.

use std::collections::BTreeMap;

use rbuild_image::archive::missing_blobs;
use rbuild_image::assemble::{AssembleOptions, LayerBlobs, PulledLayers};
use rbuild_image::digest::{DiffId, Digest};
use rbuild_image::layer::Origin;
use rbuild_image::manifest::{Annotations, Descriptor, Document, Index, MAX_MANIFEST_BYTES};
use rbuild_image::media::Format;
use rbuild_image::record::ImageRecord;
use rbuild_image::reference::Reference;
use rbuild_image::store::Pin;
use rbuild_registry::{Bytes, Cause, Client, Content, PushEvent, PushOptions};

use crate::bases::REGISTRY;
use crate::manifests::{self, Method};
use crate::report::Failure;
use crate::workplace::Workplace;

/// How an image is to be written.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// What layers are compressed with that have no registry to come from.
    pub(crate) compression: Method,
    /// Whether all other layers are compressed so, too.
    pub(crate) is_forced: bool,
}

/// An image ready to be pushed.
#[derive(Debug)]
pub(crate) struct Parcel<'a> {
    workplace: &'a Workplace,
    /// The manifest, or the index of several.
    pub(crate) root: Descriptor,
    /// The image with its manifests; only the platforms that go.
    record: ImageRecord,
    /// Blobs of layers, and what they unpack to.
    layers: BTreeMap<Digest, (DiffId, Descriptor)>,
    /// The same in Docker's order: those of one image after the other, the topmost first.
    pub(crate) order: Vec<(Digest, DiffId)>,
    /// True if the image has an index that names more than is here.
    pub(crate) is_partial: bool,
}

/// Makes the manifests of an image, unless it has some, and what of its layers cannot be had
/// elsewhere.
pub(crate) fn prepare<'a>(
    workplace: &'a Workplace,
    record: &ImageRecord,
    wish: &Wish,
) -> Result<Parcel<'a>, Failure> {
    let mut record = record.clone();
    let has_manifests = record.images.iter().all(|image| image.manifest.is_some());
    if !has_manifests || wish.is_forced {
        record.index = None;
        for image in &mut record.images {
            image.manifest = None;
        }
    }
    if record.images.iter().any(|image| image.manifest.is_none()) {
        make_manifests(workplace, &mut record, wish)?;
    }
    let mut parcel = Parcel {
        workplace,
        root: Descriptor::new("", record.id, 0),
        record,
        layers: BTreeMap::new(),
        order: Vec::new(),
        is_partial: false,
    };
    parcel.find_layers()?;
    parcel.find_root()?;
    Ok(parcel)
}

fn make_manifests(
    workplace: &Workplace,
    record: &mut ImageRecord,
    wish: &Wish,
) -> Result<(), Failure> {
    let options = AssembleOptions {
        format: Format::Oci,
        compression: wish.compression,
        pulled_layers: if wish.is_forced {
            PulledLayers::Recompress
        } else {
            PulledLayers::Keep
        },
        layer_blobs: LayerBlobs::Known,
        annotations: Annotations::default(),
    };
    for image in &mut record.images {
        let made = manifests::make_as(workplace, &[image.config], &options)?;
        image.manifest = Some(made);
    }
    Ok(())
}

impl Parcel<'_> {
    fn find_layers(&mut self) -> Result<(), Failure> {
        let store = &self.workplace.store;
        for image in &self.record.images {
            let Some(descriptor) = &image.manifest else {
                continue;
            };
            store.pin(&[Pin::Blob(descriptor.digest), Pin::Blob(image.config)])?;
            let bytes = store.read_blob(&descriptor.digest, MAX_MANIFEST_BYTES)?;
            let Document::Manifest(manifest) = Document::parse(&bytes, &descriptor.media_type)?
            else {
                continue;
            };
            let diff_ids = self.workplace.config(&image.config)?.rootfs.diff_ids;
            let layers = diff_ids.iter().zip(&manifest.layers);
            for (diff_id, layer) in layers.rev() {
                store.pin(&[Pin::Layer(*diff_id), Pin::Blob(layer.digest)])?;
                let known = (*diff_id, layer.clone());
                if self.layers.insert(layer.digest, known).is_none() {
                    self.order.push((layer.digest, *diff_id));
                }
            }
        }
        Ok(())
    }

    /// The index the image came with is taken if all of it can be had; else the manifests that are
    /// here.
    fn find_root(&mut self) -> Result<(), Failure> {
        let store = &self.workplace.store;
        if let Some(index) = &self.record.index {
            let missing = missing_blobs(store, index)?;
            if missing
                .iter()
                .all(|blob| self.layers.contains_key(&blob.digest))
            {
                self.root = index.clone();
                return Ok(());
            }
            self.is_partial = true;
        }
        let manifests = self.record.images.iter().filter_map(|image| {
            let mut entry = image.manifest.clone()?;
            entry.platform = Some(image.platform.clone());
            Some(entry)
        });
        let mut manifests: Vec<Descriptor> = manifests.collect();
        if manifests.len() == 1 {
            self.root = manifests.remove(0);
            self.record.index = None;
            return Ok(());
        }
        let bytes = Index::new(Format::Oci, manifests).to_bytes();
        store.put_blob(&bytes)?;
        self.root = Descriptor::of(Format::Oci.index(), &bytes);
        self.record.index = Some(self.root.clone());
        Ok(())
    }

    /// Pushes the image under `reference`. The store knows then that it is there, and what of it.
    pub(crate) fn push(
        &self,
        reference: &Reference,
        progress: &(dyn Fn(PushEvent<'_>) + Sync),
    ) -> Result<(), Failure> {
        let client = self.workplace.origins.client().map_err(Failure::message)?;
        self.push_by(client, reference, progress)
    }

    /// Does what [`Parcel::push`] does with this client.
    pub(crate) fn push_by(
        &self,
        client: &Client,
        reference: &Reference,
        progress: &(dyn Fn(PushEvent<'_>) + Sync),
    ) -> Result<(), Failure> {
        let pushed = client.push(
            self,
            &self.root,
            reference,
            &PushOptions::default(),
            progress,
        );
        for warning in client.take_warnings() {
            crate::output::note(&format!("warning: {warning}\n"));
        }
        pushed?;
        self.remember(reference)
    }

    fn remember(&self, reference: &Reference) -> Result<(), Failure> {
        let location = reference.repository().to_string();
        for (diff_id, descriptor) in self.layers.values() {
            let copy = Origin {
                kind: REGISTRY.to_owned(),
                location: location.clone(),
                descriptor: descriptor.clone(),
            };
            self.workplace.layers.add_copy(diff_id, copy)?;
        }
        let store = &self.workplace.store;
        let name = reference.at_digest(self.root.digest);
        if store.references_of(&self.record.id)?.contains(&name) {
            return Ok(());
        }
        // What was pushed of an image may be another one than the image as a whole.
        if store.resolve(&self.record.id.to_string())?.is_some() {
            self.workplace.layers.publish_image(&self.record, &[name])?;
        }
        Ok(())
    }
}

impl Content for Parcel<'_> {
    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Cause> {
        self.workplace.store.document(descriptor)
    }

    /// A layer is fetched or made when the registry turns out to lack it.
    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Bytes + '_>, Cause> {
        let Workplace { store, layers, .. } = self.workplace;
        let is_here = store.has_blob(&descriptor.digest);
        if let Some((diff_id, _)) = self.layers.get(&descriptor.digest).filter(|_| !is_here) {
            layers.bring_blob(diff_id, descriptor)?;
        }
        store.blob(descriptor)
    }

    fn sources(&self, descriptor: &Descriptor) -> Vec<Reference> {
        let Some((diff_id, _)) = self.layers.get(&descriptor.digest) else {
            return Vec::new();
        };
        let layers = &self.workplace.layers;
        let copies = layers.copies(diff_id).into_iter().rev();
        copies
            .chain(layers.origins(diff_id).into_iter().rev())
            .filter(|place| place.kind == REGISTRY && place.descriptor.digest == descriptor.digest)
            .filter_map(|place| Reference::parse(&place.location).ok())
            .collect()
    }
}
