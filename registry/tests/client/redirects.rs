//! Redirects: where they may lead, and what goes along.

use std::io::Read as _;

use rbuild_registry::{Client, Login, RegistryError, Secret};

use crate::image::Image;
use crate::server::{Answer, Server, client, settings, shown};

/// A registry that redirects its layers to `location`, with one image.
fn redirecting(location: impl Fn(&str) -> String + Send + Sync + 'static) -> (Server, Image) {
    let image = Image::new(5000);
    let served = image.clone();
    let server = Server::new(move |seen| {
        if seen
            .target
            .contains(&served.layer_descriptor.digest.to_string())
        {
            return Answer::redirect(&location(seen.header("host").unwrap()));
        }
        served.serve(seen)
    });
    (server, image)
}

fn fetch(server: &Server, image: &Image) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    client()
        .blob(&server.reference("app:1"), &image.layer_descriptor)?
        .read_to_end(&mut bytes)
        .map_err(|error| RegistryError::from_io(error).unwrap())?;
    Ok(bytes)
}

#[test]
fn credentials_stay_at_home() {
    for scheme in ["Basic", "Bearer"] {
        let image = Image::new(5000);
        let layer = image.layer.clone();
        let cdn = Server::new(move |seen| Answer::part(seen, &layer));
        let target = cdn.url("/layer?signature=abc");
        let served = image.clone();
        let server = Server::new(move |seen| {
            let host = seen.header("host").unwrap();
            if seen.target.starts_with("/token") {
                return Answer::new(200, r#"{"token":"t0k3n"}"#);
            }
            match seen.header("authorization") {
                None if scheme == "Basic" => {
                    Answer::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\"")
                }
                None => Answer::new(401, "").header(
                    "WWW-Authenticate",
                    &format!("Bearer realm=\"http://{host}/token\",service=\"s\""),
                ),
                Some(_) if seen.target.contains("/blobs/") => Answer::redirect(&target),
                Some(_) => served.serve(seen),
            }
        });
        let mut settings = settings();
        let login = Login::Basic {
            user: "me".into(),
            password: Secret::new("hunter2"),
        };
        settings.logins.insert(server.host(), login);
        let client = Client::new(settings).unwrap();
        let mut bytes = Vec::new();
        client
            .blob(&server.reference("app:1"), &image.layer_descriptor)
            .unwrap()
            .read_to_end(&mut bytes)
            .unwrap();
        assert_eq!(bytes, image.layer);
        let sent = |server: &Server| {
            let seen = server.seen();
            seen.iter()
                .filter(|seen| seen.header("authorization").is_some())
                .count()
        };
        assert!(sent(&server) > 0, "{scheme}");
        assert_eq!(cdn.seen().len(), 1, "{scheme}");
        assert_eq!(sent(&cdn), 0, "{scheme}");
    }
}

#[test]
fn a_resume_goes_back_to_the_registry() {
    let image = Image::new(200_000);
    let layer = image.layer.clone();
    let cdn = Server::new(move |seen| {
        let answer = Answer::part(seen, &layer);
        match seen.offset() {
            0 => answer.end(crate::server::End::Cut(1000)),
            _ => answer,
        }
    });
    let target = cdn.url("/layer?signature=");
    let served = image.clone();
    let server = Server::new(move |seen| match seen.target.contains("/blobs/") {
        true => Answer::redirect(&format!("{target}{}", seen.nth)),
        false => served.serve(seen),
    });
    assert_eq!(fetch(&server, &image).unwrap(), image.layer);
    assert_eq!(server.seen().len(), 2);
    let targets: Vec<String> = cdn.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/layer?signature=0", "/layer?signature=1"]);
    assert_eq!(cdn.seen()[1].offset(), 1000);
}

#[test]
fn relative_ones_are_followed() {
    let image = Image::new(5000);
    let served = image.clone();
    let server = Server::new(move |seen| match seen.target.as_str() {
        "/v2/app/elsewhere?x=1" => Answer::part(seen, &served.layer),
        _ => Answer::redirect("../elsewhere?x=1"),
    });
    assert_eq!(fetch(&server, &image).unwrap(), image.layer);
}

#[test]
fn other_schemes_and_broken_ones_are_refused() {
    for location in [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "gopher://127.0.0.1/x",
        "data:text/plain,hello",
        "unix:///var/run/docker.sock",
        "//",
        "http://",
        "http://me:hunter2@127.0.0.1/",
        "http://169.254.169.254/latest/meta-data/iam",
        "http://[fe80::1]/",
        "http://2852039166/",
    ] {
        let (server, image) = redirecting(|_| location.to_owned());
        let error = fetch(&server, &image).unwrap_err();
        assert!(
            matches!(error, RegistryError::Redirect { .. }),
            "{location}: {error}"
        );
        assert_eq!(server.seen().len(), 1, "{location}");
    }
}

#[test]
fn a_signature_is_not_shown() {
    let (server, image) = redirecting(|_| "ftp://cdn/x?signature=hunter2".to_owned());
    let text = shown(&fetch(&server, &image).unwrap_err());
    assert!(
        text.contains("ftp://cdn/x") && !text.contains("hunter2"),
        "{text}"
    );
}

#[test]
fn a_loop_is_left() {
    let (server, image) = redirecting(|host| format!("http://{host}/v2/app/blobs/again"));
    let looping = Server::new(|seen| Answer::redirect(&seen.target));
    let error = fetch(&looping, &image).unwrap_err();
    assert!(
        error.to_string().contains("more than 10 redirects"),
        "{error}"
    );
    assert_eq!(looping.seen().len(), 11);
    assert!(fetch(&server, &image).unwrap_err().is_not_found());
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn an_error_of_the_other_server_is_told_apart() {
    let cdn = Server::new(|_| {
        Answer::new(403, "<Error><Code>AccessDenied</Code></Error>")
            .header("WWW-Authenticate", "Basic realm=\"give me\"")
    });
    let target = cdn.url("/x");
    let (server, image) = redirecting(move |_| target.clone());
    let text = fetch(&server, &image).unwrap_err().to_string();
    assert!(
        text.contains(&format!("http://{} answered: AccessDenied", cdn.host())),
        "{text}"
    );
    let cdn = Server::new(|_| Answer::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\""));
    let target = cdn.url("/x");
    let (server, image) = redirecting(move |_| target.clone());
    let error = fetch(&server, &image).unwrap_err();
    assert!(
        matches!(error, RegistryError::Status { status: 401, .. }),
        "{error}"
    );
    assert_eq!(cdn.seen().len(), 1);
}
