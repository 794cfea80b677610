//! Challenges, tokens, credentials; and that none of them is ever shown.

use std::io::Read as _;
use std::sync::Mutex;

use rbuild_registry::{Client, Login, RegistryError, Secret, Settings};

use crate::image::Image;
use crate::server::{Answer, Seen, Server, settings, shown};

const PASSWORD: &str = "hunter2-hunter2";
const BASIC: &str = "Basic bWU6aHVudGVyMi1odW50ZXIy";

fn basic_login() -> Login {
    Login::Basic {
        user: "me".into(),
        password: Secret::new(PASSWORD),
    }
}

fn client_with(server: &Server, login: Option<Login>) -> Client {
    let mut settings = settings();
    settings
        .logins
        .extend(login.map(|login| (server.host(), login)));
    Client::new(settings).unwrap()
}

/// A registry with a token server at `/token`, which `desk` answers; tokens are `tok-<n>`, and
/// `accepts` says which are good.
fn bearer_registry(
    desk: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    accepts: impl Fn(&str, &Seen) -> bool + Send + Sync + 'static,
) -> (Server, Image) {
    let image = Image::new(5000);
    let served = image.clone();
    let server = Server::new(move |seen| {
        if seen.target.starts_with("/token") {
            return desk(seen);
        }
        let token = seen
            .header("authorization")
            .and_then(|text| text.strip_prefix("Bearer "));
        if token.is_some_and(|token| accepts(token, seen)) {
            return served.serve(seen);
        }
        let host = seen.header("host").unwrap();
        let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        Answer::new(401, body).header("WWW-Authenticate", "Negotiate").header(
            "WWW-Authenticate",
            &format!(
                "Basic realm=\"x\", Bearer realm=\"http://{host}/token?a=b\",service=\"the \\\"registry\\\"\",\
                 scope=\"repository:team/app:pull\""
            ),
        )
    });
    (server, image)
}

fn numbered(prefix: &'static str) -> impl Fn(&Seen) -> Answer + Send + Sync {
    let count = Mutex::new(0);
    move |_| {
        let mut count = count.lock().unwrap();
        *count += 1;
        Answer::new(
            200,
            format!(r#"{{"{prefix}":"tok-{count}","expires_in":300,"x":[1]}}"#),
        )
    }
}

fn desk_requests(server: &Server) -> Vec<Seen> {
    let seen = server.seen().into_iter();
    seen.filter(|seen| seen.target.starts_with("/token"))
        .collect()
}

fn pull(client: &Client, server: &Server, image: &Image) -> Result<(), RegistryError> {
    let reference = server.reference("team/app:1");
    client.resolve(&reference)?;
    client.config(&reference, &image.config_descriptor)?;
    let mut bytes = Vec::new();
    client
        .blob(&reference, &image.layer_descriptor)?
        .read_to_end(&mut bytes)
        .map_err(|error| RegistryError::from_io(error).unwrap())?;
    assert_eq!(bytes, image.layer);
    Ok(())
}

/// No form of the credentials or tokens may be in what an error shows.
fn check_secret(error: &RegistryError) -> String {
    let text = shown(error);
    for secret in [PASSWORD, &BASIC["Basic ".len()..], "tok-", "identity-token"] {
        assert!(!text.contains(secret), "{text}");
    }
    text
}

#[test]
fn anonymous_token() {
    for key in ["token", "access_token"] {
        let (server, image) = bearer_registry(numbered(key), |token, _| token == "tok-1");
        let client = client_with(&server, None);
        pull(&client, &server, &image).unwrap();
        let desk = desk_requests(&server);
        assert_eq!(desk.len(), 1);
        assert_eq!(desk[0].header("authorization"), None);
        assert_eq!(
            desk[0].target,
            "/token?a=b&client_id=rbuild&service=the%20%22registry%22&scope=repository%3Ateam%2Fapp%3Apull"
        );
        // One challenge, and the token for everything after it.
        assert_eq!(server.seen().len(), 5);
    }
}

#[test]
fn token_for_a_user() {
    let desk = |seen: &Seen| match seen.header("authorization") {
        Some(BASIC) => Answer::new(200, r#"{"token":"tok-u"}"#),
        _ => Answer::new(401, ""),
    };
    let (server, image) = bearer_registry(desk, |token, _| token == "tok-u");
    pull(&client_with(&server, Some(basic_login())), &server, &image).unwrap();
    let client = client_with(&server, Some(basic_login()));
    pull(&client, &server, &image).unwrap();
    let printed = format!("{client:?}");
    assert!(
        printed.contains("Sensitive") && printed.contains("[secret]"),
        "{printed}"
    );
    for secret in [PASSWORD, "bWU6", "tok-"] {
        assert!(!printed.contains(secret), "{printed}");
    }
    let anonymous = pull(&client_with(&server, None), &server, &image).unwrap_err();
    assert!(
        matches!(anonymous, RegistryError::Denied { .. }),
        "{anonymous}"
    );
}

#[test]
fn many_threads_get_one_token() {
    let (server, image) = bearer_registry(numbered("token"), |token, _| token == "tok-1");
    let client = client_with(&server, None);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| pull(&client, &server, &image).unwrap());
        }
    });
    assert_eq!(desk_requests(&server).len(), 1);
}

#[test]
fn a_token_that_died_is_renewed_once() {
    let (server, image) = bearer_registry(numbered("token"), |token, seen| {
        // The first token opens manifests only.
        token == "tok-2" || (token == "tok-1" && seen.target.contains("manifests"))
    });
    let client = client_with(&server, None);
    pull(&client, &server, &image).unwrap();
    assert_eq!(desk_requests(&server).len(), 2);
}

#[test]
fn a_token_that_never_opens_is_denied() {
    let (server, image) = bearer_registry(numbered("token"), |_, _| false);
    let client = client_with(&server, Some(basic_login()));
    let error = pull(&client, &server, &image).unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
    assert_eq!(desk_requests(&server).len(), 1);
    let text = check_secret(&error);
    assert!(text.contains("user me of the command line"), "{text}");
    assert!(
        text.contains("UNAUTHORIZED: authentication required"),
        "{text}"
    );
}

#[test]
fn a_wrong_password_is_asked_with_once_and_not_shown() {
    let echo = |seen: &Seen| {
        let sent = seen.header("authorization").unwrap_or_default();
        Answer::new(
            401,
            format!(
                "{{\"details\":\"incorrect username or password, you sent {sent} {PASSWORD}\"}}"
            ),
        )
    };
    let (server, image) = bearer_registry(echo, |_, _| false);
    let client = client_with(&server, Some(basic_login()));
    for _ in 0..3 {
        let error = pull(&client, &server, &image).unwrap_err();
        assert!(
            matches!(error, RegistryError::Unauthorized { .. }),
            "{error}"
        );
        let text = check_secret(&error);
        assert!(text.contains("incorrect username or password"), "{text}");
        assert!(text.contains("user me of the command line"), "{text}");
    }
    // Asking again and again locks accounts.
    assert_eq!(desk_requests(&server).len(), 1);
}

#[test]
fn basic() {
    let image = Image::new(5000);
    let served = image.clone();
    let server = Server::new(move |seen| match seen.header("authorization") {
        Some(BASIC) => served.serve(seen),
        other => Answer::new(401, format!("you sent {other:?}"))
            .header("WWW-Authenticate", "Basic realm=\"Registry\""),
    });
    pull(&client_with(&server, Some(basic_login())), &server, &image).unwrap();
    // Some servers only know the usual spelling.
    for name in ["Authorization", "User-Agent", "Accept-Encoding", "Accept"] {
        let is_there = server.seen()[1]
            .header_names
            .iter()
            .any(|seen| seen == name);
        assert!(is_there, "{name}");
    }
    let error = pull(&client_with(&server, None), &server, &image).unwrap_err();
    let text = check_secret(&error);
    assert!(
        matches!(error, RegistryError::Unauthorized { .. }),
        "{text}"
    );
    assert!(text.contains("no credentials"), "{text}");
    let wrong = Login::Basic {
        user: "me".into(),
        password: Secret::new("wrong-password"),
    };
    let client = client_with(&server, Some(wrong));
    let before = server.seen().len();
    for _ in 0..3 {
        let error = pull(&client, &server, &image).unwrap_err();
        let text = check_secret(&error);
        assert!(
            matches!(error, RegistryError::Unauthorized { .. }),
            "{text}"
        );
        assert!(
            !text.contains("wrong-password") && !text.contains("bWU6d3Jvbmct"),
            "{text}"
        );
        assert!(text.contains("user me of the command line"), "{text}");
    }
    let sent = server.seen().split_off(before);
    let with_password = sent
        .iter()
        .filter(|seen| seen.header("authorization").is_some());
    assert_eq!(with_password.count(), 1);
}

#[test]
fn an_echo_in_a_server_error_is_not_shown() {
    let image = Image::new(10);
    let server = Server::new(|seen| match seen.header("authorization") {
        Some(sent) => Answer::new(
            500,
            format!(r#"{{"errors":[{{"code":"X","message":"you sent {sent}"}}]}}"#),
        ),
        None => Answer::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let error = pull(&client_with(&server, Some(basic_login())), &server, &image).unwrap_err();
    let text = check_secret(&error);
    assert!(text.contains("you sent Basic [secret]"), "{text}");
}

#[test]
fn identity_tokens() {
    let login = || Login::Identity {
        user: "me".into(),
        token: Secret::new("identity-token"),
    };
    let (server, image) = bearer_registry(
        |seen| match seen.method.as_str() {
            "POST" => Answer::new(200, r#"{"access_token":"tok-i"}"#),
            _ => Answer::new(500, ""),
        },
        |token, _| token == "tok-i",
    );
    pull(&client_with(&server, Some(login())), &server, &image).unwrap();
    let desk = desk_requests(&server);
    assert_eq!(desk.len(), 1);
    assert_eq!(
        desk[0].header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
    assert_eq!(
        desk[0].body,
        "grant_type=refresh_token&service=the%20%22registry%22&client_id=rbuild&\
         scope=repository%3Ateam%2Fapp%3Apull&refresh_token=identity-token"
    );
    // A token server without POST gets it as a password.
    let (server, image) = bearer_registry(
        |seen| match (seen.method.as_str(), seen.header("authorization")) {
            ("GET", Some("Basic bWU6aWRlbnRpdHktdG9rZW4=")) => {
                Answer::new(200, r#"{"token":"tok-g"}"#)
            }
            _ => Answer::new(405, ""),
        },
        |token, _| token == "tok-g",
    );
    pull(&client_with(&server, Some(login())), &server, &image).unwrap();
    assert_eq!(desk_requests(&server).len(), 2);
}

#[test]
fn registry_tokens_are_sent_as_they_are() {
    let (server, image) = bearer_registry(|_| Answer::new(500, ""), |token, _| token == "tok-r");
    let login = Login::Registry {
        token: Secret::new("tok-r"),
    };
    pull(&client_with(&server, Some(login)), &server, &image).unwrap();
    assert!(desk_requests(&server).is_empty());
}

#[test]
fn a_token_server_that_stumbles_is_asked_again() {
    let desk = |seen: &Seen| match seen.nth {
        0 => Answer::new(503, ""),
        1 => Answer::new(200, r#"{"token":"tok-1"}"#).end(crate::server::End::Cut(5)),
        _ => Answer::new(200, r#"{"token":"tok-1"}"#),
    };
    let (server, image) = bearer_registry(desk, |token, _| token == "tok-1");
    pull(&client_with(&server, None), &server, &image).unwrap();
    assert_eq!(desk_requests(&server).len(), 3);
}

#[test]
fn token_servers_that_give_no_token() {
    for (answer, word) in [
        (Answer::new(200, "{}"), "has no token"),
        (Answer::new(200, r#"{"token":"tok-\n"}"#), "cannot hold"),
        (Answer::new(200, "<html>"), "not the expected JSON"),
        (Answer::new(404, "gone"), "status 404: gone"),
        (Answer::new(418, "teapot"), "teapot"),
        (
            Answer::redirect("file:///etc/passwd"),
            "not an http or https URL",
        ),
    ] {
        let (server, image) = bearer_registry(move |_| answer.clone(), |_, _| false);
        let error = pull(&client_with(&server, None), &server, &image).unwrap_err();
        let text = check_secret(&error);
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn realms_that_are_not_asked() {
    for (realm, word) in [
        ("http://auth.example/token", "only sent over https"),
        ("ftp://auth.example/token", "not an http or https URL"),
        ("/token", "not an http or https URL"),
        ("https://169.254.169.254/token", "link-local"),
        ("https://2852039166/token", "disguise"),
        ("https://a:b@auth.example/", "user name"),
    ] {
        let server = Server::new(move |_| {
            Answer::new(401, "").header("WWW-Authenticate", &format!("Bearer realm=\"{realm}\""))
        });
        let client = client_with(&server, Some(basic_login()));
        let error = client.resolve(&server.reference("app:1")).unwrap_err();
        assert!(
            matches!(error, RegistryError::Token { .. }),
            "{realm}: {error}"
        );
        let text = check_secret(&error);
        assert!(text.contains(word), "{realm}: {text}");
    }
}

#[test]
fn a_401_without_a_challenge() {
    let server = Server::new(|_| Answer::new(401, "nope"));
    let client = client_with(&server, Some(basic_login()));
    let error = client.resolve(&server.reference("app:1")).unwrap_err();
    assert!(
        matches!(error, RegistryError::Unauthorized { .. }),
        "{error}"
    );
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn credentials_from_the_environment() {
    let image = Image::new(10);
    let served = image.clone();
    let server = Server::new(move |seen| match seen.header("authorization") {
        Some(BASIC) => served.serve(seen),
        _ => Answer::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let home = tempfile::tempdir().unwrap();
    let host = server.host();
    fs_err::create_dir(home.path().join(".docker")).unwrap();
    let config = home.path().join(".docker/config.json");
    let text = format!(
        r#"{{"auths":{{"{host}":{{"auth":"{}"}}}}}}"#,
        &BASIC["Basic ".len()..]
    );
    fs_err::write(&config, text).unwrap();
    let mut from_env = Settings::from_env(&|name| {
        (name == "HOME").then(|| home.path().to_str().unwrap().to_owned())
    });
    from_env.limits = settings().limits;
    let client = Client::new(from_env.clone()).unwrap();
    client.resolve(&server.reference("app:1")).unwrap();
    fs_err::write(&config, "{broken hunter2-hunter2").unwrap();
    let error = Client::new(from_env)
        .unwrap()
        .resolve(&server.reference("app:1"))
        .unwrap_err();
    let text = check_secret(&error);
    assert!(text.contains(config.to_str().unwrap()), "{text}");
}
