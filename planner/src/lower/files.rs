//! `COPY` and `ADD`.

use rbuild_image::digest::Digest;
use rbuild_parser::ast::{Add, Copy, Head, Transfer, TransferSource, Word};
use rbuild_parser::diagnostic::Diagnostic;
use rbuild_parser::span::Span;

use super::{Lowering, NewStep};
use crate::history;
use crate::messages;
use crate::paths;
use crate::plan::{Chmod, ContextName, FileSource, Files, StepKind, Tree, Unpack};
use crate::remote::{GitFault, GitSource, HttpSource, RemoteKind, mask_logins};
use crate::table::Place;

/// Where the paths of an instruction are looked for.
struct Origin {
    tree: Tree,
    step: Option<Place>,
}

/// What differs between the two instructions.
struct Mode {
    keyword: &'static str,
    unpack: Unpack,
    parents: bool,
    checksum: Option<String>,
    checksum_span: Span,
    keep_git_dir: Option<bool>,
}

/// Sources and destination, expanded.
struct Expanded {
    /// Paths as written, for history.
    paths: Vec<String>,
    heredocs: Vec<String>,
    sources: Vec<FileSource>,
    arguments: Vec<Span>,
    dest: String,
    dest_span: Span,
}

impl Lowering<'_, '_> {
    pub(super) fn copy(
        &mut self,
        copy: &Copy,
        head: &Head,
        source: Option<usize>,
    ) -> Result<(), Diagnostic> {
        let origin = match source {
            None => context(),
            Some(number) => self.files_of(number, copy.from.as_ref(), head)?,
        };
        let mode = Mode {
            keyword: "COPY",
            unpack: Unpack::Never,
            parents: copy.parents,
            checksum: None,
            checksum_span: head.line_span,
            keep_git_dir: None,
        };
        self.transfer(&copy.transfer, head, &mode, &origin)
    }

    pub(super) fn add(&mut self, add: &Add, head: &Head) -> Result<(), Diagnostic> {
        let checksum = self.expand_flag(add.checksum.as_ref())?;
        let checksum_span = add
            .checksum
            .as_ref()
            .map_or(head.line_span, |word| word.span);
        if checksum.is_some() && add.transfer.sources.len() != 1 {
            return Err(messages::checksum_of_several(checksum_span));
        }
        let mode = Mode {
            keyword: "ADD",
            unpack: match add.unpack {
                Some(true) => Unpack::Always,
                Some(false) => Unpack::Never,
                None => Unpack::Local,
            },
            parents: false,
            checksum,
            checksum_span,
            keep_git_dir: add.keep_git_dir,
        };
        self.transfer(&add.transfer, head, &mode, &context())
    }

    /// Returns where the files of the stage that `--from` names are.
    fn files_of(
        &self,
        number: usize,
        from: Option<&Word>,
        head: &Head,
    ) -> Result<Origin, Diagnostic> {
        let span = from.map_or(head.line_span, |word| word.span);
        if number == self.number {
            return Err(messages::circular(&self.node().label, &[head.line_span]));
        }
        if let Some(state) = &self.done[number] {
            // A directory need not become a root file system first.
            if let StepKind::Local { context } = self.shared.steps.kind(state.rootfs) {
                return Ok(Origin {
                    tree: Tree::Context(context.clone()),
                    step: None,
                });
            }
            return Ok(Origin {
                tree: Tree::Step(0),
                step: Some(state.rootfs),
            });
        }
        let is_later = number > self.number && number < self.stages.n_declared;
        if is_later {
            let name = from.map_or("", |word| word.value.as_str());
            return Err(messages::copy_from_later(name, &self.node().label, span));
        }
        // The stage is at fault itself, which has been reported: go on to find more.
        Ok(context())
    }

    fn transfer(
        &mut self,
        transfer: &Transfer,
        head: &Head,
        mode: &Mode,
        origin: &Origin,
    ) -> Result<(), Diagnostic> {
        let chown = self.expand_flag(transfer.chown.as_ref())?;
        let chmod_text = self.expand_flag(transfer.chmod.as_ref())?;
        let chmod_span = transfer
            .chmod
            .as_ref()
            .map_or(head.line_span, |word| word.span);
        let chmod = chmod_text
            .as_deref()
            .map(|text| parse_chmod(text, chmod_span))
            .transpose()?;
        // With --chmod a linked copy is an ordinary one, as in BuildKit.
        let link = transfer.link && chmod.is_none();
        if let (true, Some(chown), Some(word)) = (link, &chown, &transfer.chown)
            && !is_numeric_owner(chown)
        {
            return Err(messages::chown_name_with_link(chown, word.span));
        }
        let expanded = self.expand_transfer(transfer, head, mode, &origin.tree)?;
        let text = history_text(mode, chown.as_deref(), chmod_text.as_deref(), &expanded);
        let uses_step = !expanded.paths.is_empty();
        let mut arguments = expanded.arguments;
        arguments.push(expanded.dest_span);
        let mut display = self.display(&head.text);
        if mode.keyword == "ADD" {
            display = mask_logins(&display);
        }
        let step = NewStep {
            display,
            kind: StepKind::Files(Files {
                sources: expanded.sources,
                dest: self.state.resolve(self.state.working_dir(), &expanded.dest),
                dest_is_dir: paths::names_directory(&expanded.dest),
                chown,
                chmod,
                link,
                parents: mode.parents,
                exclude: transfer
                    .exclude
                    .iter()
                    .map(|word| word.value.clone())
                    .collect(),
                unpack: mode.unpack,
            }),
            span: head.span,
            arguments,
        };
        let sources: Vec<_> = origin.step.into_iter().filter(|_| uses_step).collect();
        let step = self.push(step, &sources)?;
        self.commit(history::layer(text), Some(step), head.line_span)
    }

    /// Expands sources and destination. Heredocs come after the paths: they are copied last.
    fn expand_transfer(
        &mut self,
        transfer: &Transfer,
        head: &Head,
        mode: &Mode,
        tree: &Tree,
    ) -> Result<Expanded, Diagnostic> {
        let mut expanded = Expanded {
            paths: Vec::new(),
            heredocs: Vec::new(),
            sources: Vec::new(),
            arguments: Vec::new(),
            dest: self.expand(&transfer.dest)?,
            dest_span: transfer.dest.span,
        };
        for source in &transfer.sources {
            if let TransferSource::Path(word) = source {
                let path = self.expand(word)?;
                let source = match remote_source(&path, mode, word.span)? {
                    Some(remote) => remote,
                    None => {
                        if paths::is_pattern(&path) && paths::climbs(&path) {
                            return Err(messages::climbing_pattern(&path, word.span));
                        }
                        self.check_ignored(mode.keyword, &path, tree, word.span);
                        path_source(&path, mode, tree)
                    }
                };
                expanded.sources.push(source);
                expanded.arguments.push(word.span);
                expanded.paths.push(path);
            }
        }
        for source in &transfer.sources {
            let TransferSource::Heredoc(number) = source else {
                continue;
            };
            let Some(heredoc) = head.heredocs.get(*number) else {
                return Err(messages::missing_heredoc(head.line_span));
            };
            let expansion = self.expander().heredoc(heredoc)?;
            self.warn_of_undefined(&expansion.undefined, heredoc.span);
            let name = paths::heredoc_file_name(&heredoc.name)
                .ok_or_else(|| messages::heredoc_name(&heredoc.name, head.line_span))?;
            expanded.sources.push(FileSource::Inline {
                name,
                content: expansion.text,
            });
            expanded.arguments.push(heredoc.span);
            expanded.heredocs.push(heredoc.name.clone());
        }
        Ok(expanded)
    }
}

fn context() -> Origin {
    Origin {
        tree: Tree::Context(ContextName::default()),
        step: None,
    }
}

fn path_source(path: &str, mode: &Mode, tree: &Tree) -> FileSource {
    let pattern = if mode.parents {
        paths::resolve_with_marker(path)
    } else {
        paths::resolve("/", path)
    };
    FileSource::Path {
        from: tree.clone(),
        wildcard: paths::is_pattern(&pattern),
        pattern,
    }
}

/// Returns the source that is to be fetched; refuses it where nothing is, and checksums of files that
/// are here.
fn remote_source(path: &str, mode: &Mode, span: Span) -> Result<Option<FileSource>, Diagnostic> {
    let is_copy = mode.keyword == "COPY";
    match RemoteKind::of(path) {
        Some(RemoteKind::Git) if is_copy => Err(messages::git_in_copy(span)),
        Some(RemoteKind::Url) if is_copy => Err(messages::url_in_copy(span)),
        Some(RemoteKind::Git) => git_source(path, mode, span).map(Some),
        Some(RemoteKind::Url) => {
            let checksum = mode.checksum.as_deref();
            let checksum = checksum
                .map(|text| parse_checksum(text, mode.checksum_span))
                .transpose()?;
            HttpSource::parse(path, checksum)
                .map(|source| Some(FileSource::Http(source)))
                .map_err(|problem| messages::bad_url(&problem, span))
        }
        None if mode.checksum.is_some() => Err(messages::checksum_of_local(mode.checksum_span)),
        None => Ok(None),
    }
}

fn git_source(path: &str, mode: &Mode, span: Span) -> Result<FileSource, Diagnostic> {
    let bad = |fault: GitFault| messages::bad_git(&fault.0, span);
    let mut source = GitSource::parse(path).map_err(bad)?;
    if let Some(checksum) = &mode.checksum {
        source.set_checksum(checksum).map_err(bad)?;
    }
    if let Some(keeps) = mode.keep_git_dir {
        source.set_keep_git_dir(keeps).map_err(bad)?;
    }
    Ok(FileSource::Git(source))
}

/// Reads `sha256:…`. BuildKit takes longer digests too, and then no file ever has them.
fn parse_checksum(text: &str, span: Span) -> Result<Digest, Diagnostic> {
    let Some((algorithm, hex)) = text.split_once(':') else {
        return Err(messages::checksum_format(span));
    };
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+._-".contains(c);
    let is_encoded = |c: char| c.is_ascii_alphanumeric() || "=_-".contains(c);
    if algorithm.is_empty()
        || hex.is_empty()
        || !algorithm.chars().all(is_name)
        || !hex.chars().all(is_encoded)
    {
        return Err(messages::checksum_format(span));
    }
    if algorithm != "sha256" {
        return Err(messages::checksum_algorithm(span));
    }
    if hex.chars().any(|c| c.is_ascii_uppercase()) {
        return Err(messages::checksum_format(span));
    }
    text.parse()
        .map_err(|_not_a_digest| messages::checksum_format(span))
}

fn history_text(
    mode: &Mode,
    chown: Option<&str>,
    chmod: Option<&str>,
    expanded: &Expanded,
) -> String {
    let mut words = vec![mode.keyword.to_owned()];
    words.extend(mode.parents.then(|| "--parents".to_owned()));
    words.extend(chown.map(|chown| format!("--chown={chown}")));
    words.extend(chmod.map(|chmod| format!("--chmod={chmod}")));
    words.extend(expanded.paths.iter().cloned());
    words.extend(expanded.heredocs.iter().map(|name| format!("<<{name}")));
    words.push(expanded.dest.clone());
    let text = words.join(" ");
    // Whoever has the image can read its history.
    if mode.keyword == "ADD" {
        mask_logins(&text)
    } else {
        text
    }
}

/// Reads a mode: what begins with a digit is octal, anything else must be clauses.
fn parse_chmod(text: &str, span: Span) -> Result<Chmod, Diagnostic> {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return u32::from_str_radix(text, 8)
            .ok()
            .filter(|bits| *bits <= 0o7777)
            .map(Chmod::Octal)
            .ok_or_else(|| messages::chmod_not_octal(text, span));
    }
    if text.split(',').all(is_clause) {
        Ok(Chmod::Symbolic(text.to_owned()))
    } else {
        Err(messages::chmod_syntax(text, span))
    }
}

/// Reports whether `clause` is `[ugoa]*` and then one action or more: `[-+=][rwxXstugo]*`.
fn is_clause(clause: &str) -> bool {
    let actions = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    actions.starts_with(['-', '+', '='])
        && actions
            .split(['-', '+', '='])
            .all(|permissions| permissions.chars().all(|c| "rwxXstugo".contains(c)))
}

/// Reports whether an owner needs no passwd file: numbers and `root`.
fn is_numeric_owner(owner: &str) -> bool {
    owner.split(':').all(|part| {
        part.is_empty() || part == "root" || part.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums() {
        let check = |text: &str| parse_checksum(text, Span::default());
        let good = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(check(&good).unwrap().to_string(), good);
        for (text, message) in [
            ("sha256:abc", "invalid checksum digest format"),
            ("rubbish", "invalid checksum digest format"),
            ("sha256:../../x", "invalid checksum digest format"),
            (
                "md5:5d41402abc4b2a76b9719d911017c592",
                "unsupported digest algorithm",
            ),
        ] {
            assert_eq!(check(text).unwrap_err().message, message, "{text}");
        }
        assert!(check(&good.to_uppercase()).is_err());
        assert!(check(&good.replace('a', "A")).is_err());
    }

    #[test]
    fn modes_are_octal_or_clauses() {
        let span = Span::default();
        for (text, expected) in [
            ("0644", Some(Chmod::Octal(0o644))),
            ("7777", Some(Chmod::Octal(0o7777))),
            ("u=rwX,go=rX", Some(Chmod::Symbolic("u=rwX,go=rX".into()))),
            ("+x", Some(Chmod::Symbolic("+x".into()))),
            ("a-w+x", Some(Chmod::Symbolic("a-w+x".into()))),
            ("u=g", Some(Chmod::Symbolic("u=g".into()))),
        ] {
            assert_eq!(parse_chmod(text, span).ok(), expected, "{text}");
        }
        for text in ["64a", "8", "10000", "0o755"] {
            let fault = parse_chmod(text, span).unwrap_err();
            assert!(
                fault.message.contains("it should be octal string"),
                "{text}"
            );
        }
        for text in ["zz", "u", "u=rwq", ",+x", "+x,", "x+"] {
            let fault = parse_chmod(text, span).unwrap_err();
            assert!(fault.message.contains("invalid syntax"), "{text}");
        }
    }

    #[test]
    fn owners_by_number() {
        for owner in ["0", "1:2", ":5", "root", "root:root", "1:"] {
            assert!(is_numeric_owner(owner), "{owner}");
        }
        for owner in ["app", "1:app", "app:1"] {
            assert!(!is_numeric_owner(owner), "{owner}");
        }
    }
}
