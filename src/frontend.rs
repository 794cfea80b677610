//! `# syntax=…`: which language a file is in. There is one here, so others are refused by name.

use rbuild_image::reference::Reference;
use rbuild_parser::diagnostic::Diagnostic;
use rbuild_parser::syntax::directive;

use crate::report::{Failure, Source};

/// The build argument that stands in for the directive.
const BUILD_ARG: &str = "BUILDKIT_SYNTAX";
/// Names of the Dockerfile frontend: the releases and what comes before them.
const DOCKERFILE: [&str; 2] = ["dockerfile", "dockerfile-upstream"];

/// Refuses a file that asks for another frontend than Docker's, of whatever version and registry.
pub(crate) fn check(source: &Source, build_args: &[(String, String)]) -> Result<(), Failure> {
    let given = build_args.iter().rfind(|(name, _)| name == BUILD_ARG);
    let detected = directive::detect_syntax(&source.text);
    let (frontend, span) = match (given, detected) {
        (Some((_, value)), _) => (value.split(' ').next().unwrap_or_default().to_owned(), None),
        (None, Some(found)) => (found.value, Some(found.span)),
        (None, None) => return Ok(()),
    };
    if is_dockerfile(&frontend) {
        return Ok(());
    }
    let message = format!("frontend {frontend} is not supported by this version of rbuild");
    let help = "rbuild reads Dockerfiles itself: any version of docker/dockerfile will do";
    Err(match span {
        Some(span) => {
            let diagnostic = Diagnostic::error("plan::frontend", message, span).with_help(help);
            Failure::Source(source.clone(), vec![diagnostic])
        }
        None => Failure::with_help(message, help),
    })
}

fn is_dockerfile(frontend: &str) -> bool {
    let Ok(reference) = Reference::parse(frontend) else {
        return false;
    };
    let repository = reference.repository().to_string();
    let name = repository.rsplit('/').next().unwrap_or_default();
    DOCKERFILE.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_fine(text: &str, build_arg: Option<&str>) -> bool {
        let source = Source {
            name: "Dockerfile".to_owned(),
            text: text.as_bytes().to_vec(),
        };
        let build_args: Vec<_> = build_arg
            .map(|value| (BUILD_ARG.to_owned(), value.to_owned()))
            .into_iter()
            .collect();
        check(&source, &build_args).is_ok()
    }

    #[test]
    fn only_dockers_frontend_is_known() {
        for fine in [
            "FROM scratch",
            "# syntax=docker/dockerfile",
            "# syntax = docker.io/docker/dockerfile:1.7-labs",
            "# syntax=mirror.example:5000/docker/dockerfile-upstream:master@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "#!/x\n# syntax=docker/dockerfile:1 --debug",
            "\n# syntax=other/language",
        ] {
            assert!(is_fine(fine, None), "{fine}");
        }
        for foreign in [
            "# syntax=other/language:1",
            "# escape=`\n#syntax=docker/other",
            "//syntax=a/b",
            "{\"syntax\": \"a/b\"}",
            "# syntax=UPPER",
        ] {
            assert!(!is_fine(foreign, None), "{foreign}");
            assert!(is_fine(foreign, Some("docker/dockerfile:1")), "{foreign}");
        }
        assert!(!is_fine("FROM scratch", Some("a/b")));
        assert!(!is_fine("FROM scratch", Some("")));
    }
}
