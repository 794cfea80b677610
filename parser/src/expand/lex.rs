//! The machine that walks over a text: quotes, escapes and variables, on a stack of its own.

use super::{
    ExpandError, Expansion, Lookup, MAX_DEPTH, NoVariables, Words,
    dollar::{self, Dollar},
    frame::{Frame, Kind, Names, Role, Splitter},
    operator::Modifier,
    pattern::Pattern,
    settings::Settings,
    work::Work,
};

/// Splits a text into words, all variables unset.
pub(crate) fn split_literal(text: &str, settings: Settings) -> Result<Vec<String>, ExpandError> {
    Ok(process(text, settings, &NoVariables)?.into_words().words)
}

/// What a text became.
#[derive(Debug)]
pub(crate) struct Processed {
    text: String,
    words: Vec<String>,
    used: Names,
    undefined: Names,
}

impl Processed {
    pub(crate) fn into_expansion(self) -> Expansion {
        Expansion {
            text: self.text,
            used: self.used.order,
            undefined: self.undefined.order,
        }
    }

    pub(crate) fn into_words(self) -> Words {
        Words {
            words: self.words,
            used: self.used.order,
            undefined: self.undefined.order,
        }
    }
}

/// Walks over `text`.
pub(crate) fn process(
    text: &str,
    settings: Settings,
    lookup: &dyn Lookup,
) -> Result<Processed, ExpandError> {
    let mut machine = Machine {
        rest: text,
        settings,
        lookup,
        frames: Vec::new(),
        top: Frame::new(Kind::Root, settings.raw_escapes),
        words: Splitter::default(),
        used: Names::default(),
        undefined: Names::default(),
        work: Work::default(),
    };
    loop {
        match machine.step() {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Err(machine.locate(error)),
        }
    }
    Ok(Processed {
        text: machine.top.text,
        words: machine.words.finish(),
        used: machine.used,
        undefined: machine.undefined,
    })
}

/// How added text counts for the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Blanks in it separate words.
    Plain,
    /// It is one piece, whatever is in it.
    Quoted,
}

struct Machine<'a> {
    rest: &'a str,
    settings: Settings,
    lookup: &'a dyn Lookup,
    /// The frames around `top`.
    frames: Vec<Frame>,
    top: Frame,
    words: Splitter,
    used: Names,
    undefined: Names,
    work: Work,
}

impl<'a> Machine<'a> {
    /// Takes one piece of the input. False at the end.
    fn step(&mut self) -> Result<bool, ExpandError> {
        let Some(c) = self.rest.chars().next() else {
            return match self.top.kind {
                Kind::Root => Ok(false),
                Kind::Quoted => Err(ExpandError::OpenDoubleQuote),
                Kind::Operand { .. } => Err(ExpandError::MissingBrace),
            };
        };
        let in_quotes = matches!(self.top.kind, Kind::Quoted);
        if self.top.kind.stop() == Some(c) {
            self.skip(c);
            self.close()?;
        } else if c == '$' {
            self.skip(c);
            self.dollar()?;
        } else if c == '\'' && self.settings.quotes && !in_quotes {
            self.single_quoted()?;
        } else if c == '"' && self.settings.quotes {
            self.skip(c);
            self.push_frame(Kind::Quoted, self.top.raw_escapes)?;
            if self.settings.raw_quotes {
                self.top.text.push('"');
            }
        } else if c == self.settings.escape {
            self.skip(c);
            self.escaped(c, in_quotes)?;
        } else if c == '<' && !in_quotes {
            self.angle()?;
        } else {
            self.plain_run(in_quotes)?;
        }
        Ok(true)
    }

    fn skip(&mut self, c: char) {
        self.rest = &self.rest[c.len_utf8()..];
    }

    /// Appends to the innermost text.
    fn add(&mut self, text: &str, origin: Origin) -> Result<(), ExpandError> {
        self.work.add(text.len())?;
        self.top.text.push_str(text);
        Work::check_size(self.top.text.len())?;
        if self.settings.split && matches!(self.top.kind, Kind::Root) {
            match origin {
                Origin::Plain => self.words.add(text),
                Origin::Quoted => self.words.word.push_str(text),
            }
        }
        Ok(())
    }

    /// Takes characters that mean nothing.
    fn plain_run(&mut self, in_quotes: bool) -> Result<(), ExpandError> {
        let stop = self.top.kind.stop();
        let escape = self.settings.escape;
        let is_special = |c: char| {
            Some(c) == stop
                || c == '$'
                || c == escape
                || c == '"'
                || (!in_quotes && "'<".contains(c))
        };
        let first = self.rest.chars().next().map_or(0, char::len_utf8);
        let length = self.rest[first..]
            .find(is_special)
            .map_or(self.rest.len(), |length| first + length);
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.add(text, Origin::Plain)
    }

    /// Takes an escape character that is already skipped, and what it escapes.
    fn escaped(&mut self, escape: char, in_quotes: bool) -> Result<(), ExpandError> {
        let mut buffer = [0; 4];
        let escape_text: &str = escape.encode_utf8(&mut buffer);
        if self.top.raw_escapes {
            self.add(escape_text, Origin::Quoted)?;
        }
        let Some(next) = self.rest.chars().next() else {
            return Ok(());
        };
        // In quotes only what would mean something can be escaped.
        if in_quotes && next != '"' && next != '$' && next != escape {
            return self.add(escape_text, Origin::Quoted);
        }
        self.skip(next);
        self.add(next.encode_utf8(&mut [0; 4]), Origin::Quoted)
    }

    /// Takes `'…'`.
    fn single_quoted(&mut self) -> Result<(), ExpandError> {
        let inner = &self.rest[1..];
        let Some(length) = inner.find('\'') else {
            self.rest = "";
            return Err(ExpandError::OpenSingleQuote);
        };
        let text = if self.settings.raw_quotes {
            &self.rest[..length + 2]
        } else {
            &inner[..length]
        };
        self.rest = &inner[length + 1..];
        self.add(text, Origin::Quoted)
    }

    /// Takes `<`, or `<<` or `<<-` with the blanks after it: in a heredoc word they do not
    /// separate.
    fn angle(&mut self) -> Result<(), ExpandError> {
        let length = match self.rest[1..].strip_prefix('<') {
            Some(after) => {
                let after = after.strip_prefix('-').unwrap_or(after);
                self.rest.len() - after.trim_start().len()
            }
            None => 1,
        };
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.add(text, Origin::Quoted)
    }

    fn push_frame(&mut self, kind: Kind, raw_escapes: bool) -> Result<(), ExpandError> {
        if self.frames.len() >= MAX_DEPTH {
            return Err(ExpandError::TooDeep);
        }
        let outer = std::mem::replace(&mut self.top, Frame::new(kind, raw_escapes));
        self.frames.push(outer);
        Ok(())
    }

    /// Takes what follows a `$`.
    fn dollar(&mut self) -> Result<(), ExpandError> {
        let (rest, form) = dollar::read(self.rest);
        self.rest = rest;
        match form {
            Dollar::Literal => self.add("$", Origin::Plain),
            Dollar::Plain { name, braced } => match self.value(name) {
                None if self.settings.keep_unset && braced => {
                    self.add(&format!("${{{name}}}"), Origin::Plain)
                }
                None if self.settings.keep_unset => self.add(&format!("${name}"), Origin::Plain),
                value => self.add(value.unwrap_or_default(), Origin::Plain),
            },
            Dollar::Operator {
                name,
                colon,
                operator,
            } => self.push_frame(
                Kind::Operand {
                    name: name.to_owned(),
                    role: Role::Modifier { colon, operator },
                },
                matches!(operator, '#' | '%'),
            ),
            Dollar::Replace { name, all } => self.push_frame(
                Kind::Operand {
                    name: name.to_owned(),
                    role: Role::Pattern { all },
                },
                true,
            ),
            Dollar::Unclosed => Err(ExpandError::MissingBrace),
            Dollar::Bad => Err(ExpandError::BadSubstitution),
            Dollar::Unsupported(c) => Err(ExpandError::UnsupportedModifier(c.to_string())),
        }
    }

    /// Looks a variable up and remembers that it was asked for.
    fn value(&mut self, name: &str) -> Option<&'a str> {
        let value = self.lookup.get(name);
        match value {
            Some(_) => self.used.add(name),
            None => self.undefined.add(name),
        }
        value
    }

    /// Ends the innermost text, whose stop character is skipped, and gives it to the one around.
    fn close(&mut self) -> Result<(), ExpandError> {
        let Some(outer) = self.frames.pop() else {
            return Ok(()); // the outermost text has no stop character
        };
        let closed = std::mem::replace(&mut self.top, outer);
        let mut text = closed.text;
        match closed.kind {
            Kind::Root => Ok(()),
            Kind::Quoted => {
                if self.settings.raw_quotes {
                    text.push('"');
                }
                self.add(&text, Origin::Quoted)
            }
            Kind::Operand { name, role } => match role {
                Role::Pattern { all } => {
                    let role = Role::Replacement { all, pattern: text };
                    self.push_frame(Kind::Operand { name, role }, true)
                }
                Role::Replacement { all, pattern } => self.replace(&name, all, &pattern, &text),
                Role::Modifier { colon, operator } => self.modify(&name, colon, operator, text),
            },
        }
    }

    /// Adds what `${name/pattern/replacement}` yields.
    fn replace(
        &mut self,
        name: &str,
        all: bool,
        pattern: &str,
        replacement: &str,
    ) -> Result<(), ExpandError> {
        let value = self.value(name);
        let result = if value.is_none() && self.settings.keep_unset {
            format!("${{{name}/{pattern}/{replacement}}}")
        } else {
            let compiled = Pattern::parse(pattern)?;
            compiled.replace(value.unwrap_or_default(), replacement, all, &mut self.work)?
        };
        self.add(&result, Origin::Plain)
    }

    /// Adds what `${name<operator>word}` yields.
    fn modify(
        &mut self,
        name: &str,
        colon: bool,
        operator: char,
        word: String,
    ) -> Result<(), ExpandError> {
        let value = self.value(name);
        let modifier = Modifier {
            name,
            value,
            colon,
            operator,
        };
        let result = if value.is_none() && self.settings.keep_unset {
            format!("${{{name}{}{word}}}", modifier.symbol())
        } else {
            modifier.apply(word, &mut self.work)?
        };
        self.add(&result, Origin::Plain)
    }

    /// Returns what BuildKit says where `error` arose: at the end of the input, the outermost open
    /// `${` is to blame, whatever is wrong inside.
    fn locate(&self, error: ExpandError) -> ExpandError {
        let is_limit = matches!(
            error,
            ExpandError::TooLarge | ExpandError::TooDeep | ExpandError::TooExpensive
        );
        if !self.rest.is_empty() || is_limit {
            return error;
        }
        let around = self.frames.iter().chain([&self.top]);
        let outermost = around.into_iter().find_map(|frame| match &frame.kind {
            Kind::Operand {
                role: Role::Pattern { .. },
                ..
            } => Some(ExpandError::MissingSlash),
            Kind::Operand { .. } => Some(ExpandError::MissingBrace),
            Kind::Root | Kind::Quoted => None,
        });
        outermost.unwrap_or(error)
    }
}
