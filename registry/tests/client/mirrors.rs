//! Mirrors, blocked and insecure registries, from the files of other tools.

use std::io::Read as _;

use rbuild_registry::{Client, RegistriesConf, RegistryError};

use crate::image::Image;
use crate::server::{Answer, End, Seen, Server, settings};

/// A client with this `registries.conf`.
fn configured(conf: &str) -> Client {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registries.conf");
    fs_err::write(&path, conf).unwrap();
    let mut settings = settings();
    settings.registries_conf = RegistriesConf::File(path);
    Client::new(settings).unwrap()
}

/// Pulls `origin.test/team/app:1`, which lies on `origin`, through `mirror`.
fn check(
    mirror: impl Fn(&Seen, &Image) -> Answer + Send + Sync + 'static,
    expected: &str,
) -> (Server, Server, Vec<String>) {
    let image = Image::new(200_000);
    let (served, mirrored) = (image.clone(), image.clone());
    let origin = Server::new(move |seen| served.serve(seen));
    let mirror = Server::new(move |seen| mirror(seen, &mirrored));
    let client = configured(&format!(
        "[[registry]]\nprefix = \"origin.test\"\nlocation = \"{}\"\n\
         [[registry.mirror]]\nlocation = \"{}/cache\"\n",
        origin.host(),
        mirror.host()
    ));
    let reference = "origin.test/team/app:1".parse().unwrap();
    assert_eq!(client.resolve(&reference).unwrap().bytes, image.manifest);
    let mut layer = Vec::new();
    let read = client
        .blob(&reference, &image.layer_descriptor)
        .unwrap()
        .read_to_end(&mut layer);
    assert!(read.is_ok() && layer == image.layer);
    let asked = |server: &Server| {
        let seen = server.seen();
        let kinds = seen.iter().map(|seen| match seen.target.as_str() {
            target if target.contains("manifests") => 'm',
            _ => 'b',
        });
        kinds.collect::<String>()
    };
    assert_eq!(format!("{} {}", asked(&mirror), asked(&origin)), expected);
    let warnings = client.take_warnings();
    (mirror, origin, warnings)
}

#[test]
fn a_good_mirror_is_enough() {
    let (mirror, _origin, warnings) = check(|seen, image| image.serve(seen), "mb ");
    assert_eq!(mirror.seen()[0].target, "/v2/cache/team/app/manifests/1");
    assert!(warnings.is_empty());
}

#[test]
fn a_mirror_without_the_image_is_passed_over() {
    let (_, _, warnings) = check(|_, _| Answer::new(404, ""), "mb mb");
    assert!(
        warnings[0].contains("was passed over") && warnings[0].contains("not found"),
        "{warnings:?}"
    );
}

#[test]
fn a_failing_mirror_gets_two_tries() {
    check(|_, _| Answer::new(503, ""), "mmbb mb");
}

#[test]
fn a_mirror_may_lack_the_blob() {
    let lacking = |seen: &Seen, image: &Image| match seen.target.contains("blobs") {
        true => Answer::new(404, ""),
        false => image.serve(seen),
    };
    check(lacking, "mb b");
}

#[test]
fn a_mirror_that_stops_in_the_middle_is_left() {
    let cut = |seen: &Seen, image: &Image| match (seen.target.contains("blobs"), seen.offset()) {
        (true, 0) => image.serve(seen).end(End::Cut(50_000)),
        (true, _) => image.serve(seen).end(End::Cut(0)),
        _ => image.serve(seen),
    };
    check(cut, "mbb b");
}

#[test]
fn the_registry_has_the_last_word() {
    let image = Image::new(10);
    let origin = Server::new(|_| Answer::new(403, ""));
    let mirror = Server::new(|_| Answer::new(404, ""));
    let client = configured(&format!(
        "[[registry]]\nprefix = \"origin.test\"\nlocation = \"{}\"\n\
         [[registry.mirror]]\nlocation = \"{}\"\n",
        origin.host(),
        mirror.host()
    ));
    let reference = "origin.test/app:1".parse().unwrap();
    let error = client.resolve(&reference).unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
    let error = client
        .blob(&reference, &image.layer_descriptor)
        .unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
}

#[test]
fn a_mirror_with_other_bytes_is_passed_over() {
    let image = Image::new(10);
    let served = image.clone();
    let origin = Server::new(move |seen| served.serve(seen));
    let mirror = Server::new(|_| Answer::new(200, r#"{"schemaVersion":2,"manifests":[]}"#));
    let client = configured(&format!(
        "[[registry]]\nprefix = \"origin.test\"\nlocation = \"{}\"\n\
         [[registry.mirror]]\nlocation = \"{}\"\n",
        origin.host(),
        mirror.host()
    ));
    let digest = image.manifest_descriptor.digest;
    let reference = format!("origin.test/app@{digest}").parse().unwrap();
    assert_eq!(client.resolve(&reference).unwrap().bytes, image.manifest);
    assert_eq!(mirror.seen().len(), 1);
}

#[test]
fn blocked() {
    let server = Server::new(|_| Answer::new(200, ""));
    let client = configured(&format!(
        "[[registry]]\nlocation = \"{}\"\nblocked = true\n",
        server.host()
    ));
    let error = client.resolve(&server.reference("app:1")).unwrap_err();
    assert!(matches!(error, RegistryError::Blocked { .. }), "{error}");
    let image = Image::new(10);
    assert!(
        client
            .blob(&server.reference("app:1"), &image.layer_descriptor)
            .is_err()
    );
    assert!(server.seen().is_empty());
}
