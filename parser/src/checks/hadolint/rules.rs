//! The table of rules.

/// How much a finding matters, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Not reported unless it is asked for.
    Off,
    /// A matter of taste.
    Style,
    /// Worth knowing.
    Info,
    /// Likely to be a mistake.
    Warning,
    /// A mistake.
    Error,
}

impl Level {
    /// Returns the level's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Style => "style",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A rule and what is said about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DlRule {
    /// Its number: the `code` of its findings.
    pub name: &'static str,
    /// How much its findings matter if nothing else is said.
    pub level: Level,
    /// What it asks for.
    pub description: &'static str,
    /// What to do about a finding, or why.
    pub help: &'static str,
    /// BuildKit's rule for the same thing; empty if there is none.
    twin: &'static str,
}

impl DlRule {
    const fn new(
        name: &'static str,
        level: Level,
        description: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            level,
            description,
            help,
            twin: "",
        }
    }

    const fn also(mut self, twin: &'static str) -> Self {
        self.twin = twin;
        self
    }

    /// Returns the address of the rule's page.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://github.com/hadolint/hadolint/wiki/{}", self.name)
    }

    /// Returns BuildKit's rule for the same thing.
    #[must_use]
    pub fn twin(&self) -> Option<&'static str> {
        (!self.twin.is_empty()).then_some(self.twin)
    }
}

/// Returns the rule called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static DlRule> {
    let index = RULES.binary_search_by(|rule| rule.name.cmp(name)).ok()?;
    RULES.get(index)
}

/// Returns the other rules for the same thing, if there are any: those that BuildKit's rule `name`
/// is the same as, or BuildKit's.
pub fn twin(name: &str) -> impl Iterator<Item = &'static str> {
    let own = find(name).and_then(DlRule::twin);
    let others = RULES
        .iter()
        .filter(move |rule| rule.twin() == Some(name))
        .map(|rule| rule.name);
    own.into_iter().chain(others)
}

use Level::{Error, Info, Off, Style, Warning};

/// All rules, by number.
pub const RULES: [DlRule; 59] = [
    DlRule::new("DL1001", Off, "No inline ignores", "rules that are ignored inline are easily forgotten: fix the finding, or ignore the rule for the project"),
    DlRule::new("DL3000", Error, "WORKDIR is absolute", "a relative WORKDIR depends on the base image's; start it with `/`").also("WorkdirRelativePath"),
    DlRule::new("DL3001", Info, "No commands that make no sense in a build", "such a command needs a running system or a person; leave it out"),
    DlRule::new("DL3002", Warning, "The last USER is not root", "a process that needs no root should not have it: end the stage with another USER"),
    DlRule::new("DL3003", Warning, "WORKDIR instead of cd", "use WORKDIR: it also holds for the instructions after it"),
    DlRule::new("DL3004", Error, "No sudo", "RUN is root unless USER says otherwise; to change the user at run time there are gosu and setpriv"),
    DlRule::new("DL3006", Warning, "Base images have a tag", "without a tag it is `latest`, and the build changes when that does"),
    DlRule::new("DL3007", Warning, "Base images are not `latest`", "`latest` moves: name a release, or a digest"),
    DlRule::new("DL3008", Warning, "apt-get installs given versions", "write `package=version`: a later build may get another one"),
    DlRule::new("DL3009", Info, "apt lists are deleted", "end with `&& rm -rf /var/lib/apt/lists/*`, or use a cache mount on /var/lib/apt/lists"),
    DlRule::new("DL3010", Info, "ADD extracts archives", "ADD unpacks a local archive, and the archive itself is in no layer"),
    DlRule::new("DL3011", Error, "Ports are at most 65535", "there is no such port"),
    DlRule::new("DL3012", Error, "One HEALTHCHECK a stage", "only the last one counts").also("MultipleInstructionsDisallowed"),
    DlRule::new("DL3013", Warning, "pip installs given versions", "write `package==version`, or use a requirements file"),
    DlRule::new("DL3014", Warning, "apt-get installs without asking", "give it `-y`: nobody can answer"),
    DlRule::new("DL3015", Info, "apt-get installs no recommended packages", "give it `--no-install-recommends`"),
    DlRule::new("DL3016", Warning, "npm installs given versions", "write `package@version`, or use a lock file and `npm ci`"),
    DlRule::new("DL3018", Warning, "apk adds given versions", "write `package=version`: a later build may get another one"),
    DlRule::new("DL3019", Info, "apk keeps no cache", "give it `--no-cache`, or use a cache mount on /var/cache/apk"),
    DlRule::new("DL3020", Error, "COPY for files and folders", "ADD also fetches and unpacks, which may surprise: use COPY"),
    DlRule::new("DL3021", Error, "COPY of several files ends in /", "say that the destination is a folder: end it with `/`"),
    DlRule::new("DL3022", Warning, "COPY --from names an earlier stage", "there is no such stage before this one: it is taken for the name of an image"),
    DlRule::new("DL3023", Error, "COPY --from is not the own stage", "a stage cannot copy from itself"),
    DlRule::new("DL3024", Error, "Stage names are unique", "later instructions mean the last stage of that name").also("DuplicateStageName"),
    DlRule::new("DL3025", Warning, "CMD and ENTRYPOINT in JSON form", "with a shell in between, signals do not reach the program").also("JSONArgsRecommended"),
    DlRule::new("DL3027", Warning, "apt-get instead of apt", "apt is for people, its interface may change: use apt-get or apt-cache"),
    DlRule::new("DL3028", Warning, "gem installs given versions", "write `gem:version` or give it `--version`"),
    DlRule::new("DL3029", Warning, "FROM has no fixed --platform", "the image would be for that platform, whatever is asked for: leave it out, or use $BUILDPLATFORM").also("FromPlatformFlagConstDisallowed"),
    DlRule::new("DL3030", Warning, "yum installs without asking", "give it `-y`: nobody can answer"),
    DlRule::new("DL3032", Warning, "yum's cache is deleted", "end with `&& yum clean all`, or use a cache mount on /var/cache/yum"),
    DlRule::new("DL3033", Warning, "yum installs given versions", "write `package-version`: a later build may get another one"),
    DlRule::new("DL3034", Warning, "zypper works without asking", "give it `-y` or `--non-interactive`: nobody can answer"),
    DlRule::new("DL3035", Warning, "No zypper dist-upgrade", "use a base image of the newer release"),
    DlRule::new("DL3036", Warning, "zypper's cache is deleted", "end with `&& zypper clean`, or use a cache mount on /var/cache/zypp"),
    DlRule::new("DL3037", Warning, "zypper installs given versions", "write `package=version`: a later build may get another one"),
    DlRule::new("DL3038", Warning, "dnf installs without asking", "give it `-y`: nobody can answer"),
    DlRule::new("DL3040", Warning, "dnf's cache is deleted", "end with `&& dnf clean all`, or use a cache mount on /var/cache/libdnf5"),
    DlRule::new("DL3041", Warning, "dnf installs given versions", "write `package-version`: a later build may get another one"),
    DlRule::new("DL3042", Warning, "pip keeps no cache", "give it `--no-cache-dir`, set PIP_NO_CACHE_DIR=1, or use a cache mount on /root/.cache/pip"),
    DlRule::new("DL3044", Error, "ENV does not use what it sets", "all values are expanded before any variable is set: use two ENV instructions"),
    DlRule::new("DL3045", Warning, "COPY to a relative path after WORKDIR", "without WORKDIR it depends on the base image where the files go"),
    DlRule::new("DL3046", Warning, "useradd -l for a high user id", "give it `-l`: else /var/log/lastlog grows to hundreds of gigabytes, with holes that layers do not keep"),
    DlRule::new("DL3047", Info, "wget without a progress bar", "give it `--progress=dot:giga` or `-nv`: a progress bar fills the log"),
    DlRule::new("DL3048", Style, "Label keys are well formed", "lower-case letters, digits and single `.`, `-`, `_` and `/`; com.docker., io.docker. and org.dockerproject. are reserved"),
    DlRule::new("DL3057", Off, "There is a HEALTHCHECK", "say how to tell whether the container works, or that it cannot be told: HEALTHCHECK NONE"),
    DlRule::new("DL3059", Info, "No RUN right after another", "each RUN is a layer: join them with `&&`"),
    DlRule::new("DL3060", Info, "yarn's cache is deleted", "end with `&& yarn cache clean`, or use a cache mount on yarn's cache"),
    DlRule::new("DL3062", Warning, "go installs given versions", "write `package@version`"),
    DlRule::new("DL3063", Warning, "Stage names are not reserved words", "`scratch` and `context` mean something else").also("ReservedStageName"),
    DlRule::new("DL3064", Warning, "No secrets in ARG and ENV", "they can be read from the image's history and config: use RUN --mount=type=secret").also("SecretsUsedInArgOrEnv"),
    DlRule::new("DL3065", Warning, "FROM without --platform=$TARGETPLATFORM", "that is the default: leave it out").also("RedundantTargetPlatform"),
    DlRule::new("DL3066", Info, "USER is a number", "a name is looked up in the image's /etc/passwd; what runs the container may have to know the number"),
    DlRule::new("DL3067", Warning, "No whole file systems from other stages", "start from that stage (FROM), or copy what is needed"),
    DlRule::new("DL4000", Error, "No MAINTAINER", "use LABEL org.opencontainers.image.authors").also("MaintainerDeprecated"),
    DlRule::new("DL4001", Warning, "wget or curl, not both", "use one of them"),
    DlRule::new("DL4003", Warning, "One CMD a stage", "only the last one counts").also("MultipleInstructionsDisallowed"),
    DlRule::new("DL4004", Error, "One ENTRYPOINT a stage", "only the last one counts").also("MultipleInstructionsDisallowed"),
    DlRule::new("DL4005", Warning, "SHELL instead of a link at /bin/sh", "use SHELL: it changes what runs RUN, and nothing else"),
    DlRule::new("DL4006", Warning, "Pipes fail when a part of them fails", "put `SHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]` or `set -o pipefail` before it"),
];
