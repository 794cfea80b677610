//! Manifests and indexes, good and bad.

use rbuild_image::digest::Digest;
use rbuild_image::manifest::{Descriptor, Document};
use rbuild_image::media::{DOCKER_INDEX, OCI_INDEX, OCI_MANIFEST};
use rbuild_registry::{RegistryError, Resolved};

use crate::image::Image;
use crate::server::{Answer, End, Server, client, shown};

fn serving(answer: Answer) -> Server {
    Server::new(move |_| answer.clone())
}

fn resolve(server: &Server, name: &str) -> Result<Resolved, RegistryError> {
    client().resolve(&server.reference(name))
}

/// Resolves a document that is served as `content_type`.
fn served(body: &str, content_type: &str) -> Result<Resolved, RegistryError> {
    let answer = Answer::new(200, body).header("Content-Type", content_type);
    resolve(&serving(answer), "app:1")
}

#[test]
fn by_tag_and_by_digest() {
    let image = Image::new(10);
    let served = image.clone();
    let server = Server::new(move |seen| served.serve(seen));
    let found = resolve(&server, "team/app:1").unwrap();
    assert_eq!(found.bytes, image.manifest);
    assert_eq!(found.descriptor, image.manifest_descriptor);
    assert!(matches!(found.document, Document::Manifest(_)));
    let digest = image.manifest_descriptor.digest;
    assert_eq!(
        resolve(&server, &format!("team/app:other@{digest}"))
            .unwrap()
            .bytes,
        image.manifest
    );
    assert_eq!(
        client()
            .manifest(&server.reference("team/app:1"), &digest)
            .unwrap(),
        image.manifest
    );
    let seen = server.seen();
    let targets: Vec<&str> = seen.iter().map(|seen| seen.target.as_str()).collect();
    let by_digest = format!("/v2/team/app/manifests/{digest}");
    assert_eq!(
        targets,
        ["/v2/team/app/manifests/1", &by_digest, &by_digest]
    );
    for part in [
        "oci.image.index",
        "oci.image.manifest",
        "manifest.list.v2",
        "manifest.v2+json",
    ] {
        assert!(seen[0].header("accept").unwrap().contains(part), "{part}");
    }
}

#[test]
fn without_a_tag_it_is_latest() {
    let server = serving(Answer::new(404, ""));
    let error = resolve(&server, "app").unwrap_err();
    assert_eq!(server.seen()[0].target, "/v2/app/manifests/latest");
    assert!(
        error.to_string().contains("/app:latest: not found"),
        "{error}"
    );
}

#[test]
fn peeking_takes_one_head() {
    let image = Image::new(10);
    let served = image.clone();
    let server = Server::new(move |seen| served.serve(seen));
    let found = client().peek(&server.reference("app:1")).unwrap();
    assert_eq!(found, Some(image.manifest_descriptor));
    assert_eq!(server.seen()[0].method, "HEAD");
    let silent = serving(Answer::new(200, "x"));
    assert_eq!(client().peek(&silent.reference("app:1")).unwrap(), None);
    let missing = serving(Answer::new(404, ""));
    assert!(
        client()
            .peek(&missing.reference("app:1"))
            .unwrap_err()
            .is_not_found()
    );
}

#[test]
fn docker_words() {
    let unknown = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"1"}}]}"#;
    let server = serving(Answer::new(404, unknown));
    let host = server.host();
    assert_eq!(
        resolve(&server, "team/app:1").unwrap_err().to_string(),
        format!(
            "{host}/team/app:1: not found (registry {host}, repository team/app, no credentials: \
             MANIFEST_UNKNOWN: manifest unknown)"
        )
    );
    let denied =
        r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#;
    let server = serving(Answer::new(403, denied));
    let host = server.host();
    assert_eq!(
        resolve(&server, "team/app:1").unwrap_err().to_string(),
        format!(
            "pull access denied for {host}/team/app, repository does not exist or may require \
             authorization (registry {host}, repository team/app, no credentials: DENIED: requested \
             access to the resource is denied)"
        )
    );
}

#[test]
fn pages_and_control_characters_in_errors() {
    let page = "<!DOCTYPE html><html><body>\u{1b}[31mGo\r\naway\u{202e}</body></html>";
    let error = resolve(&serving(Answer::new(403, page)), "app:1")
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("no credentials: [31mGo away)"), "{error:?}");
    let long = "x".repeat(100_000);
    let error = resolve(&serving(Answer::new(400, long)), "app:1")
        .unwrap_err()
        .to_string();
    assert!(error.len() < 500, "{}", error.len());
    let endless = Answer::new(400, "y".repeat(1000)).end(End::Never);
    assert!(
        resolve(&serving(endless), "app:1")
            .unwrap_err()
            .to_string()
            .len()
            < 500
    );
}

#[test]
fn a_broken_body_is_read_again() {
    let image = Image::new(10);
    let served = image.clone();
    let server = Server::new(move |seen| match seen.nth {
        0 => served.serve(seen).end(End::Cut(20)),
        1 => served.serve(seen).end(End::Reset(30)),
        _ => served.serve(seen),
    });
    assert_eq!(resolve(&server, "app:1").unwrap().bytes, image.manifest);
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn other_bytes_than_asked_for() {
    let image = Image::new(10);
    let wanted = Digest::of(b"something else");
    let answer = Answer::new(200, image.manifest.clone()).header("Content-Type", OCI_MANIFEST);
    let error = resolve(&serving(answer.clone()), &format!("app@{wanted}")).unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { expected, .. } if expected == wanted));
    let lying = answer.header("Docker-Content-Digest", &wanted.to_string());
    let error = resolve(&serving(lying), "app:1").unwrap_err();
    assert!(
        matches!(error, RegistryError::DigestMismatch { .. }),
        "{error}"
    );
}

#[test]
fn schema_1_is_refused_in_words() {
    let body = r#"{"schemaVersion":1,"name":"app","tag":"1","architecture":"amd64","fsLayers":[],"history":[]}"#;
    for content_type in [
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.docker.distribution.manifest.v1+json; charset=utf-8",
        "application/json",
    ] {
        let error = served(body, content_type).unwrap_err();
        assert!(
            error.to_string().contains("schema 1 manifest"),
            "{content_type}: {error}"
        );
    }
}

#[test]
fn documents_that_can_be_read_in_two_ways() {
    let image = Image::new(10);
    let manifest = String::from_utf8(image.manifest).unwrap();
    let both = manifest.replace(r#""layers":"#, r#""manifests":[],"layers":"#);
    for content_type in [OCI_MANIFEST, OCI_INDEX, "application/json"] {
        let error = shown(&served(&both, content_type).unwrap_err());
        assert!(error.contains("ambiguous"), "{content_type}: {error}");
    }
    for content_type in [
        OCI_INDEX,
        DOCKER_INDEX,
        "application/vnd.docker.distribution.manifest.v2+json",
    ] {
        let error = shown(&served(&manifest, content_type).unwrap_err());
        assert!(error.contains("ambiguous"), "{content_type}: {error}");
    }
    served(&manifest, "text/plain").unwrap();
}

#[test]
fn what_is_no_manifest() {
    for body in [
        "<html>hotel wifi, please log in</html>",
        "",
        "[]",
        "{\"schemaVersion\":2}",
    ] {
        let error = served(body, "text/html").unwrap_err();
        assert!(
            matches!(error, RegistryError::Manifest { .. }),
            "{body}: {error}"
        );
        assert!(error.to_string().contains("/app:1: 127.0.0.1:"), "{error}");
    }
}

#[test]
fn size_is_limited() {
    let endless = Answer::new(200, " ".repeat(100_000)).end(End::Never);
    let error = resolve(&serving(endless), "app:1").unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
}

#[test]
fn children_must_fit_their_entry() {
    let image = Image::new(10);
    let served = image.clone();
    let server = Server::new(move |seen| served.serve(seen));
    let reference = server.reference("app:1");
    let mut entry = image.manifest_descriptor.clone();
    entry.annotations.insert("a".into(), "b".into());
    let child = client().child(&reference, &entry).unwrap();
    assert_eq!(
        (child.bytes, child.descriptor),
        (image.manifest, entry.clone())
    );
    let short = Descriptor {
        size: entry.size - 1,
        ..entry.clone()
    };
    let error = client().child(&reference, &short).unwrap_err();
    assert!(
        matches!(error, RegistryError::SizeMismatch { .. }),
        "{error}"
    );
    let other = Descriptor {
        media_type: OCI_INDEX.into(),
        ..entry
    };
    let error = client().child(&reference, &other).unwrap_err();
    assert!(matches!(error, RegistryError::Manifest { .. }), "{error}");
}

#[test]
fn warnings_of_the_registry_are_kept_once() {
    let image = Image::new(10);
    let server = Server::new(move |seen| {
        image
            .serve(seen)
            .header("Warning", "299 - \"going \\\"away\\\" soon\"")
    });
    let client = client();
    for _ in 0..2 {
        client.resolve(&server.reference("app:1")).unwrap();
    }
    assert_eq!(client.take_warnings(), ["registry: going \"away\" soon"]);
    assert!(client.take_warnings().is_empty());
}

#[test]
fn nobody_there() {
    // A port that is taken, so that nobody else comes to listen there.
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    let any = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0);
    rustix::net::bind(&socket, &any).unwrap();
    let free = rustix::net::getsockname(&socket).unwrap();
    let free = std::net::SocketAddrV4::try_from(free).unwrap();
    let reference = format!("{free}/app:1").parse().unwrap();
    let error = client().resolve(&reference).unwrap_err();
    let text = shown(&error);
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{text}");
    assert!(
        text.contains(&free.to_string()) && text.contains("refused"),
        "{text}"
    );
}
