//! What a registry asks for when it answers 401.

use http_auth::ChallengeParser;
use ureq::http::HeaderMap;
use ureq::http::header::WWW_AUTHENTICATE;

/// The way to authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A token from a token server. Spec: <https://distribution.github.io/distribution/spec/auth/token/>
    Bearer {
        /// URL of the token server.
        realm: String,
        /// What the token server calls this registry.
        service: Option<String>,
        /// What the token must allow, separated by spaces.
        scope: Option<String>,
    },
    /// User name and password.
    Basic,
}

impl Challenge {
    /// Returns the best challenge in all `WWW-Authenticate` headers: Bearer, then Basic.
    pub(crate) fn best(headers: &HeaderMap) -> Option<Self> {
        let mut basic = None;
        for header in headers.get_all(WWW_AUTHENTICATE) {
            let Ok(text) = header.to_str() else {
                continue;
            };
            // What follows a malformed challenge is lost, what came before counts.
            for challenge in ChallengeParser::new(text).map_while(Result::ok) {
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                }
                if challenge.scheme.eq_ignore_ascii_case("bearer") {
                    let parameter = |wanted: &str| {
                        let found = challenge
                            .params
                            .iter()
                            .find(|(name, _)| name.eq_ignore_ascii_case(wanted));
                        found
                            .map(|(_, value)| value.to_unescaped())
                            .filter(|value| !value.is_empty())
                    };
                    if let Some(realm) = parameter("realm") {
                        return Some(Self::Bearer {
                            realm,
                            service: parameter("service"),
                            scope: parameter("scope"),
                        });
                    }
                }
            }
        }
        basic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::needless_pass_by_value,
        reason = "what is expected is made in place"
    )]
    fn check(headers: &[&'static str], expected: Option<Challenge>) {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(WWW_AUTHENTICATE, header.parse().unwrap());
        }
        assert_eq!(Challenge::best(&map), expected, "{headers:?}");
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.into(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        })
    }

    #[test]
    fn forms() {
        check(
            &[r#"Bearer realm="https://a/token",service="r",scope="repository:a/b:pull,push""#],
            bearer(
                "https://a/token",
                Some("r"),
                Some("repository:a/b:pull,push"),
            ),
        );
        check(
            &[r#"Basic realm="x", bearer Realm="https://a""#],
            bearer("https://a", None, None),
        );
        check(
            &[r#"Basic realm="x""#, r#"Bearer realm="https://a""#],
            bearer("https://a", None, None),
        );
        check(&[r#"Basic realm="Registry \"5\"""#], Some(Challenge::Basic));
        check(&[r#"Bearer service="r""#, "Basic"], Some(Challenge::Basic));
        check(&["Negotiate"], None);
        check(&["Negotiate YII=="], None);
        check(&[], None);
    }
}
