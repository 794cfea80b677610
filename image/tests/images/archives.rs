//! Images into archives and back, by our hand and by others'.

use std::io::Write as _;
use std::path::Path;

use crate::fixture::{self, Fixture, Packed, layer_tar, names, reference};
use rbuild_image::archive::{
    ArchiveImage, ImportOptions, Loaded, Output, export_target, import, load, load_folder,
    missing_blobs, save, write_oci, write_oci_folder,
};
use rbuild_image::config::ImageConfig;
use rbuild_image::digest::Digest;
use rbuild_image::error::ImageError;
use rbuild_image::manifest::Descriptor;
use rbuild_image::platform::Platform;
use rbuild_image::record::ImageRecord;
use rbuild_image::store::Store;
use rbuild_image::validate::validate;

fn saved(store: &Store, images: &[ArchiveImage]) -> Vec<u8> {
    let mut bytes = Vec::new();
    save(store, images, &mut Output::Stream(&mut bytes)).unwrap();
    bytes
}

fn entries(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 0);
            assert_eq!(entry.header().uid().unwrap(), 0);
            let mut bytes = Vec::new();
            std::io::copy(&mut entry, &mut bytes).unwrap();
            (entry.path().unwrap().to_str().unwrap().to_owned(), bytes)
        })
        .collect()
}

fn document(archive: &[u8], name: &str) -> String {
    let entries = entries(archive);
    let found = entries.into_iter().find(|(path, _)| path == name);
    String::from_utf8(found.unwrap().1).unwrap()
}

#[test]
fn an_archive_is_written_to_the_letter() {
    let fixture = Fixture::new();
    let target = fixture.image("linux/amd64", &["one", "two"], Packed::Gzip);
    let images = [ArchiveImage {
        target: target.clone(),
        names: vec![reference("base:1"), reference("host:5000/team/app")],
    }];
    let archive = saved(&fixture.store, &images);
    let paths: Vec<_> = entries(&archive)
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    let mut sorted = paths[2..6].to_vec();
    sorted.sort();
    assert_eq!(sorted, paths[2..6], "blobs are sorted");
    assert_eq!(paths[..2], ["blobs/", "blobs/sha256/"]);
    assert_eq!(paths[6..], ["index.json", "manifest.json", "oci-layout"]);
    let manifest = fixture.manifest(&target);
    let blob = |blob: &Descriptor| format!("blobs/sha256/{}", blob.digest.hex());
    assert_eq!(
        document(&archive, "manifest.json"),
        format!(
            r#"[{{"Config":"{}","RepoTags":["base:1"],"Layers":["{}","{}"]}}]"#,
            blob(&manifest.config),
            blob(&manifest.layers[0]),
            blob(&manifest.layers[1]),
        )
    );
    assert_eq!(
        document(&archive, "index.json"),
        format!(
            concat!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","#,
                r#""manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
                r#""digest":"{digest}","size":{size},"annotations":{{"#,
                r#""io.containerd.image.name":"docker.io/library/base:1","#,
                r#""org.opencontainers.image.ref.name":"1"}}}}]}}"#
            ),
            digest = target.digest,
            size = target.size
        )
    );
    assert_eq!(
        saved(&fixture.store, &images),
        archive,
        "same images, same bytes"
    );
}

#[test]
fn what_is_saved_can_be_loaded() {
    let fixture = Fixture::new();
    let first = fixture.image("linux/amd64", &["one", "two"], Packed::Gzip);
    let second = fixture.image("linux/arm64", &["one", "three", "one"], Packed::Zstd);
    let plain = fixture.image("linux/amd64", &[], Packed::Plain);
    let images = [
        ArchiveImage {
            target: first.clone(),
            names: vec![reference("base:1")],
        },
        ArchiveImage {
            target: second.clone(),
            names: vec![],
        },
        ArchiveImage {
            target: plain.clone(),
            names: vec![reference("empty:1")],
        },
        ArchiveImage {
            target: first.clone(),
            names: vec![reference("base:1"), reference("again:1")],
        },
    ];
    let archive = saved(&fixture.store, &images);
    let other = Fixture::new();
    let loaded = load(&other.layers(), &archive[..], &[]).unwrap();
    assert_eq!(names(&loaded), ["base:1 again:1", "", "empty:1"]);
    let targets: Vec<_> = loaded
        .iter()
        .map(|l| l.record.target().unwrap().digest)
        .collect();
    assert_eq!(targets, [first.digest, second.digest, plain.digest]);
    let again: Vec<_> = loaded
        .iter()
        .map(|loaded| ArchiveImage {
            target: export_target(&other.store, &loaded.record, &[]).unwrap(),
            names: loaded.names.clone(),
        })
        .collect();
    let targets: Vec<_> = again.iter().map(|image| image.target.digest).collect();
    assert_eq!(targets, [first.digest, second.digest, plain.digest]);
    for image in &again {
        assert_eq!(missing_blobs(&other.store, &image.target).unwrap(), []);
        validate(&other.store, &image.target).unwrap();
    }
    let tmp = other.store.root().join("tmp");
    assert_eq!(
        fs_err::read_dir(tmp).unwrap().count(),
        0,
        "nothing is left behind"
    );
}

#[test]
fn compressed_archives_are_loaded() {
    let fixture = Fixture::new();
    let target = fixture.image("linux/amd64", &["one"], Packed::Gzip);
    let archive = saved(
        &fixture.store,
        &[ArchiveImage {
            target: target.clone(),
            names: vec![reference("base:1")],
        }],
    );
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archive).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&archive).unwrap();
    for packed in [
        gzip.finish().unwrap(),
        xz.finish().unwrap(),
        zstd::encode_all(&archive[..], 1).unwrap(),
    ] {
        let other = Fixture::new();
        let loaded = load(&other.layers(), &packed[..], &[]).unwrap();
        assert_eq!(names(&loaded), ["base:1"]);
        let error = load(&other.layers(), &packed[..packed.len() / 2], &[]).unwrap_err();
        assert!(matches!(error, ImageError::BadArchive { .. }), "{error}");
    }
}

#[test]
fn an_index_keeps_all_its_platforms() {
    let fixture = Fixture::new();
    let host = Platform::host().to_string();
    let foreign = fixture.image("linux/s390x", &["one"], Packed::Gzip);
    let own = fixture.image(&host, &["two"], Packed::Gzip);
    let index = fixture.index(&[("linux/s390x", &foreign), (&host, &own)]);
    let image = ArchiveImage {
        target: index.clone(),
        names: vec![reference("multi:1")],
    };
    let archive = saved(&fixture.store, &[image]);
    let config = fixture.manifest(&own).config.digest.hex();
    let docker = document(&archive, "manifest.json");
    assert!(
        docker.contains(&config),
        "docker gets this machine's: {docker}"
    );
    let other = Fixture::new();
    let loaded = load(&other.layers(), &archive[..], &[]).unwrap();
    let record = &loaded[0].record;
    assert_eq!(record.images.len(), 2);
    assert_eq!(record.id.hex(), config);
    assert_eq!(record.index.as_ref().unwrap().digest, index.digest);
    assert_eq!(
        export_target(&other.store, record, &[]).unwrap().digest,
        index.digest
    );
    let only = [Platform::new("linux", "s390x")];
    let exported = export_target(&other.store, record, &only).unwrap();
    assert_eq!(exported.digest, foreign.digest);
    // One platform alone.
    let third = Fixture::new();
    let loaded = load(&third.layers(), &archive[..], &only).unwrap();
    let record = &loaded[0].record;
    assert_eq!(record.images.len(), 1);
    assert_eq!(record.images[0].platform.to_string(), "linux/s390x");
    assert!(!third.store.has_blob(&own.digest));
    assert_eq!(
        export_target(&third.store, record, &[]).unwrap().digest,
        foreign.digest
    );
    let error = load(
        &third.layers(),
        &archive[..],
        &[Platform::new("plan9", "arm")],
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("no matching manifest for plan9/arm"),
        "{error}"
    );
}

#[test]
fn nothing_is_written_if_something_is_missing() {
    let fixture = Fixture::new();
    let target = fixture.image("linux/amd64", &["one", "two"], Packed::Gzip);
    let gone = fixture.manifest(&target).layers[1].clone();
    let images = [ArchiveImage {
        target: target.clone(),
        names: vec![reference("base:1")],
    }];
    let path = fixture.store.blob_path(&gone.digest);
    let content = fs_err::read(&path).unwrap();
    let check = |expected: &str| {
        let mut bytes = Vec::new();
        let out = &mut Output::Stream(&mut bytes);
        // Another process has the store open: this one trusts what it wrote itself.
        let store = Store::open(fixture.store.root()).unwrap();
        let error = save(&store, &images, out).unwrap_err();
        assert_eq!(error.to_string(), expected);
        bytes.len()
    };
    fs_err::remove_file(&path).unwrap();
    let missing = format!(
        "blob {} of base:1 is not in the local store; run rbuild pull base:1",
        gone.digest
    );
    assert_eq!(check(&missing), 0);
    assert_eq!(
        missing_blobs(&fixture.store, &target).unwrap(),
        std::slice::from_ref(&gone)
    );
    fs_err::write(&path, &content[1..]).unwrap();
    assert_eq!(check(&missing), 0);
    let mut damaged = content;
    damaged[0] ^= 1;
    fs_err::write(&path, &damaged).unwrap();
    check(&format!(
        "blob {} of the local store was damaged; it has been removed, try again",
        gone.digest
    ));
    assert_eq!(check(&missing), 0);
}

#[test]
fn images_that_disagree_with_themselves_are_found() {
    let fixture = Fixture::new();
    let image = fixture.image("linux/amd64", &["one"], Packed::Gzip);
    validate(&fixture.store, &image).unwrap();
    let error = |target: &Descriptor| validate(&fixture.store, target).unwrap_err().to_string();
    let index = fixture.index(&[("linux/arm64", &image)]);
    let expected = "its index says linux/arm64, its config linux/amd64";
    assert!(error(&index).ends_with(expected), "{}", error(&index));
    let mut manifest = fixture.manifest(&image);
    let other = fixture.manifest(&fixture.image("linux/amd64", &["two"], Packed::Gzip));
    manifest.layers[0] = other.layers[0].clone();
    let bytes = manifest.to_bytes();
    fixture.store.put_blob(&bytes).unwrap();
    let swapped = Descriptor::of(&image.media_type, &bytes);
    assert!(
        error(&swapped).contains("has diff ID"),
        "{}",
        error(&swapped)
    );
}

#[test]
fn a_folder_is_a_layout_that_grows() {
    let fixture = Fixture::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layout");
    let write = |layers: &[&str], name: &str| {
        let target = fixture.image("linux/amd64", layers, Packed::Gzip);
        let names = vec![reference(name)];
        let image = ArchiveImage { target, names };
        // Twice: what is there already is left as it is.
        for _ in 0..2 {
            let images = std::slice::from_ref(&image);
            write_oci_folder(&fixture.store, images, &path).unwrap();
        }
    };
    write(&["one"], "app:1");
    write(&["two"], "app:2");
    write(&["three"], "app:1");
    let other = Fixture::new();
    let loaded = load_folder(&other.layers(), &path, &[]).unwrap();
    assert_eq!(names(&loaded), ["app:2", "app:1"]);
    let bytes = fs_err::read(path.join("index.json")).unwrap();
    write(&["three"], "app:1");
    assert_eq!(fs_err::read(path.join("index.json")).unwrap(), bytes);
}

#[test]
fn a_plain_oci_archive_is_loaded() {
    let fixture = Fixture::new();
    let target = fixture.image("linux/amd64", &["one"], Packed::Zstd);
    let names_given = vec![reference("app:1")];
    let images = [ArchiveImage {
        target,
        names: names_given,
    }];
    let mut archive = Vec::new();
    let out = &mut Output::Stream(&mut archive);
    write_oci(&fixture.store, &images, out).unwrap();
    assert!(
        !entries(&archive)
            .iter()
            .any(|(path, _)| path == "manifest.json")
    );
    let other = Fixture::new();
    assert_eq!(
        names(&load(&other.layers(), &archive[..], &[]).unwrap()),
        ["app:1"]
    );
}

/// What docker wrote before it knew OCI: layers in folders, links between equal ones.
#[test]
fn an_archive_of_old_docker_is_loaded() {
    let layer = layer_tar("content");
    let config = fixture::config("linux/amd64", &[&layer, &layer]).to_bytes();
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let manifest = format!(
        r#"[{{"Config":"{config_name}","RepoTags":["base:1","host:5000/x:2"],"Layers":["a/layer.tar","b/layer.tar"]}},{{"Config":"{config_name}","RepoTags":null,"Layers":["b/layer.tar","a/layer.tar"]}}]"#
    );
    let archive = fixture::tar_of(&[
        ("a/VERSION", fixture::Member::File(b"1.0")),
        ("a/layer.tar", fixture::Member::Symlink("../b/layer.tar")),
        ("b/layer.tar", fixture::Member::File(&layer)),
        (&config_name, fixture::Member::File(&config)),
        ("manifest.json", fixture::Member::File(manifest.as_bytes())),
        ("repositories", fixture::Member::File(b"{}")),
    ]);
    let fixture = Fixture::new();
    let loaded = load(&fixture.layers(), &archive[..], &[]).unwrap();
    assert_eq!(names(&loaded), ["base:1 host:5000/x:2", ""]);
    for image in &loaded {
        assert_eq!(image.record.id, Digest::of(&config));
        assert_eq!(image.record.target(), None);
        let error = export_target(&fixture.store, &image.record, &[]).unwrap_err();
        assert!(matches!(error, ImageError::NoManifest { .. }), "{error}");
    }
    assert!(fixture.store.has_blob(&Digest::of(&layer)));
    let blobs = fixture.store.root().join("blobs/sha256");
    assert_eq!(
        fs_err::read_dir(blobs).unwrap().count(),
        2,
        "only what images need"
    );
}

#[test]
fn a_single_image_of_another_platform_is_not_loaded() {
    let fixture = Fixture::new();
    let target = fixture.image("linux/s390x", &["one"], Packed::Gzip);
    let names = vec![reference("base:1")];
    let archive = saved(&fixture.store, &[ArchiveImage { target, names }]);
    let other = Fixture::new();
    let wanted = [Platform::new("linux", "amd64")];
    let error = load(&other.layers(), &archive[..], &wanted).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no matching manifest for linux/amd64 in the manifest list entries (it has linux/s390x)"
    );
    let wanted = [Platform::new("linux", "s390x")];
    load(&other.layers(), &archive[..], &wanted).unwrap();
}

#[test]
fn archives_that_do_not_fit_together_are_refused() {
    let layer = layer_tar("content");
    let other = layer_tar("other");
    let check = |config: &[u8], layers: &str, expected: &str| {
        let manifest = format!(r#"[{{"Config":"c.json","Layers":{layers}}}]"#);
        let archive = fixture::tar_of(&[
            ("manifest.json", fixture::Member::File(manifest.as_bytes())),
            ("c.json", fixture::Member::File(config)),
            ("layer", fixture::Member::File(&layer)),
        ]);
        let fixture = Fixture::new();
        let error = load(&fixture.layers(), &archive[..], &[]).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    let config = fixture::config("linux/amd64", &[&layer]).to_bytes();
    let wrong = fixture::config("linux/amd64", &[&other]).to_bytes();
    check(
        &config,
        r#"["layer","layer"]"#,
        "invalid manifest, layers length mismatch: expected 2, got 1",
    );
    check(&config, r#"["nowhere"]"#, "the archive has no nowhere");
    check(&config, r#"["../layer"]"#, "the archive has no ../layer");
    check(
        &wrong,
        r#"["layer"]"#,
        &format!(
            "layer {} has diff ID {}",
            Digest::of(&other),
            Digest::of(&layer)
        ),
    );
    check(b"[]", r#"["layer"]"#, "cannot read the image config");
    let fixture = Fixture::new();
    let archive = fixture::tar_of(&[("etc/passwd", fixture::Member::File(b"root"))]);
    let error = load(&fixture.layers(), &archive[..], &[]).unwrap_err();
    assert_eq!(error.to_string(), "unrecognized image format");
}

#[test]
fn a_tar_of_files_becomes_an_image() {
    let tar = layer_tar("content");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    let gzip = gzip.finish().unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&tar).unwrap();
    let xz = xz.finish().unwrap();
    for (input, stored) in [(&tar, &tar), (&gzip, &gzip), (&xz, &tar)] {
        let fixture = Fixture::new();
        let record = imported(&fixture, input).unwrap();
        let bytes = fixture.store.read_blob(&record.id, 1 << 20).unwrap();
        let config = ImageConfig::parse(&bytes).unwrap();
        assert_eq!(config.rootfs.diff_ids[0].0, Digest::of(&tar));
        assert_eq!(config.history[0].comment.as_deref(), Some("a comment"));
        assert_eq!(config.history.len(), 1);
        assert!(fixture.store.has_blob(&Digest::of(stored)));
        assert_eq!(record.created.as_deref(), Some("2024-01-01T00:00:00Z"));
    }
    let empty = tar::Builder::new(Vec::new()).into_inner().unwrap();
    imported(&Fixture::new(), &empty).unwrap();
    let error = |input: &[u8]| imported(&Fixture::new(), input).unwrap_err().to_string();
    assert_eq!(error(b""), "unexpected EOF");
    assert_eq!(error(&[b'x'; 1000]), "unrecognized image format");
    assert!(
        error(&tar[..700]).starts_with("the archive is damaged"),
        "{}",
        error(&tar[..700])
    );
}

fn imported(fixture: &Fixture, input: &[u8]) -> Result<ImageRecord, ImageError> {
    let config = ImageConfig {
        created: Some("2024-01-01T00:00:00Z".into()),
        ..fixture::config("linux/amd64", &[])
    };
    let message = "a comment".to_owned();
    import(&fixture.layers(), input, ImportOptions { config, message })
}

/// Runs a program; `None`, with a notice, if it is not installed.
#[expect(
    clippy::print_stderr,
    reason = "whoever runs the tests should know what was not tested"
)]
fn run(program: &str, args: &[&str]) -> Option<String> {
    let output = match std::process::Command::new(program).args(args).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: {program} is not installed");
            return None;
        }
        other => other.unwrap(),
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {stderr}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn skopeo_reads_what_is_written() {
    let fixture = Fixture::new();
    let target = fixture.image("linux/amd64", &["one", "two"], Packed::Gzip);
    let images = [ArchiveImage {
        target: target.clone(),
        names: vec![reference("base:1")],
    }];
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let archive = path("image.tar");
    fs_err::write(&archive, saved(&fixture.store, &images)).unwrap();
    for transport in ["oci-archive", "docker-archive"] {
        let source = format!("{transport}:{archive}");
        let Some(config) = run("skopeo", &["inspect", "--config", "--raw", &source]) else {
            return;
        };
        let id = fixture.manifest(&target).config.digest;
        assert_eq!(Digest::of(config.as_bytes()), id, "{transport}");
        let dest = format!("dir:{}", path(transport));
        run("skopeo", &["copy", "--insecure-policy", &source, &dest]).unwrap();
    }
    let dest = path("oci");
    write_oci_folder(&fixture.store, &images, Path::new(&dest)).unwrap();
    let raw = run("skopeo", &["inspect", "--raw", &format!("oci:{dest}:1")]).unwrap();
    assert_eq!(Digest::of(raw.as_bytes()), target.digest);
    // And the other way round.
    let theirs = path("theirs.tar");
    let dest = format!("docker-archive:{theirs}:back:1");
    let source = format!("oci-archive:{archive}");
    run("skopeo", &["copy", "--insecure-policy", &source, &dest]).unwrap();
    let other = Fixture::new();
    let loaded = load(&other.layers(), fs_err::File::open(&theirs).unwrap(), &[]).unwrap();
    assert_eq!(names(&loaded), ["back:1"]);
    assert_eq!(loaded[0].record.id, fixture.manifest(&target).config.digest);
}

#[test]
fn umoci_unpacks_what_is_written() {
    let fixture = Fixture::new();
    let target = fixture.image("linux/amd64", &["one", "two"], Packed::Gzip);
    let images = [ArchiveImage {
        target,
        names: vec![reference("base:1")],
    }];
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("oci");
    write_oci_folder(&fixture.store, &images, &layout).unwrap();
    let image = format!("{}:1", layout.display());
    let bundle = folder.path().join("bundle");
    let args = [
        "unpack",
        "--rootless",
        "--image",
        &image,
        bundle.to_str().unwrap(),
    ];
    if run("umoci", &args).is_some() {
        let file = bundle.join("rootfs/two");
        assert_eq!(fs_err::read_to_string(file).unwrap(), "two");
    }
}

#[test]
fn loaded_images_get_names_and_lose_them() {
    let fixture = Fixture::new();
    let target = fixture.image("linux/amd64", &["one"], Packed::Gzip);
    let names = vec![reference("base:1")];
    let archive = saved(&fixture.store, &[ArchiveImage { target, names }]);
    let other = Fixture::new();
    let Loaded { record, names } = load(&other.layers(), &archive[..], &[]).unwrap().remove(0);
    other.store.tag(&names[0], &record).unwrap();
    assert_eq!(other.store.require("base:1").unwrap().record, record);
    let force = rbuild_image::record::Force::No;
    other.store.release();
    other
        .store
        .remove_image("base:1", force, &|_| false)
        .unwrap();
    let blobs = other.store.root().join("blobs/sha256");
    assert_eq!(fs_err::read_dir(blobs).unwrap().count(), 0);
}
