//! Pushing to servers that misbehave.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rbuild_image::manifest::Descriptor;
use rbuild_image::media::OCI_MANIFEST;
use rbuild_registry::{
    Client, Login, Placed, PushEvent, PushOptions, RegistryError, Secret, Settings,
};

use crate::fake::{Fake, Memory, image, json};
use crate::image::noise;
use crate::server::{Answer, Gate, Seen, Server, client, settings, shown};

const LAYER: usize = 300_000;

/// A registry where `fault` answers first.
fn faulty(fault: impl Fn(&Seen) -> Option<Answer> + Send + Sync + 'static) -> (Server, Fake) {
    let fake = Fake::default();
    let inner = fake.clone();
    let server = Server::new(move |seen| fault(seen).unwrap_or_else(|| inner.serve(seen)));
    (server, fake)
}

/// `fault` for the first `n` requests that `is` names.
fn first(
    n: usize,
    is: impl Fn(&Seen) -> bool + Send + Sync,
    fault: impl Fn(&Seen) -> Answer + Send + Sync,
) -> impl Fn(&Seen) -> Option<Answer> + Send + Sync {
    let count = AtomicUsize::new(0);
    move |seen| (is(seen) && count.fetch_add(1, Ordering::SeqCst) < n).then(|| fault(seen))
}

fn push_by(
    client: &Client,
    server: &Server,
    content: &Memory,
    root: &Descriptor,
) -> Result<Vec<Placed>, RegistryError> {
    let placed = Mutex::new(Vec::new());
    client.push(
        content,
        root,
        &server.reference("team/app:1"),
        &PushOptions::default(),
        &|event| {
            if let PushEvent::Placed(_, how) = event {
                placed.lock().unwrap().push(how.clone());
            }
        },
    )?;
    Ok(placed.into_inner().unwrap())
}

fn push(
    server: &Server,
    content: &Memory,
    root: &Descriptor,
) -> Result<Vec<Placed>, RegistryError> {
    push_by(&client(), server, content, root)
}

/// Everything behind the manifest is there, and the tag names its very bytes.
#[track_caller]
fn check_whole(fake: &Fake, content: &Memory, root: &Descriptor) {
    let kept = fake.kept();
    let key = |name: &str| ("team/app".to_owned(), name.to_owned());
    let (kind, bytes) = &kept.manifests[&key("1")];
    assert_eq!(kind, &root.media_type);
    assert_eq!(bytes, &content.bytes[&root.digest]);
    for (digest, bytes) in &content.bytes {
        let name = key(&digest.to_string());
        let there = kept.blobs.get(&name);
        let there = there.or_else(|| kept.manifests.get(&name).map(|(_, bytes)| bytes));
        assert_eq!(there, Some(bytes), "{digest}");
    }
}

fn count(server: &Server, method: &str, part: &str) -> usize {
    let seen = server.seen().into_iter();
    seen.filter(|seen| seen.method == method && seen.target.contains(part))
        .count()
}

fn is_upload(seen: &Seen, method: &str) -> bool {
    seen.method == method && seen.target.contains("/blobs/uploads/")
}

#[test]
fn an_image_and_again() {
    let (server, fake) = faulty(|_| None);
    let (content, root) = image(LAYER);
    let placed = push(&server, &content, &root).unwrap();
    assert_eq!(placed, [Placed::Uploaded, Placed::Uploaded]);
    check_whole(&fake, &content, &root);
    let seen = server.seen();
    let order = |method: &str, part: &str| {
        let is = |seen: &Seen| seen.method == method && seen.target.contains(part);
        seen.iter().rposition(is).unwrap()
    };
    assert!(order("PUT", "/blobs/") < order("PUT", "/manifests/1"));
    assert_eq!(count(&server, "PUT", "/manifests/"), 1);
    assert_eq!(count(&server, "PATCH", ""), 0);
    // The second time one question is enough.
    let placed = push(&server, &content, &root).unwrap();
    assert_eq!(placed, [Placed::Exists, Placed::Exists]);
    let more = &server.seen()[seen.len()..];
    assert!(more.iter().all(|seen| seen.method == "HEAD"), "{more:?}");
    // Under another name the blobs are there, and only the manifest is sent.
    let name = server.reference("team/app:2");
    let n_before = server.seen().len();
    let nothing = |_: PushEvent<'_>| {};
    client()
        .push(&content, &root, &name, &PushOptions::default(), &nothing)
        .unwrap();
    let more = server.seen()[n_before..].to_vec();
    let sent: Vec<_> = more.iter().filter(|seen| seen.method != "HEAD").collect();
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(sent[0].target.ends_with("/manifests/2"));
}

#[test]
fn an_index_comes_after_its_children() {
    let (server, fake) = faulty(|_| None);
    let mut content = Memory::default();
    let one = content.add_image(b"the same layer", "");
    let foreign = r#","annotations":{"a":"b"}"#;
    let two = content.add_image(b"the same layer", foreign);
    let inner = content.add_index(&[two]);
    let root = content.add_index(&[one, inner]);
    push(&server, &content, &root).unwrap();
    check_whole(&fake, &content, &root);
    let puts: Vec<String> = server
        .seen()
        .into_iter()
        .filter(|seen| seen.method == "PUT" && seen.target.contains("/manifests/"))
        .map(|seen| seen.target)
        .collect();
    assert_eq!(puts.len(), 4);
    assert!(puts[3].ends_with("/manifests/1"), "{puts:?}");
    assert_eq!(
        count(&server, "POST", "/uploads/"),
        2,
        "one layer, one config"
    );
}

#[test]
fn children_that_are_there_are_passed_over() {
    let (server, fake) = faulty(|_| None);
    let mut content = Memory::default();
    let one = content.add_image(b"one", "");
    push(&server, &content, &one).unwrap();
    let two = content.add_image(b"two", "");
    let root = content.add_index(&[one.clone(), two]);
    let before = server.seen().len();
    push(&server, &content, &root).unwrap();
    check_whole(&fake, &content, &root);
    let more = server.seen()[before..].to_vec();
    let mentions_one =
        |seen: &Seen| seen.method == "PUT" && seen.target.ends_with(&one.digest.to_string());
    assert!(!more.iter().any(mentions_one));
    let heads = more
        .iter()
        .filter(|seen| seen.method == "HEAD" && seen.target.contains("/blobs/"));
    assert_eq!(heads.count(), 2, "only those of the second image");
}

#[test]
fn foreign_layers_stay_where_they_are() {
    let (server, fake) = faulty(|_| None);
    let mut content = Memory::default();
    let foreign_type = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let mut foreign = Descriptor::of(foreign_type, b"foreign");
    foreign.urls = vec!["https://elsewhere.example/x".into()];
    let config = content.add("application/vnd.oci.image.config.v1+json", "{}");
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{},"layers":[{}]}}"#,
        json(&config),
        json(&foreign)
    );
    let root = content.add(OCI_MANIFEST, manifest);
    push(&server, &content, &root).unwrap();
    check_whole(&fake, &content, &root);
}

#[test]
fn a_blob_is_mounted_from_where_it_is() {
    let (server, fake) = faulty(|_| None);
    let (mut content, root) = image(LAYER);
    let other = server.reference("other/base:1");
    let nothing = |_: PushEvent<'_>| {};
    let options = PushOptions::default();
    client()
        .push(&content, &root, &other, &options, &nothing)
        .unwrap();
    let sent = count(&server, "PUT", "/blobs/");
    content.sources = vec!["elsewhere.example/other/base".parse().unwrap(), other];
    let placed = push(&server, &content, &root).unwrap();
    let mounted = Placed::Mounted("other/base".into());
    assert_eq!(placed, [mounted.clone(), mounted]);
    check_whole(&fake, &content, &root);
    assert_eq!(
        count(&server, "PUT", "/blobs/"),
        sent,
        "nothing was uploaded"
    );
}

#[test]
fn where_mounting_fails_the_blob_is_uploaded() {
    for (status, n_posts) in [(202, 2), (403, 4), (401, 4), (404, 4), (500, 4)] {
        let fake = Fake::default();
        let inner = fake.clone();
        let server = Server::new(move |seen| {
            let is_mount = seen.target.contains("mount=");
            if is_mount && status != 202 {
                return Answer::new(status, "");
            }
            inner.serve(seen)
        });
        let (mut content, root) = image(LAYER);
        content.sources = vec![server.reference("gone/base")];
        let mut settings = settings();
        settings.limits.attempts = 1;
        let client = Client::new(settings).unwrap();
        push_by(&client, &server, &content, &root).unwrap();
        check_whole(&fake, &content, &root);
        assert_eq!(count(&server, "POST", ""), n_posts, "{status}");
    }
}

fn client_of(login: Login, server: &Server, settings: Settings) -> Client {
    let mut settings = settings;
    settings.logins.insert(server.host(), login);
    Client::new(settings).unwrap()
}

fn me() -> Login {
    Login::Basic {
        user: "me".into(),
        password: Secret::new("hunter2-hunter2"),
    }
}

const BASIC: &str = "Basic bWU6aHVudGVyMi1odW50ZXIy";

/// Tokens open two requests each and die then, also in the middle of a push.
#[test]
fn tokens_that_die_on_the_way() {
    let fake = Fake::default();
    let inner = fake.clone();
    let uses = Mutex::new(std::collections::BTreeMap::<String, usize>::new());
    let server = Server::gated(
        move |seen| {
            let mut uses = uses.lock().unwrap();
            let host = seen.header("host").unwrap();
            if seen.target.starts_with("/token") {
                let token = format!("tok-{}", uses.len());
                uses.insert(token.clone(), 2);
                return Gate::Refuse(Answer::new(200, format!(r#"{{"token":"{token}"}}"#)));
            }
            let token = seen.header("authorization").unwrap_or_default();
            match uses.get_mut(token.trim_start_matches("Bearer ")) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    Gate::Open
                }
                _ => Gate::Refuse(Answer::new(401, "").header(
                    "WWW-Authenticate",
                    &format!("Bearer realm=\"http://{host}/token\",service=\"x\""),
                )),
            }
        },
        move |seen| inner.serve(seen),
    );
    let mut content = Memory::default();
    let layers: Vec<_> = (0..6)
        .map(|n| content.add_image(&noise(100_000 + n), ""))
        .collect();
    let root = content.add_index(&layers);
    content.sources = vec![server.reference("other/base")];
    let client = client_of(me(), &server, settings());
    push_by(&client, &server, &content, &root).unwrap();
    check_whole(&fake, &content, &root);
    let wanted =
        "scope=repository%3Aother%2Fbase%3Apull&scope=repository%3Ateam%2Fapp%3Apull%2Cpush";
    for seen in server.seen() {
        if seen.target.starts_with("/token") {
            assert!(seen.target.ends_with(wanted), "{}", seen.target);
            assert_eq!(seen.header("authorization"), Some(BASIC));
        } else if let Some(sent) = seen.header("authorization") {
            assert!(sent.starts_with("Bearer tok-"), "{sent}");
        }
    }
}

#[test]
fn refusals_are_final_and_say_who_was_refused() {
    for status in [401, 403] {
        let (server, _) = faulty(move |seen| match seen.header("authorization") {
            Some(BASIC) if seen.method != "HEAD" => {
                Some(Answer::new(status, "").header("WWW-Authenticate", "Basic realm=\"x\""))
            }
            Some(BASIC) => None,
            _ => Some(Answer::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\"")),
        });
        let (content, root) = image(1000);
        let client = client_of(me(), &server, settings());
        let error = push_by(&client, &server, &content, &root).unwrap_err();
        let text = shown(&error);
        assert!(matches!(error, RegistryError::Denied { .. }), "{text}");
        assert!(text.contains("push access denied for"), "{text}");
        assert!(
            text.contains("user me of") && !text.contains("hunter2"),
            "{text}"
        );
        assert!(count(&server, "POST", "") <= 4);
    }
}

/// One failure of each kind of request is survived.
#[test]
fn failures_that_pass() {
    for status in [429, 500, 502, 503, 504] {
        for (method, part) in [
            ("HEAD", "/manifests/"),
            ("HEAD", "/blobs/"),
            ("POST", "/uploads/"),
            ("PUT", "/uploads/"),
            ("PUT", "/manifests/"),
        ] {
            let is = move |seen: &Seen| seen.method == method && seen.target.contains(part);
            let answer = move |_: &Seen| Answer::new(status, "busy").header("Retry-After", "0");
            let (server, fake) = faulty(first(2, is, answer));
            let (content, root) = image(LAYER);
            push(&server, &content, &root)
                .unwrap_or_else(|error| panic!("{status} {method} {part}: {}", shown(&error)));
            check_whole(&fake, &content, &root);
        }
    }
}

#[test]
fn failures_that_stay() {
    let (server, fake) = faulty(|seen| {
        is_upload(seen, "PUT").then(|| Answer::new(500, r#"{"errors":[{"code":"UNKNOWN"}]}"#))
    });
    let (content, root) = image(1000);
    let error = push(&server, &content, &root).unwrap_err();
    assert!(
        matches!(error, RegistryError::Status { status: 500, .. }),
        "{error}"
    );
    assert!(fake.kept().manifests.is_empty());
    assert!(count(&server, "PUT", "") <= 2 * 10, "bounded");
}

#[test]
fn waiting_as_long_as_the_registry_asks() {
    let wait = |seconds: &'static str| {
        faulty(first(
            1,
            |seen| is_upload(seen, "POST"),
            move |_| Answer::new(429, "").header("Retry-After", seconds),
        ))
    };
    let (content, root) = image(1000);
    let (server, fake) = wait("1");
    let start = Instant::now();
    push(&server, &content, &root).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    check_whole(&fake, &content, &root);
    let (server, _) = wait("100000");
    let start = Instant::now();
    let error = push(&server, &content, &root).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(
        matches!(error, RegistryError::RateLimited { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("100000 s"), "{error}");
}

/// A registry that resets the first `n` uploads after `taken` bytes, which it may keep.
fn resetting(n: usize, keeps: bool) -> (Server, Fake) {
    let fake = Fake::default();
    let (inner, gate) = (fake.clone(), fake.clone());
    let left = AtomicUsize::new(n);
    let server = Server::gated(
        move |seen| {
            let is_big = is_upload(seen, "PUT")
                && seen
                    .header("content-length")
                    .is_some_and(|length| length.parse::<usize>().unwrap() > 100_000);
            let is_hit = is_big
                && left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                    .is_ok();
            if !is_hit {
                return Gate::Open;
            }
            if keeps {
                let start = seen
                    .header("content-range")
                    .map_or(0, |range| range.split('-').next().unwrap().parse().unwrap());
                gate.take_part(&seen.target, &noise(LAYER)[start..start + 50_000]);
            }
            Gate::Reset(50_000)
        },
        move |seen| inner.serve(seen),
    );
    (server, fake)
}

#[test]
fn what_broke_off_goes_on_where_it_was() {
    let (server, fake) = resetting(3, true);
    let (content, root) = image(LAYER);
    push(&server, &content, &root).unwrap();
    check_whole(&fake, &content, &root);
    assert_eq!(
        count(&server, "POST", "/uploads/"),
        2,
        "no upload was begun anew"
    );
    let ranges: Vec<String> = server
        .seen()
        .iter()
        .filter_map(|seen| seen.header("content-range").map(str::to_owned))
        .collect();
    assert_eq!(ranges[0], format!("50000-{}", LAYER - 1), "{ranges:?}");
}

#[test]
fn what_broke_off_begins_anew_where_nothing_was_kept() {
    for n in 1..=2 {
        let (server, fake) = resetting(n, false);
        let (content, root) = image(LAYER);
        push(&server, &content, &root).unwrap();
        check_whole(&fake, &content, &root);
        // After two of them the rest comes in chunks.
        assert_eq!(count(&server, "PATCH", "") > 0, n == 2);
    }
}

const BIG: usize = 9 << 20;

#[test]
fn too_large_at_once() {
    for status in [413, 416] {
        let fake = Fake::default();
        let inner = fake.clone();
        let server = Server::gated(
            move |seen| {
                let length = seen.header("content-length").unwrap_or("0");
                match length.parse::<usize>().unwrap() {
                    0..=0x40_0000 => Gate::Open,
                    _ => Gate::Refuse(Answer::new(status, "too large")),
                }
            },
            move |seen| inner.serve(seen),
        );
        let (content, root) = image(BIG);
        push(&server, &content, &root).unwrap();
        check_whole(&fake, &content, &root);
        assert_eq!(count(&server, "PATCH", ""), 3);
    }
}

#[test]
fn a_chunk_that_fails_is_sent_again_alone() {
    let fake = Fake::default();
    let inner = fake.clone();
    let hit = AtomicUsize::new(0);
    let server = Server::gated(
        move |seen| match seen.method.as_str() {
            "PUT" if seen.header("content-length") == Some(&BIG.to_string()) => {
                Gate::Refuse(Answer::new(413, ""))
            }
            "PATCH" if hit.fetch_add(1, Ordering::SeqCst) == 1 => Gate::Reset(1000),
            _ => Gate::Open,
        },
        move |seen| inner.serve(seen),
    );
    let (content, root) = image(BIG);
    push(&server, &content, &root).unwrap();
    check_whole(&fake, &content, &root);
    let ranges: Vec<String> = server
        .seen()
        .iter()
        .filter(|seen| seen.method == "PATCH")
        .map(|seen| seen.header("content-range").unwrap().to_owned())
        .collect();
    let (one, two) = ("0-4194303".to_owned(), "4194304-8388607".to_owned());
    assert_eq!(
        ranges,
        [one, two.clone(), two, format!("8388608-{}", BIG - 1)]
    );
}

#[test]
fn a_registry_that_takes_neither_way() {
    let (server, _) = faulty(|seen| match seen.method.as_str() {
        "PUT" if seen.bytes.len() > 100_000 => Some(Answer::new(413, "")),
        "PATCH" => Some(Answer::new(405, "")),
        _ => None,
    });
    let (content, root) = image(LAYER);
    let error = push(&server, &content, &root).unwrap_err();
    let text = shown(&error);
    assert!(
        text.contains("neither whole (status 413) nor in chunks (status 405)"),
        "{text}"
    );
}

#[test]
fn a_registry_that_loses_uploads() {
    let lost = |_: &Seen| Answer::new(404, r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#);
    let (server, fake) = faulty(first(1, |seen| is_upload(seen, "PUT"), lost));
    let (content, root) = image(1000);
    push(&server, &content, &root).unwrap();
    check_whole(&fake, &content, &root);
    let (server, _) = faulty(first(1000, |seen| is_upload(seen, "PUT"), lost));
    let error = push(&server, &content, &root).unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[test]
fn answers_that_contradict_what_was_sent() {
    let other = Descriptor::of("", b"something else").digest.to_string();
    let created = move |_: &Seen| Answer::new(201, "").header("Docker-Content-Digest", &other);
    for part in ["/uploads/", "/manifests/"] {
        let created = created.clone();
        let is = move |seen: &Seen| seen.method == "PUT" && seen.target.contains(part);
        let (server, _) = faulty(first(9, is, created));
        let (content, root) = image(1000);
        let error = push(&server, &content, &root).unwrap_err();
        let text = shown(&error);
        assert!(
            matches!(error, RegistryError::DigestMismatch { .. }),
            "{text}"
        );
        assert!(text.contains(", says 127.0.0.1"), "{text}");
    }
}

#[test]
fn answers_that_say_too_little() {
    let (content, root) = image(1000);
    let no_location = first(9, |seen| is_upload(seen, "POST"), |_| Answer::new(202, ""));
    let (server, _) = faulty(no_location);
    let error = push(&server, &content, &root).unwrap_err();
    assert!(
        error.to_string().contains("there is no Location"),
        "{error}"
    );
    for part in ["/uploads/", "/manifests/"] {
        let is = move |seen: &Seen| seen.method == "PUT" && seen.target.contains(part);
        let (server, _) = faulty(first(9, is, |_| Answer::new(202, "")));
        let error = push(&server, &content, &root).unwrap_err();
        assert!(error.to_string().contains("did not confirm"), "{error}");
    }
}

#[test]
fn a_refused_manifest() {
    let (server, _) = faulty(first(
        9,
        |seen| seen.method == "PUT" && seen.target.contains("/manifests/"),
        |_| {
            Answer::new(
                400,
                r#"{"errors":[{"code":"MANIFEST_INVALID","message":"no"}]}"#,
            )
        },
    ));
    let (content, root) = image(1000);
    let error = push(&server, &content, &root).unwrap_err();
    assert!(
        error.to_string().contains("MANIFEST_INVALID: no"),
        "{error}"
    );
    assert_eq!(count(&server, "PUT", "/manifests/"), 1, "not tried again");
}

/// Uploads that are led to another host arrive there without credentials.
#[test]
fn credentials_stay_at_home() {
    for way in ["location", "redirect of POST", "redirect of PUT"] {
        let fake = Fake::default();
        let inner = fake.clone();
        let other = Server::new(move |seen| inner.serve(seen));
        let (base, inner) = (other.url(""), fake.clone());
        let server = Server::new(move |seen| {
            if seen.header("authorization") != Some(BASIC) {
                return Answer::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\"");
            }
            let moved = format!("{base}{}", seen.target);
            if is_upload(seen, "POST") && way == "redirect of POST" {
                return Answer::new(307, "").header("Location", &moved);
            }
            if is_upload(seen, "PUT") && way == "redirect of PUT" {
                return Answer::new(308, "").header("Location", &moved);
            }
            if is_upload(seen, "POST") && way == "location" {
                let upload = format!("{base}/v2/team/app/blobs/uploads/u1?state=a%2Fb");
                // The session is opened for it.
                drop(inner.serve(seen));
                let n = seen.nth + 1;
                return Answer::new(202, "")
                    .header("Location", &upload.replace("u1", &format!("u{n}")));
            }
            inner.serve(seen)
        });
        let (content, root) = image(LAYER);
        let client = client_of(me(), &server, settings());
        push_by(&client, &server, &content, &root)
            .unwrap_or_else(|error| panic!("{way}: {}", shown(&error)));
        check_whole(&fake, &content, &root);
        assert!(!other.seen().is_empty(), "{way}");
        for seen in other.seen() {
            assert_eq!(seen.header("authorization"), None, "{way}: {}", seen.target);
        }
    }
}

#[test]
fn a_location_that_is_not_followed() {
    for (location, problem) in [
        ("http://169.254.169.254/u", "its address is link-local"),
        ("file:///etc/passwd", "not an http or https URL"),
        ("http://u:p@127.0.0.1/x", "it has a user name in it"),
    ] {
        let (server, _) = faulty(first(
            9,
            |seen| is_upload(seen, "POST"),
            move |_| Answer::new(202, "").header("Location", location),
        ));
        let (content, root) = image(1000);
        let error = push(&server, &content, &root).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(problem), "{text}");
    }
}

#[test]
fn what_is_damaged_here_does_not_go_out() {
    for (damage, expected) in [
        (noise(LAYER - 1), "bytes, expected"),
        ([noise(LAYER - 1), vec![0]].concat(), "content has digest"),
    ] {
        let (server, fake) = faulty(|_| None);
        let (mut content, root) = image(LAYER);
        let layer = Descriptor::of("", &noise(LAYER)).digest;
        content.bytes.insert(layer, damage);
        let error = push(&server, &content, &root).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        let key = ("team/app".to_owned(), layer.to_string());
        assert!(!fake.kept().blobs.contains_key(&key));
        assert!(fake.kept().manifests.is_empty());
        assert!(
            count(&server, "DELETE", "/uploads/") >= 1,
            "the upload is given up"
        );
    }
}

#[test]
fn a_blob_that_is_not_here() {
    let (server, _) = faulty(|_| None);
    let (mut content, root) = image(LAYER);
    content
        .bytes
        .remove(&Descriptor::of("", &noise(LAYER)).digest);
    let error = push(&server, &content, &root).unwrap_err();
    let text = shown(&error);
    assert!(matches!(error, RegistryError::Content { .. }), "{text}");
    assert!(text.contains("no such blob"), "{text}");
}

#[test]
fn answers_that_come_too_late() {
    for method in ["HEAD", "POST", "PUT"] {
        let late = |_: &Seen| {
            std::thread::sleep(Duration::from_secs(2));
            Answer::new(500, "")
        };
        let (server, fake) = faulty(first(1, move |seen| seen.method == method, late));
        let (content, root) = image(1000);
        let mut settings = settings();
        // Long enough for the answers of a machine that is busy.
        settings.limits.idle_timeout = Duration::from_secs(1);
        settings.limits.commit_timeout = Duration::from_secs(1);
        let client = Client::new(settings).unwrap();
        push_by(&client, &server, &content, &root)
            .unwrap_or_else(|error| panic!("{method}: {}", shown(&error)));
        check_whole(&fake, &content, &root);
    }
}

#[test]
fn referrers_of_registries_that_keep_no_account() {
    for knows_subjects in [false, true] {
        let mut fake = Fake::default();
        fake.knows_subjects = knows_subjects;
        let inner = fake.clone();
        let server = Server::new(move |seen| inner.serve(seen));
        let (mut content, subject) = image(1000);
        push(&server, &content, &subject).unwrap();
        for n in 1..=2 {
            let more = format!(
                r#","artifactType":"application/x","subject":{},"annotations":{{"n":"{n}"}}"#,
                json(&subject)
            );
            let root = content.add_image(b"a statement", &more);
            push(&server, &content, &root).unwrap();
            check_whole(&fake, &content, &root);
        }
        let tag = format!("sha256-{}", subject.digest.hex());
        let kept = fake.kept();
        let list = kept.manifests.get(&("team/app".to_owned(), tag));
        assert_eq!(list.is_none(), knows_subjects);
        if let Some((_, bytes)) = list {
            let index: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
            assert_eq!(index["manifests"][1]["artifactType"], "application/x");
            assert_eq!(index["manifests"][1]["annotations"]["n"], "2");
        }
    }
}

#[test]
fn a_manifest_alone() {
    let (server, fake) = faulty(|_| None);
    let (content, root) = image(1000);
    push(&server, &content, &root).unwrap();
    let bytes = &content.bytes[&root.digest];
    let name = server.reference("team/app:again");
    let stored = client().put_manifest(&name, OCI_MANIFEST, bytes).unwrap();
    assert_eq!(stored.digest, root.digest);
    let key = ("team/app".to_owned(), "again".to_owned());
    assert_eq!(&fake.kept().manifests[&key].1, bytes);
}
