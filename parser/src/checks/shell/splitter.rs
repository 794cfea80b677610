//! The splitter: one pass over the script, with a stack for what is open.

use super::{Command, Script, Word};

/// Splits a script. Whatever the text, there is an answer; what is not closed ends with the text.
pub(crate) fn split(text: &str) -> Script {
    let mut splitter = Splitter {
        text,
        position: 0,
        script: Script::default(),
        frames: Vec::new(),
        lists: vec![Commands::new(Closer::End)],
        n_backticks: 0,
        bodies: Vec::new(),
    };
    while let Some(character) = splitter.peek() {
        splitter.step(character);
    }
    while splitter.pop() {}
    let mut script = splitter.script;
    script
        .commands
        .retain(|command| !command.words.is_empty() || !command.assignments.is_empty());
    // A word in which commands are starts before them, but ends after.
    script.commands.sort_by_key(|command| {
        let words = command.assignments.first().or(command.words.first());
        words.map_or(0, |word| word.range.start)
    });
    script
}

/// What is open at some point of the script.
#[derive(Debug)]
enum Frame {
    /// A list of commands: the next of [`Splitter::lists`].
    Commands,
    /// `"…"`
    Quoted,
    /// `${…}`
    Braced,
    /// `$((…))` or `((…))`; how many parentheses are open in it.
    Arithmetic(usize),
}

/// What ends a list of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closer {
    End,
    Parenthesis,
    Backtick,
}

/// What the words of a command list are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A command's name and arguments.
    Command,
    /// No command: names and lists of `for`, the word of `case`, a function's name, elements of an
    /// array, `[[ … ]]`.
    Ignored,
    /// Patterns of `case`.
    Pattern,
}

/// A list of commands that is being read.
#[derive(Debug)]
struct Commands {
    closer: Closer,
    /// The command that is being read: its place in the script's list.
    current: Option<usize>,
    word: Option<Word>,
    role: Role,
    /// True after a redirection: the next word is its file.
    redirected: Option<Redirection>,
    /// How many `case … in` are open.
    n_cases: usize,
    /// True after `case`, up to its `in`.
    in_case_head: bool,
    /// True between `[[` and `]]`.
    in_test: bool,
    is_array: bool,
}

/// What the word after a redirection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Redirection {
    File,
    Heredoc { chomp: bool },
}

/// A heredoc whose body starts after the line.
#[derive(Debug)]
struct Body {
    name: String,
    chomp: bool,
}

impl Commands {
    fn new(closer: Closer) -> Self {
        Self {
            closer,
            current: None,
            word: None,
            role: Role::Command,
            redirected: None,
            n_cases: 0,
            in_case_head: false,
            in_test: false,
            is_array: false,
        }
    }
}

#[derive(Debug)]
struct Splitter<'a> {
    text: &'a str,
    position: usize,
    script: Script,
    frames: Vec<Frame>,
    /// The lists of commands that are open. Never empty: the first is the script.
    lists: Vec<Commands>,
    /// How many of them are ended by a backtick.
    n_backticks: usize,
    bodies: Vec<Body>,
}

impl<'a> Splitter<'a> {
    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or_default()
    }

    fn advance(&mut self, character: char) {
        self.position += character.len_utf8();
    }

    /// The innermost list of commands: words that are being read belong to it.
    fn commands(&mut self) -> Option<&mut Commands> {
        self.lists.last_mut()
    }

    /// Adds to the word that is being read, or starts one.
    fn push(&mut self, text: &str, start: usize) {
        let end = self.position.max(start);
        if let Some(commands) = self.commands() {
            let word = commands.word.get_or_insert_with(|| Word {
                range: start..start,
                ..Word::default()
            });
            word.text.push_str(text);
            word.range.end = end;
        }
    }

    fn mark_expanding(&mut self) {
        if let Some(Some(word)) = self.commands().map(|commands| &mut commands.word) {
            word.expands = true;
        }
    }

    fn step(&mut self, character: char) {
        if character == '`' {
            self.advance(character);
            self.backtick();
            return;
        }
        match self.frames.last_mut() {
            Some(Frame::Quoted) => self.quoted(character),
            Some(Frame::Braced) => self.braced(character),
            Some(Frame::Arithmetic(_)) => self.arithmetic(character),
            _ => self.plain(character),
        }
    }

    /// Ends the innermost backtick, with all that is open in it, or starts one.
    fn backtick(&mut self) {
        if self.n_backticks == 0 {
            self.open_substitution("$()", self.position - 1, Closer::Backtick);
            return;
        }
        loop {
            let closes = matches!(self.frames.last(), Some(Frame::Commands))
                && self.lists.last().map(|list| list.closer) == Some(Closer::Backtick);
            if !self.pop() || closes {
                return;
            }
        }
    }

    fn open_substitution(&mut self, shown: &str, start: usize, closer: Closer) {
        self.push(shown, start);
        self.mark_expanding();
        self.n_backticks += usize::from(closer == Closer::Backtick);
        self.open_list(Commands::new(closer));
    }

    fn open_list(&mut self, list: Commands) {
        self.frames.push(Frame::Commands);
        self.lists.push(list);
    }

    /// Closes what is innermost; false if that is the script itself.
    fn pop(&mut self) -> bool {
        if matches!(self.frames.last(), None | Some(Frame::Commands)) {
            self.end_command();
        }
        match self.frames.pop() {
            None => return false,
            Some(Frame::Commands) => {
                let list = self.lists.pop();
                let is_backtick = list.is_some_and(|list| list.closer == Closer::Backtick);
                self.n_backticks -= usize::from(is_backtick);
            }
            Some(_) => {}
        }
        self.extend_word();
        true
    }

    /// Lets the word that is being read, if any, reach to here.
    fn extend_word(&mut self) {
        let position = self.position;
        if let Some(Some(word)) = self.commands().map(|list| &mut list.word) {
            word.range.end = position;
        }
    }

    fn quoted(&mut self, character: char) {
        let start = self.position;
        self.advance(character);
        match character {
            '"' => {
                self.frames.pop();
                self.push("", start);
            }
            '\\' => match self.peek() {
                Some('\n') => self.advance('\n'),
                Some(escaped) => {
                    self.advance(escaped);
                    if !matches!(escaped, '"' | '\\' | '$' | '`') {
                        self.push("\\", start);
                    }
                    self.push(escaped.encode_utf8(&mut [0; 4]), start);
                }
                None => self.push("\\", start),
            },
            '$' => self.dollar(start),
            _ => self.push(character.encode_utf8(&mut [0; 4]), start),
        }
    }

    fn braced(&mut self, character: char) {
        let start = self.position;
        self.advance(character);
        match character {
            '}' => {
                self.push("}", start);
                self.frames.pop();
            }
            '\\' => {
                self.push("\\", start);
                self.take_raw();
            }
            '\'' => self.single_quoted(start),
            '"' => self.frames.push(Frame::Quoted),
            '$' => self.dollar(start),
            _ => self.push(character.encode_utf8(&mut [0; 4]), start),
        }
    }

    fn arithmetic(&mut self, character: char) {
        let start = self.position;
        self.advance(character);
        match (character, self.frames.last_mut()) {
            ('(', Some(Frame::Arithmetic(open))) => *open += 1,
            (')', Some(Frame::Arithmetic(open))) => {
                *open = open.saturating_sub(1);
                if *open == 0 {
                    self.frames.pop();
                    self.extend_word();
                }
            }
            ('$', _) => self.dollar(start),
            ('\\', _) => self.take_raw(),
            _ => {}
        }
    }

    /// Takes one character as it is.
    fn take_raw(&mut self) {
        if let Some(character) = self.peek() {
            let start = self.position;
            self.advance(character);
            self.push(character.encode_utf8(&mut [0; 4]), start);
        }
    }

    /// Takes what follows a `$`.
    fn dollar(&mut self, start: usize) {
        let in_quotes = matches!(self.frames.last(), Some(Frame::Quoted));
        let rest = self.rest();
        if rest.starts_with("((") {
            self.position += 2;
            self.push("$()", start);
            self.mark_expanding();
            self.frames.push(Frame::Arithmetic(2));
        } else if rest.starts_with('(') {
            self.position += 1;
            self.open_substitution("$()", start, Closer::Parenthesis);
        } else if rest.starts_with('{') {
            self.position += 1;
            self.push("${", start);
            self.mark_expanding();
            self.frames.push(Frame::Braced);
        } else if rest.starts_with('\'') && !in_quotes {
            self.position += 1;
            self.ansi_quoted(start);
        } else if rest.starts_with('"') && !in_quotes {
            // `$"…"` is `"…"` where there are no translations.
        } else {
            let length = variable_length(rest);
            let name = self.text.get(self.position..self.position + length);
            self.position += length;
            self.push("$", start);
            self.push(name.unwrap_or_default(), start);
            if length > 0 {
                self.mark_expanding();
            }
        }
    }

    /// Takes the rest of `'…'`.
    fn single_quoted(&mut self, start: usize) {
        let rest = self.rest();
        let length = rest.find('\'').unwrap_or(rest.len());
        let inner = self.position..self.position + length;
        self.position = (inner.end + 1).min(self.text.len());
        self.push(self.text.get(inner).unwrap_or_default(), start);
    }

    /// Takes the rest of `$'…'`; escapes other than of quotes are kept as written.
    fn ansi_quoted(&mut self, start: usize) {
        self.push("", start);
        while let Some(character) = self.peek() {
            self.advance(character);
            match character {
                '\'' => break,
                '\\' if matches!(self.peek(), Some('\'' | '\\' | '"')) => self.take_raw(),
                _ => self.push(character.encode_utf8(&mut [0; 4]), start),
            }
        }
        self.push("", start);
    }
}

/// Returns how long the name after a `$` is, or the special parameter.
fn variable_length(rest: &str) -> usize {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match rest.chars().next() {
        Some(c) if c.is_ascii_digit() || "@*#?$!-".contains(c) => 1,
        Some(c) if is_name(c) => rest.find(|c| !is_name(c)).unwrap_or(rest.len()),
        _ => 0,
    }
}

mod grammar;
