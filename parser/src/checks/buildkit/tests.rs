use super::*;
use crate::checks::{CheckConfig, Filter};

/// Checks what is found after filtering: rule, message, place.
#[track_caller]
fn check(source: &str, expected: &[(&str, &str, &str)]) {
    let parsed = crate::parse(source.as_bytes());
    assert!(!parsed.has_errors(), "{source}: {:?}", parsed.diagnostics);
    let config = CheckConfig::of_file(source.as_bytes(), None).unwrap();
    let found = Filter::new(&parsed.dockerfile, config).apply(super::check(&parsed));
    let found: Vec<_> = found
        .iter()
        .map(|finding| {
            let place = &source[finding.span.start..finding.span.end];
            (finding.code, finding.message.as_str(), place)
        })
        .collect();
    assert_eq!(found, expected, "{source}");
}

fn from_as(as_keyword: &str, from: &str) -> String {
    format!("'{as_keyword}' and '{from}' keywords' casing do not match")
}

fn casing(keyword: &str, majority: &str) -> String {
    format!("Command '{keyword}' should match the case of the command majority ({majority})")
}

#[test]
fn a_clean_file() {
    check(
        "ARG A=1\nFROM scratch AS base\nRUN a \\\n # why\n b\nFROM base\nCMD [\"a\"]\n",
        &[],
    );
}

#[test]
fn stage_names_are_lower_case() {
    let message = "Stage name 'BuIlD' should be lowercase";
    check(
        "FROM scratch AS BuIlD\n",
        &[("StageNameCasing", message, "BuIlD")],
    );
    check(
        "FROM scratch AS \\\n  B\n",
        &[("StageNameCasing", "Stage name 'B' should be lowercase", "B")],
    );
}

#[test]
fn as_has_the_case_of_from() {
    let rule = "FromAsCasing";
    check(
        "FROM scratch as a\n",
        &[(rule, &from_as("as", "FROM"), "as")],
    );
    check(
        "FROM scratch As a\n",
        &[(rule, &from_as("As", "FROM"), "As")],
    );
    check(
        "from scratch AS a\n",
        &[(rule, &from_as("AS", "from"), "AS")],
    );
    check("from scratch as a\n", &[]);
    // Mixed case is another rule's.
    check(
        "From scratch as a\n",
        &[(
            "ConsistentInstructionCasing",
            &casing("From", "uppercase"),
            "From",
        )],
    );
}

#[test]
fn keywords_have_the_case_of_most() {
    let rule = "ConsistentInstructionCasing";
    check(
        "FROM scratch\nrun a\n",
        &[(rule, &casing("run", "uppercase"), "run")],
    );
    check(
        "FROM scratch\nrun a\nRun b\nrun c\n",
        &[
            (rule, &casing("FROM", "lowercase"), "FROM"),
            (rule, &casing("Run", "lowercase"), "Run"),
        ],
    );
    // Global ARGs have no say and are not looked at.
    check("arg A\narg B\nFROM scratch\n", &[]);
    // The trigger of an ONBUILD is text.
    check("FROM scratch\nONBUILD run x\n", &[]);
}

#[test]
fn stage_names_are_unique_and_not_reserved() {
    let reserved = |name: &str| {
        format!("Stage name should not use the same name as reserved stage \"{name}\"")
    };
    check(
        "FROM scratch AS scratch\nFROM scratch AS context\nFROM scratch AS a\nFROM a AS A\n",
        &[
            ("StageNameCasing", "Stage name 'A' should be lowercase", "A"),
            ("ReservedStageName", &reserved("scratch"), "scratch"),
            ("ReservedStageName", &reserved("context"), "context"),
            (
                "DuplicateStageName",
                "Duplicate stage name \"a\", stage names should be unique",
                "A",
            ),
        ],
    );
}

#[test]
fn k19_maintainers_are_deprecated_unless_a_comment_says_otherwise() {
    let message = "Maintainer instruction is deprecated in favor of using label";
    check(
        "FROM scratch\n# check=skip=MaintainerDeprecated because…\nMAINTAINER a\nMAINTAINER b\n",
        &[("MaintainerDeprecated", message, "MAINTAINER b")],
    );
}

#[test]
fn empty_lines_in_continuations_come_first() {
    check(
        "FROM scratch AS A\nRUN a \\\n\n b\n",
        &[
            ("NoEmptyContinuation", "Empty continuation line", " b"),
            ("StageNameCasing", "Stage name 'A' should be lowercase", "A"),
        ],
    );
}

#[test]
fn k20_descriptions_name_what_they_describe_if_that_is_wanted() {
    let rule = "InvalidDefinitionDescription";
    let message = |instruction: &str, name: &str| {
        format!("Comment for {instruction} should follow the format: `# {name} <description>`")
    };
    let enable = "# check=skip=all;experimental=all\n";
    check(
        &format!("{enable}# hello\nFROM scratch AS a\n"),
        &[(rule, &message("FROM", "a"), "FROM scratch AS a")],
    );
    check("# hello\nFROM scratch AS a\n", &[]);
    check(&format!("{enable}# a is it\nFROM scratch AS A\n"), &[]);
    check(&format!("{enable}# hello\n#\nFROM scratch AS a\n"), &[]);
    check(&format!("{enable}# hello\nFROM scratch\n"), &[]);
    check(
        &format!("{enable}# version\nARG VERSION\n# hello\nARG A B\n# B b\nARG A B\nFROM scratch"),
        &[
            (rule, &message("ARG", "VERSION"), "ARG VERSION"),
            (rule, &message("ARG", "<arg_key>"), "ARG A B"),
        ],
    );
    // Only the last comment counts; one for the checks is no description.
    check(
        &format!("{enable}# a one\n# two\nFROM scratch AS a\n"),
        &[(rule, &message("FROM", "a"), "FROM scratch AS a")],
    );
    check(
        &format!("{enable}ARG Z\n# check=skip=X\nFROM scratch AS a\n"),
        &[],
    );
}

#[test]
fn k17_skipped_rules_are_matched_by_case() {
    check("# check=skip=FromAsCasing\nFROM scratch as a\n", &[]);
    check("# check=skip=all\nFROM scratch as A\n", &[]);
    let message = from_as("as", "FROM");
    check(
        "# check=skip=fromascasing\nFROM scratch as a\n",
        &[("FromAsCasing", &message, "as")],
    );
}

#[test]
fn a_file_with_errors_is_looked_at_as_far_as_it_goes() {
    let parsed = crate::parse(b"FROM scratch as a\nRUNN x\nrun y\n");
    let found: Vec<_> = super::check(&parsed)
        .iter()
        .map(|finding| finding.code)
        .collect();
    assert_eq!(found, ["FromAsCasing"]);
}

#[test]
fn descriptions_are_the_rest_of_the_first_comment_with_the_name() {
    let parsed = crate::parse(b"# a\n# b x\n# a the  first\n# a second\nFROM scratch AS a\n");
    let comments = &parsed.dockerfile.stages[0].head.comments;
    assert_eq!(description(comments, "a"), Some("the  first"));
    assert_eq!(description(comments, "c"), None);
    assert_eq!(description(comments, ""), None);
}
