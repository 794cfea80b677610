//! Outside quotes: words, operators, reserved words, redirections.

use super::{Body, Closer, Command, Commands, Frame, Redirection, Role, Splitter, Word};

impl Splitter<'_> {
    /// Takes something of a list of commands.
    pub(super) fn plain(&mut self, character: char) {
        let start = self.position;
        self.advance(character);
        match character {
            ' ' | '\t' | '\r' => self.end_word(),
            '\n' => self.newline(),
            '#' if self
                .commands()
                .is_some_and(|commands| commands.word.is_none()) =>
            {
                let rest = self.rest();
                self.position += rest.find('\n').unwrap_or(rest.len());
            }
            '\\' => match self.peek() {
                Some('\n') => self.advance('\n'),
                Some(_) => {
                    self.push("", start);
                    self.take_raw();
                }
                None => {}
            },
            '\'' => self.single_quoted(start),
            '"' => {
                self.push("", start);
                self.frames.push(Frame::Quoted);
            }
            '$' => self.dollar(start),
            '<' | '>' => self.redirection(character, start),
            '&' if self.rest().starts_with('>') => {
                self.end_word();
                self.advance('>');
                self.redirection('>', start);
            }
            ';' | '&' | '|' => self.operator(character, start),
            '(' => self.open_parenthesis(start),
            ')' => self.close_parenthesis(),
            _ => self.push(character.encode_utf8(&mut [0; 4]), start),
        }
    }

    fn newline(&mut self) {
        self.end_word();
        self.skip_bodies();
        self.end_command();
    }

    /// Skips the bodies of the heredocs that the line announced.
    fn skip_bodies(&mut self) {
        for body in std::mem::take(&mut self.bodies) {
            while self.position < self.text.len() {
                let rest = self.rest();
                let length = rest.find('\n').unwrap_or(rest.len());
                let line = rest.get(..length).unwrap_or_default();
                let line = match body.chomp {
                    true => line.trim_start_matches('\t'),
                    false => line,
                };
                let is_end = line == body.name;
                self.position = (self.position + length + 1).min(self.text.len());
                if is_end {
                    break;
                }
            }
        }
    }

    fn redirection(&mut self, character: char, start: usize) {
        let opens_process = self.rest().starts_with('(');
        if opens_process {
            self.advance('(');
            self.open_substitution("<()", start, Closer::Parenthesis);
            return;
        }
        // A number right before it is the file descriptor.
        if let Some(commands) = self.commands()
            && let Some(word) = &commands.word
            && word.range.end == start
            && !word.text.is_empty()
            && word.text.bytes().all(|byte| byte.is_ascii_digit())
        {
            commands.word = None;
        }
        self.end_word();
        let rest = self.rest();
        let (length, kind) = match character {
            '<' if rest.starts_with("<<") => (2, Redirection::File),
            '<' if rest.starts_with("<-") => (2, Redirection::Heredoc { chomp: true }),
            '<' if rest.starts_with('<') => (1, Redirection::Heredoc { chomp: false }),
            _ if rest.starts_with(['>', '&', '|']) => (1, Redirection::File),
            _ => (0, Redirection::File),
        };
        self.position += length;
        if let Some(commands) = self.commands() {
            commands.redirected = (!commands.in_test).then_some(kind);
        }
    }

    fn operator(&mut self, character: char, start: usize) {
        if self.commands().is_some_and(|commands| commands.in_test) {
            self.end_word();
            return;
        }
        self.end_word();
        let doubled = self.rest().starts_with(character);
        if doubled {
            self.advance(character);
        }
        let Some(commands) = self.commands() else {
            return;
        };
        if commands.role == Role::Pattern {
            return;
        }
        let n_cases = commands.n_cases;
        if character == '|' && !doubled {
            if self.rest().starts_with('&') {
                self.advance('&');
            }
            self.script.pipes.push(start);
        }
        // `;;`, `;&` and `;;&` end a branch of `case`.
        let ends_branch = character == ';' && (doubled || self.rest().starts_with('&'));
        if ends_branch && self.rest().starts_with('&') {
            self.advance('&');
        }
        self.end_command();
        if ends_branch
            && n_cases > 0
            && let Some(commands) = self.commands()
        {
            commands.role = Role::Pattern;
        }
    }

    fn open_parenthesis(&mut self, start: usize) {
        let rest = self.rest();
        let Some(list) = self.commands() else {
            return;
        };
        if list.in_test || list.role == Role::Pattern {
            self.end_word();
            return;
        }
        let word = list.word.as_ref();
        let is_array = word.is_some_and(|word| word.text.ends_with('='));
        if is_array {
            self.push("()", start);
            let mut elements = Commands::new(Closer::Parenthesis);
            elements.is_array = true;
            elements.role = Role::Ignored;
            self.open_list(elements);
        } else if rest.starts_with(')') {
            self.function();
        } else if rest.starts_with('(') && word.is_none() && list.current.is_none() {
            list.role = Role::Ignored;
            self.advance('(');
            self.frames.push(Frame::Arithmetic(2));
        } else {
            self.end_word();
            self.open_list(Commands::new(Closer::Parenthesis));
        }
    }

    /// Takes the `)` of `name()`: the name is no command.
    fn function(&mut self) {
        self.advance(')');
        let Some(list) = self.commands() else {
            return;
        };
        list.word = None;
        if let Some(index) = list.current.take()
            && let Some(command) = self.script.commands.get_mut(index)
        {
            *command = Command::default();
        }
    }

    fn close_parenthesis(&mut self) {
        self.end_word();
        let Some(commands) = self.commands() else {
            return;
        };
        if commands.in_test {
            return;
        }
        if commands.role == Role::Pattern {
            commands.role = Role::Command;
            return;
        }
        if commands.closer == Closer::Parenthesis {
            self.pop();
        } else {
            self.end_command();
        }
    }

    /// Ends the word that is being read and finds its place.
    pub(super) fn end_word(&mut self) {
        let Some(commands) = self.commands() else {
            return;
        };
        let Some(word) = commands.word.take() else {
            return;
        };
        match commands.redirected.take() {
            Some(Redirection::File) => return,
            Some(Redirection::Heredoc { chomp }) => {
                self.announce(word.text, chomp);
                return;
            }
            None => {}
        }
        let is_bare = word.range.len() == word.text.len();
        match commands.role {
            Role::Pattern => {
                if is_bare && word.text == "esac" {
                    commands.n_cases = commands.n_cases.saturating_sub(1);
                    commands.role = Role::Command;
                }
            }
            Role::Ignored => commands.ignored_word(&word.text),
            Role::Command => {
                let is_first = commands.current.is_none() && is_bare;
                if !(is_first && commands.reserved(&word)) {
                    self.command_word(word);
                }
            }
        }
    }

    fn announce(&mut self, name: String, chomp: bool) {
        self.bodies.push(Body { name, chomp });
        let index = self.current();
        if let Some(command) = self.script.commands.get_mut(index) {
            command.n_heredocs += 1;
        }
    }

    /// Returns the place of the command that is being read; it may be a new one.
    fn current(&mut self) -> usize {
        let next = self.script.commands.len();
        let index = match self.commands() {
            Some(commands) => *commands.current.get_or_insert(next),
            None => next,
        };
        if index == next {
            self.script.commands.push(Command::default());
        }
        index
    }

    fn command_word(&mut self, word: Word) {
        let index = self.current();
        let Some(command) = self.script.commands.get_mut(index) else {
            return;
        };
        if command.words.is_empty() && is_assignment(&word.text) {
            command.assignments.push(word);
        } else {
            command.words.push(word);
        }
    }

    /// Ends the command that is being read.
    pub(super) fn end_command(&mut self) {
        self.end_word();
        if let Some(commands) = self.commands() {
            commands.current = None;
            commands.redirected = None;
            if commands.role == Role::Ignored && !commands.is_array && !commands.in_case_head {
                commands.role = Role::Command;
            }
        }
    }
}

impl Commands {
    /// Takes a reserved word at the start of a command; false if it is none.
    fn reserved(&mut self, word: &Word) -> bool {
        match word.text.as_str() {
            "!" | "{" | "}" | "if" | "then" | "elif" | "else" | "fi" | "while" | "until" | "do"
            | "done" | "time" => {}
            "for" | "select" | "function" => self.role = Role::Ignored,
            "case" => {
                self.role = Role::Ignored;
                self.in_case_head = true;
            }
            "esac" if self.n_cases > 0 => self.n_cases -= 1,
            "[[" => {
                self.role = Role::Ignored;
                self.in_test = true;
            }
            _ => return false,
        }
        true
    }

    /// Takes a word that is no part of a command.
    fn ignored_word(&mut self, text: &str) {
        match text {
            "in" if self.in_case_head => {
                self.in_case_head = false;
                self.n_cases += 1;
                self.role = Role::Pattern;
            }
            "]]" if self.in_test => {
                self.in_test = false;
                self.role = Role::Command;
            }
            "{" if !self.is_array && !self.in_test => self.role = Role::Command,
            _ => {}
        }
    }
}

/// Tells whether a word is `NAME=…` or `NAME+=…`.
fn is_assignment(text: &str) -> bool {
    let Some((name, _)) = text.split_once('=') else {
        return false;
    };
    let name = name.strip_suffix('+').unwrap_or(name);
    let name = name.split('[').next().unwrap_or_default();
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
