//! Writing what a build made to where `--output` says.

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write};

use rbuild_executor::{BuiltImage, Part, check_apart, export_directory, export_tar};
use rbuild_image::archive::{
    ArchiveImage, Durability, Output, save, save_without, write_file, write_oci, write_oci_folder,
};
use rbuild_image::assemble::LayerBlobs;
use rbuild_image::digest::{DiffId, Digest};
use rbuild_image::error::ImageError;
use rbuild_image::manifest::Descriptor;
use rbuild_image::reference::Reference;

use crate::destination::{Destination, Place};
use crate::engine::{Engine, Held};
use crate::files_output::FilesOutput;
use crate::image_output::Form;
use crate::manifests::{self, Compression, Made};
use crate::output;
use crate::report::Failure;
use crate::stop::Stop;
use crate::workplace::Workplace;

/// What an export left in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Exported {
    /// The manifest, or the index of several, that was written.
    pub(crate) target: Option<Descriptor>,
    /// The manifests that the image in the store is to have, one a platform.
    pub(crate) manifests: Vec<Descriptor>,
}

impl Exported {
    fn of(target: Descriptor) -> Self {
        Self {
            target: Some(target),
            manifests: Vec::new(),
        }
    }
}

/// A build's result as it is written out.
pub(crate) struct Export<'a> {
    pub(crate) workplace: &'a Workplace,
    pub(crate) images: &'a [BuiltImage],
    pub(crate) tags: &'a [String],
    pub(crate) stop: &'a Stop,
    /// Whether remarks are wanted.
    pub(crate) is_shown: bool,
    pub(crate) epoch: Option<i64>,
}

impl Export<'_> {
    /// Writes to one destination.
    pub(crate) fn write(&self, destination: &Destination) -> Result<Exported, Failure> {
        match destination {
            Destination::Nothing => Ok(Exported::default()),
            Destination::Local(directory, files) => {
                self.files(files, |parts, epoch| {
                    let layers = &self.workplace.layers;
                    Ok(export_directory(
                        layers,
                        parts,
                        directory,
                        epoch,
                        files.others,
                    )?)
                })?;
                Ok(Exported::default())
            }
            Destination::Tar(place, files) => {
                to_place(place, "tar", |sink| {
                    self.files(files, |parts, epoch| {
                        Ok(export_tar(&self.workplace.layers, parts, epoch, sink)?)
                    })
                })?;
                Ok(Exported::default())
            }
            Destination::OciArchive(place, form) => {
                self.archive(place, form, "oci", Compression::Gzip, write_oci)
            }
            Destination::DockerArchive(place, form) => {
                self.archive(place, form, "docker", Compression::None, save)
            }
            Destination::OciDirectory(directory, form) => {
                let target = self.target(form, Compression::Gzip)?;
                let image = ArchiveImage {
                    target: target.clone(),
                    names: form.names(self.tags)?,
                };
                write_oci_folder(&self.workplace.store, &[image], directory)?;
                Ok(Exported::of(target))
            }
            Destination::Engine(context, form) => self.engine(context.as_deref(), form),
            Destination::Image(image) if image.needs_manifests() => {
                let made = self.make(&image.form, Compression::Gzip, LayerBlobs::Known)?;
                Ok(Exported {
                    target: Some(made.target),
                    manifests: made.manifests,
                })
            }
            Destination::Image(_) => Ok(Exported::default()),
        }
    }

    fn make(
        &self,
        form: &Form,
        compression: Compression,
        layer_blobs: LayerBlobs,
    ) -> Result<Made, Failure> {
        manifests::make_form(self.workplace, self.images, form, compression, layer_blobs)
    }

    fn target(&self, form: &Form, compression: Compression) -> Result<Descriptor, Failure> {
        Ok(self.make(form, compression, LayerBlobs::Here)?.target)
    }

    fn archive(
        &self,
        place: &Place,
        form: &Form,
        kind: &str,
        compression: Compression,
        write: fn(
            &rbuild_image::store::Store,
            &[ArchiveImage],
            &mut Output<'_>,
        ) -> Result<(), ImageError>,
    ) -> Result<Exported, Failure> {
        refuse_terminal(place, kind)?;
        let target = self.target(form, compression)?;
        let image = ArchiveImage {
            target: target.clone(),
            names: form.names(self.tags)?,
        };
        let store = &self.workplace.store;
        let write = |out: &mut Output<'_>| write(store, std::slice::from_ref(&image), out);
        self.while_syncing(|| match place {
            Place::File(path) => Ok(write_file(path, Durability::Quick, write)?),
            Place::Stdout => {
                let mut stdout = std::io::stdout().lock();
                Ok(write(&mut Output::Stream(&mut stdout))?)
            }
        })?;
        Ok(Exported::of(target))
    }

    /// Calls `write` and has the disk take what is in the store meanwhile: the image's name has to wait for
    /// that, but not for the archive, which one sync behind both would write to disk as well.
    fn while_syncing(&self, write: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
        if !self.workplace.layers.has_unsynced()? {
            return write();
        }
        std::thread::scope(|scope| {
            let syncing = scope.spawn(|| self.workplace.layers.sync());
            write()?;
            // A thread that failed has synced nothing; whoever gives names does it then.
            syncing.join().unwrap_or(Ok(false))?;
            Ok(())
        })
    }

    fn engine(&self, context: Option<&str>, form: &Form) -> Result<Exported, Failure> {
        let Some(engine) = Engine::find(context, self.stop)? else {
            if self.is_shown {
                output::note(
                    "note: no Docker engine and no Podman listens here; the image is in rbuild's store\n",
                );
            }
            return Ok(Exported::default());
        };
        let names = form.names(self.tags)?;
        let [built] = self.images else {
            let target = self.target(form, Compression::None)?;
            self.load(&engine, &target, names, &BTreeSet::new())?;
            return Ok(Exported::of(target));
        };
        let target = self
            .make(form, Compression::None, LayerBlobs::Known)?
            .target;
        let n_held = match engine.held(&built.config_digest, &built.layers)? {
            Held::Image => {
                engine.tag(&built.config_digest, &names)?;
                return Ok(Exported::of(target));
            }
            Held::Layers(n_held) => n_held,
        };
        let blobs = manifests::layers(self.workplace, &target)?;
        let layers: Vec<_> = built.layers.iter().zip(&blobs).collect();
        let (held, missing) = layers.split_at(n_held.min(layers.len()));
        self.bring(missing)?;
        let mut omitted: BTreeSet<_> = held.iter().map(|(_, blob)| blob.digest).collect();
        for (_, blob) in missing {
            omitted.remove(&blob.digest);
        }
        let loaded = self.load(&engine, &target, names.clone(), &omitted);
        if loaded.is_err() && !omitted.is_empty() && !self.stop.is_stopped() {
            // What the engine had may be gone by now.
            self.bring(held)?;
            self.load(&engine, &target, names, &BTreeSet::new())?;
        } else {
            loaded?;
        }
        Ok(Exported::of(target))
    }

    fn bring(&self, layers: &[(&DiffId, &Descriptor)]) -> Result<(), Failure> {
        for (diff_id, blob) in layers {
            self.workplace.layers.bring_blob(diff_id, blob)?;
        }
        Ok(())
    }

    fn load(
        &self,
        engine: &Engine<'_>,
        target: &Descriptor,
        names: Vec<Reference>,
        omitted: &BTreeSet<Digest>,
    ) -> Result<(), Failure> {
        let store = &self.workplace.store;
        let target = target.clone();
        let image = ArchiveImage { target, names };
        engine.load(|mut sink| {
            let out = &mut Output::Stream(&mut sink);
            Ok(save_without(store, &[image], omitted, out)?)
        })
    }

    /// Calls `write` with the files of all platforms and the time that they are to have.
    fn files(
        &self,
        files: &FilesOutput,
        write: impl FnOnce(&[Part<'_>], Option<i64>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let names: Vec<_> = self
            .images
            .iter()
            .map(|image| image.platform.to_string())
            .collect();
        let is_split = files.is_split.unwrap_or(self.images.len() > 1);
        let prefixes: Vec<_> = match is_split {
            true => names.iter().map(|name| name.replace('/', "_")).collect(),
            false => vec![String::new(); names.len()],
        };
        let parts = self.images.iter().zip(&names).zip(&prefixes);
        let parts: Vec<_> = parts
            .map(|((image, name), prefix)| Part {
                layers: &image.layers,
                prefix,
                name,
            })
            .collect();
        if !is_split {
            check_apart(&self.workplace.layers, &parts)?;
        }
        write(&parts, files.epoch.or(self.epoch))
    }
}

fn refuse_terminal(place: &Place, kind: &str) -> Result<(), Failure> {
    if *place == Place::Stdout && std::io::stdout().is_terminal() {
        return Err(Failure::message(format!(
            "dest file is required for {kind} exporter. refusing to write to console"
        )));
    }
    Ok(())
}

/// Calls `write` with where the bytes go. A file gets its name when all of it is there.
pub(crate) fn to_place(
    place: &Place,
    kind: &str,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
) -> Result<(), Failure> {
    refuse_terminal(place, kind)?;
    match place {
        Place::Stdout => {
            let mut sink = std::io::BufWriter::new(std::io::stdout().lock());
            write(&mut sink)?;
            sink.flush()?;
        }
        Place::File(path) => {
            let mut failure = None;
            write_file(path, Durability::Quick, |out| {
                let mut sink = std::io::BufWriter::with_capacity(1 << 20, out);
                failure = write(&mut sink).err();
                // An unfinished file never gets its name.
                let unfinished =
                    || ImageError::io("write the tar")(std::io::Error::other("unfinished"));
                if failure.is_some() {
                    Err(unfinished())
                } else {
                    sink.flush().map_err(ImageError::io("write the tar"))
                }
            })
            .map_err(|error| failure.take().unwrap_or_else(|| error.into()))?;
        }
    }
    Ok(())
}
