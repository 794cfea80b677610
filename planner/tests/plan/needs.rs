//! The handshake: what is asked for, when, and how often.

use rbuild_planner::{BaseImages, Planned, plan};

use crate::support::{Case, case};

const BASE: &str = "docker.io/library/base:latest";

/// Returns the questions of each round: reference, platform, `~` if any platform will do, and the
/// text that they point to.
fn rounds(case: &Case, text: &str) -> Vec<Vec<String>> {
    let dockerfile = case.parse();
    let mut bases = BaseImages::new();
    let mut rounds = Vec::new();
    while let Planned::Needs(needs) = plan(&dockerfile, &case.request, &bases) {
        let mut round = Vec::new();
        for need in needs {
            let any = if need.query.any_platform { "~" } else { "" };
            let place = &text[need.span.start..need.span.end];
            let query = &need.query;
            round.push(format!(
                "{} {any}{} {place}",
                query.reference, query.platform
            ));
            let answer = case.answer(&need.query);
            bases.insert(need.query, answer);
        }
        rounds.push(round);
    }
    rounds
}

#[test]
fn a_file_without_images_needs_nothing() {
    let text = "FROM scratch";
    assert!(rounds(&case(text), text).is_empty());
}

#[test]
fn all_needed_images_are_asked_for_at_once() {
    let text = "FROM base AS a\nFROM --platform=linux/arm64 tool:1 AS t\nFROM unused AS u\n\
                FROM a\nCOPY --from=t x y\nCOPY --from=other x y\nCOPY --from=base x y";
    let case = case(text)
        .image(BASE, "{}")
        .image("docker.io/library/tool:1", "{}")
        .image("docker.io/library/other:latest", "{}");
    assert_eq!(
        rounds(&case, text),
        [[
            "docker.io/library/base:latest ~linux/amd64 base",
            "docker.io/library/tool:1 linux/arm64 tool:1",
            "docker.io/library/other:latest ~linux/amd64 other",
        ]]
    );
}

#[test]
fn every_platform_asks_and_pinned_stages_ask_once() {
    let text = "FROM --platform=$BUILDPLATFORM base AS a\nFROM base\nCOPY --from=a x y";
    let case = case(text)
        .image(BASE, "{}")
        .platforms(&["linux/arm64", "linux/amd64"]);
    let mut found = rounds(&case, text);
    found[0].sort();
    assert_eq!(
        found,
        [[
            "docker.io/library/base:latest linux/amd64 base",
            "docker.io/library/base:latest linux/arm64 base",
        ]]
    );
}

#[test]
fn triggers_make_further_rounds() {
    let text = "FROM more AS m\nFROM base";
    let case = case(text)
        .image(BASE, r#"{"OnBuild":["COPY --from=m a b"]}"#)
        .image(
            "docker.io/library/more:latest",
            r#"{"OnBuild":["COPY --from=third a b"]}"#,
        )
        .image("docker.io/library/third:latest", "{}");
    assert_eq!(
        rounds(&case, text),
        [
            ["docker.io/library/base:latest ~linux/amd64 base"],
            ["docker.io/library/more:latest ~linux/amd64 more"],
            ["docker.io/library/third:latest ~linux/amd64 more"],
        ]
    );
}

#[test]
fn a_fault_ends_the_questions() {
    let case = case("FROM base\nFROM ${NOPE}");
    let planned = plan(&case.parse(), &case.request, &BaseImages::new());
    assert!(matches!(planned, Planned::Failed(_)), "{planned:?}");
}
