//! Blobs that come late, broken, too long, or wrong.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rbuild_image::manifest::Descriptor;
use rbuild_registry::{BlobReader, RegistryError};

use crate::image::{Image, noise};
use crate::server::{Answer, End, Seen, Server, client, shown};

const SIZE: usize = 1 << 20;

/// Serves an image whose layer requests `fault` may answer.
fn faulty(
    fault: impl Fn(&Seen, &Image) -> Option<Answer> + Send + Sync + 'static,
) -> (Server, Image) {
    let image = Image::new(SIZE);
    let served = image.clone();
    let server = Server::new(move |seen| {
        let is_layer = seen
            .target
            .contains(&served.layer_descriptor.digest.to_string());
        let fault = if is_layer { fault(seen, &served) } else { None };
        fault.unwrap_or_else(|| served.serve(seen))
    });
    (server, image)
}

fn open(server: &Server, descriptor: &Descriptor) -> Result<BlobReader, RegistryError> {
    client().blob(&server.reference("app:1"), descriptor)
}

/// Fetches the layer: its bytes, and how the reading ended.
fn fetch(server: &Server, descriptor: &Descriptor) -> (Vec<u8>, Result<(), RegistryError>) {
    let mut bytes = Vec::new();
    let outcome = open(server, descriptor).and_then(|mut reader| {
        let read = reader.read_to_end(&mut bytes);
        assert_eq!(reader.is_verified(), read.is_ok());
        read.map(|_| ())
            .map_err(|error| RegistryError::from_io(error).unwrap())
    });
    (bytes, outcome)
}

/// The fault must be got over; returns the requests for the layer.
fn check_good(
    fault: impl Fn(&Seen, &Image) -> Option<Answer> + Send + Sync + 'static,
) -> Vec<Seen> {
    let (server, image) = faulty(fault);
    let (bytes, outcome) = fetch(&server, &image.layer_descriptor);
    outcome.unwrap();
    assert_eq!(bytes, image.layer);
    server.seen()
}

/// The fault must be reported; returns the error and what was read before.
fn check_bad(
    fault: impl Fn(&Seen, &Image) -> Option<Answer> + Send + Sync + 'static,
) -> (RegistryError, Vec<u8>, Vec<Seen>) {
    let (server, image) = faulty(fault);
    let (bytes, outcome) = fetch(&server, &image.layer_descriptor);
    let error = outcome.unwrap_err();
    let digest = image.layer_descriptor.digest.to_string();
    assert!(error.to_string().contains(&digest), "{error}");
    (error, bytes, server.seen())
}

#[test]
fn a_good_one() {
    let seen = check_good(|_, _| None);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("range"), None);
    assert_eq!(seen[0].header("accept-encoding"), Some("identity"));
    assert_eq!(seen[0].header("authorization"), None);
}

#[test]
fn server_errors_are_tried_again() {
    for status in [408, 429, 500, 502, 503, 504, 522] {
        let seen = check_good(move |seen, _| (seen.nth < 2).then(|| Answer::new(status, "")));
        assert_eq!(seen.len(), 3, "{status}");
    }
}

#[test]
fn server_errors_for_ever_are_given_up() {
    let (error, _, seen) = check_bad(|_, _| Some(Answer::new(500, "<html><b>sorry</b></html>")));
    assert!(
        matches!(error, RegistryError::Status { status: 500, .. }),
        "{error}"
    );
    assert!(
        error.to_string().ends_with("no credentials: sorry)"),
        "{error}"
    );
    assert_eq!(seen.len(), 5);
}

#[test]
fn other_errors_are_not_tried_again() {
    for status in [400, 404, 410, 501] {
        let (_, _, seen) = check_bad(move |_, _| Some(Answer::new(status, "")));
        assert_eq!(seen.len(), 1, "{status}");
    }
}

#[test]
fn a_missing_one_is_named() {
    let (error, _, _) =
        check_bad(|_, _| Some(Answer::new(404, r#"{"errors":[{"code":"BLOB_UNKNOWN"}]}"#)));
    assert!(error.is_not_found());
    let text = error.to_string();
    assert!(text.contains(": not found (registry 127.0.0.1:"), "{text}");
    assert!(
        text.ends_with("repository app, no credentials: BLOB_UNKNOWN)"),
        "{text}"
    );
}

#[test]
fn a_wish_to_wait_is_granted_within_reason() {
    let wish = |seconds: &'static str| {
        move |seen: &Seen, _: &Image| {
            let answer = Answer::new(429, "").header("Retry-After", seconds);
            (seen.nth < 1 || seconds == "3600").then(|| {
                answer
                    .header("ratelimit-limit", "100;w=21600")
                    .header("docker-ratelimit-source", "1.2.3.4")
            })
        }
    };
    assert_eq!(check_good(wish("1")).len(), 2);
    let (error, _, seen) = check_bad(wish("3600"));
    assert_eq!(seen.len(), 1);
    let text = error.to_string();
    for part in [
        "toomanyrequests",
        "3600 s",
        "ratelimit-limit: 100;w=21600",
        "1.2.3.4",
        "log in",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_cut_body_is_resumed() {
    let seen = check_good(|seen, image| {
        (seen.nth == 0).then(|| Answer::part(seen, &image.layer).end(End::Cut(300_000)))
    });
    let ranges: Vec<_> = seen.iter().map(|seen| seen.header("range")).collect();
    assert_eq!(ranges, [None, Some("bytes=300000-")]);
}

#[test]
fn a_reset_is_resumed() {
    let seen = check_good(|seen, image| {
        (seen.nth == 0).then(|| Answer::part(seen, &image.layer).end(End::Reset(300_000)))
    });
    assert_eq!(seen.len(), 2);
    assert!(seen[1].offset() <= 300_000);
}

#[test]
fn a_silent_server_is_asked_again() {
    let (server, image) = faulty(|seen, image| {
        (seen.nth == 0).then(|| Answer::part(seen, &image.layer).end(End::Stall(300_000)))
    });
    let mut settings = crate::server::settings();
    settings.limits.idle_timeout = std::time::Duration::from_secs(1);
    let mut bytes = Vec::new();
    rbuild_registry::Client::new(settings)
        .unwrap()
        .blob(&server.reference("app:1"), &image.layer_descriptor)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    assert_eq!(bytes, image.layer);
    // A loaded machine may be silent now and then by itself.
    assert!(server.seen().len() >= 2);
}

#[test]
fn a_cut_at_every_64_kib_is_resumed() {
    let seen = check_good(|seen, image| {
        let left = image.layer.len() - seen.offset();
        (left > 65536).then(|| Answer::part(seen, &image.layer).end(End::Cut(65536)))
    });
    assert_eq!(seen.len(), 16);
}

#[test]
fn a_server_without_ranges_is_read_from_the_start() {
    let seen = check_good(|seen, image| {
        let answer = Answer::new(200, image.layer.clone());
        Some(if seen.nth == 0 {
            answer.end(End::Cut(500_000))
        } else {
            answer
        })
    });
    assert_eq!(seen.len(), 2);
}

#[test]
fn no_progress_is_given_up() {
    let (error, bytes, seen) = check_bad(|seen, image| {
        Some(Answer::part(seen, &image.layer).end(End::Cut(if seen.nth == 0 { 1000 } else { 0 })))
    });
    assert!(
        matches!(error, RegistryError::Interrupted { received: 1000, .. }),
        "{error}"
    );
    assert_eq!(bytes.len(), 1000);
    assert_eq!(seen.len(), 6);
}

#[test]
fn wrong_parts_are_refused() {
    let part = |range: &'static str| {
        move |seen: &Seen, image: &Image| {
            Some(if seen.offset() == 0 {
                Answer::part(seen, &image.layer).end(End::Cut(1000))
            } else {
                Answer::new(206, image.layer[500..].to_vec()).header("Content-Range", range)
            })
        }
    };
    let (error, ..) = check_bad(part("bytes 500-1048575/1048576"));
    assert!(
        matches!(error, RegistryError::Interrupted { .. }),
        "{error}"
    );
    let (error, ..) = check_bad(part("bytes 1000-2000000/2000001"));
    assert!(
        matches!(
            error,
            RegistryError::SizeMismatch {
                found: 2_000_001,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn the_end_of_a_short_blob_is_a_wrong_size() {
    let (error, ..) = check_bad(|seen, image| {
        Some(if seen.offset() == 0 {
            Answer::new(200, image.layer.clone()).end(End::Cut(1000))
        } else {
            Answer::new(416, "").header("Content-Range", "bytes */1000")
        })
    });
    assert!(
        matches!(error, RegistryError::SizeMismatch { found: 1000, .. }),
        "{error}"
    );
}

#[test]
fn a_wrong_digest_is_refused_before_the_last_byte() {
    let (error, bytes, seen) = check_bad(|_, image| {
        let mut wrong = image.layer.clone();
        wrong[7] ^= 1;
        Some(Answer::new(200, wrong))
    });
    assert!(
        matches!(error, RegistryError::DigestMismatch { .. }),
        "{error}"
    );
    assert!(bytes.len() < SIZE);
    assert_eq!(seen.len(), 1);
}

#[test]
fn an_encoded_wrong_digest_says_so() {
    let (error, ..) = check_bad(|_, image| {
        Some(Answer::new(200, vec![0; image.layer.len()]).header("Content-Encoding", "gzip"))
    });
    assert!(
        error.to_string().contains("encoded it on the way"),
        "{error}"
    );
}

#[test]
fn announced_sizes_are_compared_before_reading() {
    for length in ["1048577", "1048575", "11000000000"] {
        let (error, bytes, _) = check_bad(move |_, image| {
            Some(
                Answer::new(200, image.layer.clone())
                    .header("Content-Length", length)
                    .end(End::Cut(0)),
            )
        });
        assert!(
            matches!(error, RegistryError::SizeMismatch { .. }),
            "{error}"
        );
        assert!(bytes.is_empty());
    }
}

#[test]
fn an_endless_body_is_not_read_beyond_the_size() {
    let (error, bytes, _) = check_bad(|_, _| Some(Answer::new(200, noise(70_000)).end(End::Never)));
    assert!(
        matches!(error, RegistryError::SizeMismatch { .. }),
        "{error}"
    );
    assert!(bytes.len() < SIZE);
    let (error, bytes, _) =
        check_bad(|_, image| Some(Answer::new(200, image.layer.clone()).end(End::Never)));
    assert!(
        matches!(error, RegistryError::SizeMismatch { .. }),
        "{error}"
    );
    assert!(bytes.len() < SIZE);
}

#[test]
fn a_body_may_end_with_the_connection() {
    let seen = check_good(|_, image| Some(Answer::new(200, image.layer.clone()).end(End::Closed)));
    assert_eq!(seen.len(), 1);
    check_bad(|_, image| {
        let mut longer = image.layer.clone();
        longer.push(0);
        Some(Answer::new(200, longer).end(End::Closed))
    });
}

#[test]
fn an_empty_blob_needs_no_request() {
    let server = Server::new(|_| Answer::new(500, ""));
    let (bytes, outcome) = fetch(&server, &Descriptor::of("x", b""));
    outcome.unwrap();
    assert!(bytes.is_empty() && server.seen().is_empty());
    let mut wrong = Descriptor::of("x", b"y");
    wrong.size = 0;
    let error = open(&server, &wrong).unwrap_err();
    assert!(
        matches!(error, RegistryError::DigestMismatch { .. }),
        "{error}"
    );
}

#[test]
fn an_earlier_download_is_continued() {
    let (server, image) = faulty(|_, _| None);
    let reference = server.reference("app:1");
    let client = client();
    let resume =
        |have: &[u8]| client.resume_blob(&reference, &image.layer_descriptor, &mut &have[..]);
    let mut rest = Vec::new();
    resume(&image.layer[..700_000])
        .unwrap()
        .read_to_end(&mut rest)
        .unwrap();
    assert_eq!(rest, &image.layer[700_000..]);
    assert_eq!(server.seen()[0].offset(), 700_000);
    assert!(resume(&image.layer).unwrap().is_verified());
    assert_eq!(server.seen().len(), 1);
    let mut wrong = image.layer.clone();
    wrong[0] ^= 1;
    assert!(matches!(
        resume(&wrong),
        Err(RegistryError::DigestMismatch { .. })
    ));
    let wrong_start = resume(&wrong[..1000])
        .unwrap()
        .read_to_end(&mut rest)
        .unwrap_err();
    assert!(matches!(
        RegistryError::from_io(wrong_start),
        Ok(RegistryError::DigestMismatch { .. })
    ));
    wrong.push(0);
    assert!(matches!(
        resume(&wrong),
        Err(RegistryError::SizeMismatch { .. })
    ));
}

#[test]
fn configs_are_bounded() {
    let (server, image) = faulty(|_, _| None);
    let reference = server.reference("app:1");
    let config = client()
        .config(&reference, &image.config_descriptor)
        .unwrap();
    assert_eq!(config, image.config);
    let mut huge = image.config_descriptor;
    huge.size = 1 << 40;
    let error = client().config(&reference, &huge).unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn foreign_layers_come_without_credentials() {
    let image = Image::new(1000);
    let layer = image.layer.clone();
    let elsewhere = Server::new(move |seen| Answer::part(seen, &layer));
    let server = Server::new(|seen| match seen.header("authorization") {
        None => Answer::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\""),
        Some(_) => Answer::new(404, ""),
    });
    let mut settings = crate::server::settings();
    let login = rbuild_registry::Login::Basic {
        user: "me".into(),
        password: rbuild_registry::Secret::new("hunter2"),
    };
    settings.logins.insert(server.host(), login);
    let client = rbuild_registry::Client::new(settings).unwrap();
    let mut descriptor = image.layer_descriptor.clone();
    let error = client
        .blob(&server.reference("app:1"), &descriptor)
        .unwrap_err();
    assert!(error.is_not_found(), "{error}");
    descriptor.urls = vec![elsewhere.url("/layer")];
    let mut bytes = Vec::new();
    client
        .blob(&server.reference("app:1"), &descriptor)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    assert_eq!(bytes, image.layer);
    assert_eq!(elsewhere.seen().len(), 1);
    assert_eq!(elsewhere.seen()[0].header("authorization"), None);
    assert!(
        server
            .seen()
            .iter()
            .any(|seen| seen.header("authorization").is_some())
    );
}

#[test]
fn cancelling_ends_a_wait() {
    let n_asked = Arc::new(AtomicUsize::new(0));
    let client = client();
    let canceller = client.clone();
    let counter = Arc::clone(&n_asked);
    let (server, image) = faulty(move |_, _| {
        counter.fetch_add(1, Ordering::SeqCst);
        canceller.cancel();
        Some(Answer::new(429, "").header("Retry-After", "60"))
    });
    let error = client
        .blob(&server.reference("app:1"), &image.layer_descriptor)
        .unwrap_err();
    let text = shown(&error);
    assert!(
        matches!(
            error,
            RegistryError::Cancelled { .. } | RegistryError::Unreachable { .. }
        ),
        "{text}"
    );
    assert_eq!(n_asked.load(Ordering::SeqCst), 1);
}
