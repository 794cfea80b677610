//! The rules that BuildKit knows: name, description, address.

/// A rule and what is said about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Name: the `code` of its findings.
    pub name: &'static str,
    /// What it asks for, in one sentence.
    pub description: &'static str,
    /// Last part of its address; empty if it has no page.
    slug: &'static str,
    /// True if it is silent unless `experimental` names it.
    pub is_experimental: bool,
}

/// Where the rules' pages are.
const PAGES: &str = "https://docs.docker.com/go/dockerfile/rule/";

impl Rule {
    const fn new(name: &'static str, slug: &'static str, description: &'static str) -> Self {
        Self {
            name,
            description,
            slug,
            is_experimental: false,
        }
    }

    const fn experimental(mut self) -> Self {
        self.is_experimental = true;
        self
    }

    /// Returns the address of the rule's page, if it has one.
    #[must_use]
    pub fn url(&self) -> Option<String> {
        (!self.slug.is_empty()).then(|| format!("{PAGES}{}/", self.slug))
    }
}

/// Returns BuildKit's rule called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name == name)
}

/// All rules of BuildKit, in the order of its documentation.
pub const RULES: [Rule; 22] = [
    Rule::new(
        "StageNameCasing",
        "stage-name-casing",
        "Stage names should be lowercase",
    ),
    Rule::new(
        "FromAsCasing",
        "from-as-casing",
        "The 'as' keyword should match the case of the 'from' keyword",
    ),
    Rule::new(
        "NoEmptyContinuation",
        "no-empty-continuation",
        "Empty continuation lines will become errors in a future release",
    ),
    Rule::new(
        "ConsistentInstructionCasing",
        "consistent-instruction-casing",
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
    ),
    Rule::new(
        "DuplicateStageName",
        "duplicate-stage-name",
        "Stage names should be unique",
    ),
    Rule::new(
        "ReservedStageName",
        "reserved-stage-name",
        "Reserved words should not be used as stage names",
    ),
    Rule::new(
        "JSONArgsRecommended",
        "json-args-recommended",
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to \
         OS signals",
    ),
    Rule::new(
        "MaintainerDeprecated",
        "maintainer-deprecated",
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    ),
    Rule::new(
        "UndefinedArgInFrom",
        "undefined-arg-in-from",
        "FROM command must use declared ARGs",
    ),
    Rule::new(
        "WorkdirRelativePath",
        "workdir-relative-path",
        "Relative workdir without an absolute workdir declared within the build can have \
         unexpected results if the base image changes",
    ),
    Rule::new(
        "UndefinedVar",
        "undefined-var",
        "Variables should be defined before their use",
    ),
    Rule::new(
        "MultipleInstructionsDisallowed",
        "multiple-instructions-disallowed",
        "Multiple instructions of the same type should not be used in the same stage",
    ),
    Rule::new(
        "LegacyKeyValueFormat",
        "legacy-key-value-format",
        "Legacy key/value format with whitespace separator should not be used",
    ),
    Rule::new(
        "InvalidBaseImagePlatform",
        "",
        "Base image platform does not match expected target platform",
    ),
    Rule::new(
        "RedundantTargetPlatform",
        "redundant-target-platform",
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the \
         default behavior",
    ),
    Rule::new(
        "SecretsUsedInArgOrEnv",
        "secrets-used-in-arg-or-env",
        "Sensitive data should not be used in the ARG or ENV commands",
    ),
    Rule::new(
        "InvalidDefaultArgInFrom",
        "invalid-default-arg-in-from",
        "Default value for global ARG results in an empty or invalid base image name",
    ),
    Rule::new(
        "FromPlatformFlagConstDisallowed",
        "from-platform-flag-const-disallowed",
        "FROM --platform flag should not use a constant value",
    ),
    Rule::new(
        "CopyIgnoredFile",
        "copy-ignored-file",
        "Attempting to Copy file that is excluded by .dockerignore",
    ),
    Rule::new(
        "InvalidDefinitionDescription",
        "invalid-definition-description",
        "Comment for build stage or argument should follow the format: `# <arg/stage name> \
         <description>`. If this is not intended to be a description comment, add an empty line \
         or comment between the instruction and the comment.",
    )
    .experimental(),
    Rule::new(
        "ExposeProtoCasing",
        "expose-proto-casing",
        "Protocol in EXPOSE instruction should be lowercase",
    ),
    Rule::new(
        "ExposeInvalidFormat",
        "expose-invalid-format",
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will \
         become an error in a future release",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_the_names_in_kebab_case() {
        for rule in RULES {
            let mut slug = String::new();
            for (index, c) in rule.name.replace("JSON", "Json").chars().enumerate() {
                if c.is_ascii_uppercase() && index > 0 {
                    slug.push('-');
                }
                slug.push(c.to_ascii_lowercase());
            }
            let expected = format!("https://docs.docker.com/go/dockerfile/rule/{slug}/");
            let has_page = rule.name != "InvalidBaseImagePlatform";
            assert_eq!(rule.url(), has_page.then_some(expected));
            assert_eq!(find(rule.name), Some(&rule));
            assert!(!rule.description.contains("  "), "{}", rule.description);
        }
        assert_eq!(find("fromascasing"), None);
    }
}
