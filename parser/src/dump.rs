//! The tree as text, one node a line with its place: for golden tests and for people. Stable: the
//! order is the file's, nothing depends on the machine.

use std::fmt::{self, Display, Formatter};

use crate::{
    Parsed,
    ast::{
        Add, CommandLine, Copy, From, Head, Healthcheck, Instruction, InstructionKind, KeyValues,
        Run, Stage, Transfer, TransferSource, Word,
    },
    quote::quote,
    span::Span,
};

/// Returns the tree and the findings of a parsed file. Every line is a node's name, its bytes as
/// `start..end`, and its value if it has one; children are indented by two blanks.
#[must_use]
pub fn dump(parsed: &Parsed) -> String {
    let mut tree = Tree::default();
    let file = &parsed.dockerfile;
    tree.line(&format!("escape {:?}", file.escape));
    for directive in &file.directives {
        let value = quote(&directive.value.value);
        let name = format!("directive {}", directive.name);
        tree.line(&format!("{name} {} {value}", At(directive.span)));
    }
    for instruction in &file.global_args {
        tree.instruction(instruction);
    }
    for stage in &file.stages {
        tree.stage(stage);
    }
    for found in &parsed.diagnostics {
        let severity = if found.is_error() { "error" } else { "warning" };
        tree.line(&format!(
            "{severity} {} {}: {}",
            At(found.span),
            found.code,
            found.message
        ));
    }
    tree.text
}

/// A place as `start..end`.
struct At(Span);

impl Display for At {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.0.start, self.0.end)
    }
}

#[derive(Default)]
struct Tree {
    text: String,
    depth: usize,
}

impl Tree {
    fn line(&mut self, text: &str) {
        self.text.extend(std::iter::repeat_n("  ", self.depth));
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn word(&mut self, name: &str, word: &Word) {
        let value = quote(&word.value);
        self.line(&format!("{name} {} {value}", At(word.span)));
    }

    fn words(&mut self, name: &str, words: &[Word]) {
        for word in words {
            self.word(name, word);
        }
    }

    fn option(&mut self, name: &str, word: Option<&Word>) {
        if let Some(word) = word {
            self.word(name, word);
        }
    }

    fn switch(&mut self, name: &str, value: Option<bool>) {
        if let Some(value) = value {
            self.line(&format!("{name} {value}"));
        }
    }

    fn stage(&mut self, stage: &Stage) {
        self.head("from", &stage.head);
        self.depth += 1;
        let From {
            platform,
            base,
            name,
            as_keyword,
        } = &stage.from;
        self.option("platform", platform.as_ref());
        self.word("base", base);
        self.option("as", as_keyword.as_ref());
        self.option("name", name.as_ref());
        self.heredocs(&stage.head);
        for instruction in &stage.instructions {
            self.instruction(instruction);
        }
        self.depth -= 1;
    }

    fn head(&mut self, name: &str, head: &Head) {
        self.words("comment", &head.comments);
        let keyword = &head.keyword.value;
        self.line(&format!("{name} {} keyword={keyword}", At(head.span)));
    }

    fn heredocs(&mut self, head: &Head) {
        for heredoc in &head.heredocs {
            let name = quote(&heredoc.name);
            let expand = if heredoc.expand { " expand" } else { "" };
            let chomp = if heredoc.chomp { " chomp" } else { "" };
            let body = quote(&heredoc.body);
            self.line(&format!(
                "heredoc {} {name} fd={}{expand}{chomp} {body}",
                At(heredoc.span),
                heredoc.file_descriptor
            ));
        }
    }

    fn instruction(&mut self, instruction: &Instruction) {
        let head = &instruction.head;
        self.head(&head.keyword.value.to_ascii_lowercase(), head);
        self.depth += 1;
        self.kind(&instruction.kind);
        self.heredocs(head);
        self.depth -= 1;
    }

    fn kind(&mut self, kind: &InstructionKind) {
        match kind {
            InstructionKind::Arg(declarations) => {
                for declaration in declarations {
                    self.word("name", &declaration.name);
                    self.option("default", declaration.default.as_ref());
                }
            }
            InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => self.pairs(pairs),
            InstructionKind::Run(run) => self.run(run),
            InstructionKind::Copy(copy) => self.copy(copy),
            InstructionKind::Add(add) => self.add(add),
            InstructionKind::Workdir(word)
            | InstructionKind::User(word)
            | InstructionKind::StopSignal(word)
            | InstructionKind::Maintainer(word) => self.word("value", word),
            InstructionKind::Expose(words)
            | InstructionKind::Volume(words)
            | InstructionKind::Shell(words) => self.words("word", words),
            InstructionKind::Healthcheck(check) => self.healthcheck(check),
            InstructionKind::Cmd(command) | InstructionKind::Entrypoint(command) => {
                self.command(command);
            }
            InstructionKind::Onbuild(onbuild) => self.word("trigger", &onbuild.trigger),
        }
    }

    fn pairs(&mut self, pairs: &KeyValues) {
        if pairs.legacy {
            self.line("legacy");
        }
        for (key, value) in &pairs.pairs {
            self.word("key", key);
            self.word("value", value);
        }
    }

    fn command(&mut self, command: &CommandLine) {
        match command {
            CommandLine::Shell(text) => self.word("shell", text),
            CommandLine::Exec(words) => {
                self.line("exec");
                self.words("word", words);
            }
        }
    }

    fn run(&mut self, run: &Run) {
        self.words("mount", &run.mounts);
        self.option("network", run.network.as_ref());
        self.option("security", run.security.as_ref());
        self.words("device", &run.devices);
        self.command(&run.command);
        if run.heredoc_only {
            self.line("heredoc-only");
        }
    }

    fn copy(&mut self, copy: &Copy) {
        self.option("from", copy.from.as_ref());
        self.switch("parents", copy.parents.then_some(true));
        self.transfer(&copy.transfer);
    }

    fn add(&mut self, add: &Add) {
        self.switch("keep-git-dir", add.keep_git_dir);
        self.option("checksum", add.checksum.as_ref());
        self.switch("unpack", add.unpack);
        self.transfer(&add.transfer);
    }

    fn transfer(&mut self, transfer: &Transfer) {
        self.option("chown", transfer.chown.as_ref());
        self.option("chmod", transfer.chmod.as_ref());
        self.switch("link", transfer.link.then_some(true));
        self.words("exclude", &transfer.exclude);
        for source in &transfer.sources {
            match source {
                TransferSource::Path(word) => self.word("source", word),
                TransferSource::Heredoc(index) => self.line(&format!("source heredoc {index}")),
            }
        }
        self.word("dest", &transfer.dest);
    }

    fn healthcheck(&mut self, check: &Healthcheck) {
        match check {
            Healthcheck::None => self.line("none"),
            Healthcheck::Cmd {
                command,
                interval,
                timeout,
                start_period,
                start_interval,
                retries,
            } => {
                self.line(&format!(
                    "interval={interval} timeout={timeout} start-period={start_period} \
                     start-interval={start_interval} retries={retries}"
                ));
                self.command(command);
            }
        }
    }
}
