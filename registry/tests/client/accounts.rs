//! Checking credentials, and lists of tags.

use rbuild_registry::{Client, Login, RegistryError, Secret};

use crate::server::{Answer, Seen, Server, client, settings, shown};

fn client_with(server: &Server, password: &str) -> Client {
    let mut settings = settings();
    let login = Login::Basic {
        user: "me".into(),
        password: Secret::new(password),
    };
    settings.logins.insert(server.host(), login);
    Client::new(settings).unwrap()
}

// me:right
const RIGHT: &str = "Basic bWU6cmlnaHQ=";

fn basic(seen: &Seen) -> Answer {
    assert_eq!(seen.target, "/v2/");
    match seen.header("authorization") {
        Some(RIGHT) => Answer::new(200, "{}"),
        _ => {
            let body =
                r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
            Answer::new(401, body).header("WWW-Authenticate", "Basic realm=\"x\"")
        }
    }
}

fn bearer(seen: &Seen) -> Answer {
    if seen.target.starts_with("/token") {
        assert!(!seen.target.contains("scope="), "{}", seen.target);
        return match seen.header("authorization") {
            Some(RIGHT) => Answer::new(200, r#"{"token":"good"}"#),
            _ => Answer::new(401, r#"{"details":"incorrect username or password"}"#),
        };
    }
    match seen.header("authorization") {
        Some("Bearer good") => Answer::new(200, "{}"),
        _ => {
            let realm = format!("http://{}/token", seen.header("host").unwrap());
            let challenge = format!("Bearer realm=\"{realm}\",service=\"s\"");
            Answer::new(401, "").header("WWW-Authenticate", &challenge)
        }
    }
}

#[test]
fn right_and_wrong_credentials() {
    for (serve, reason) in [
        (basic as fn(&Seen) -> Answer, ""),
        (bearer, " (incorrect username or password)"),
    ] {
        let server = Server::new(serve);
        let host = server.host();
        client_with(&server, "right").check_login(&host).unwrap();
        let error = client_with(&server, "wrong")
            .check_login(&host)
            .unwrap_err();
        let expected = format!(
            "login attempt to http://{host}/v2/ failed with status: 401 Unauthorized{reason}"
        );
        assert_eq!(error.to_string(), expected);
        assert!(!shown(&error).contains("wrong"), "{}", shown(&error));
    }
}

#[test]
fn a_token_in_place_of_the_password() {
    let server = Server::new(|seen| {
        if seen.target.starts_with("/token") {
            let is_asked = seen.target.contains("account=me&offline_token=true");
            return match seen.header("authorization") {
                Some(RIGHT) if is_asked => {
                    Answer::new(200, r#"{"token":"good","refresh_token":"for later"}"#)
                }
                _ => Answer::new(401, ""),
            };
        }
        bearer(seen)
    });
    let host = server.host();
    let client = client_with(&server, "right");
    let token = client.check_login(&host).unwrap().unwrap();
    assert_eq!(token.reveal(), "for later");
    assert_eq!(
        client.check_login(&host).unwrap().unwrap().reveal(),
        "for later"
    );
    // Not every token server has some, and what is no login asks for none.
    let server = Server::new(bearer);
    let kept = client_with(&server, "right").check_login(&server.host());
    assert!(kept.unwrap().is_none());
}

#[test]
fn a_registry_that_wants_no_credentials() {
    let server = Server::new(|_| Answer::new(200, "{}"));
    client_with(&server, "any")
        .check_login(&server.host())
        .unwrap();
    let nobody = Server::new(|_| Answer::new(404, ""));
    let error = client_with(&nobody, "any")
        .check_login(&nobody.host())
        .unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[test]
fn tags_on_several_pages() {
    let server = Server::new(|seen| match seen.target.as_str() {
        "/v2/team/app/tags/list?n=1000" => Answer::new(200, r#"{"name":"x","tags":["1","2"]}"#)
            .header(
                "Link",
                "</v2/team/app/tags/list?n=1000&last=2>; rel=\"next\"",
            ),
        "/v2/team/app/tags/list?n=1000&last=2" => Answer::new(200, r#"{"tags":["3"]}"#),
        "/v2/team/none/tags/list?n=1000" => Answer::new(200, r#"{"tags":null}"#),
        "/v2/team/odd/tags/list?n=1000" => Answer::new(200, "<html>"),
        "/v2/team/round/tags/list?n=1000" => Answer::new(200, r#"{"tags":["1"]}"#)
            .header("Link", "</v2/team/round/tags/list?n=1000>; rel=\"next\""),
        _ => Answer::new(404, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#),
    });
    let tags = |name: &str| client().tags(&server.reference(name));
    assert_eq!(tags("team/app:7").unwrap(), ["1", "2", "3"]);
    assert!(tags("team/none").unwrap().is_empty());
    assert!(tags("team/unknown").unwrap_err().is_not_found());
    for name in ["team/odd", "team/round"] {
        let error = tags(name).unwrap_err();
        assert!(matches!(error, RegistryError::BadAnswer { .. }), "{error}");
    }
}

#[test]
fn repositories_on_several_pages() {
    let server = Server::new(|seen| match seen.target.as_str() {
        "/v2/_catalog?n=1000" => Answer::new(200, r#"{"repositories":["a","b/c"]}"#)
            .header("Link", "</v2/_catalog?last=b%2Fc&n=1000>; rel=\"next\""),
        "/v2/_catalog?last=b%2Fc&n=1000" => Answer::new(200, r#"{"repositories":["d"]}"#),
        other => panic!("{other}"),
    });
    let names = client().catalog(&server.host()).unwrap();
    assert_eq!(names, ["a", "b/c", "d"]);

    let server = Server::new(|_| Answer::new(200, "<html>"));
    let error = client().catalog(&server.host()).unwrap_err();
    assert!(shown(&error).contains("did not answer with a list of repositories"));
}
