//! From a template's bytes to tokens.

use crate::escape::{character_name, quoted};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Error,
    Bool,
    /// Punctuation without a meaning of its own, e.g. a comma.
    Char,
    CharConstant,
    Assign,
    Declare,
    End,
    Field,
    Identifier,
    LeftDelimiter,
    LeftParenthesis,
    Nil,
    Number,
    Pipe,
    RawText,
    RightDelimiter,
    RightParenthesis,
    Space,
    QuotedText,
    Text,
    Variable,
    Dot,
    Keyword(Keyword),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Range,
    Template,
    With,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) position: usize,
    pub(crate) line: usize,
    pub(crate) text: String,
}

impl Token {
    /// The token in a message.
    pub(crate) fn shown(&self) -> String {
        match self.kind {
            Kind::End => "EOF".to_owned(),
            Kind::Error => self.text.clone(),
            Kind::Keyword(_) => format!("<{}>", self.text),
            _ if self.text.len() > 10 => {
                let start: String = self.text.chars().take(10).collect();
                format!("{}...", quoted(&start))
            }
            _ => quoted(&self.text),
        }
    }
}

const LEFT: &str = "{{";
const RIGHT: &str = "}}";

/// Splits a template into tokens; the last one is the end or an error.
pub(crate) fn lex(input: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        input,
        position: 0,
        start: 0,
        depth: 0,
        tokens: Vec::new(),
    };
    if let Err(message) = lexer.run() {
        lexer.push_text(Kind::Error, message);
    }
    lexer.tokens
}

struct Lexer<'a> {
    input: &'a str,
    position: usize,
    start: usize,
    depth: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<(), String> {
        loop {
            let Some(length) = self.rest().find(LEFT) else {
                self.position = self.input.len();
                self.push_plain(false);
                self.start = self.position;
                self.push(Kind::End);
                return Ok(());
            };
            self.position += length;
            let trims = starts_with_trim(&self.rest()[LEFT.len()..]);
            self.push_plain(trims);
            self.start = self.position;
            self.position += LEFT.len();
            let marker = if trims { 2 } else { 0 };
            if self.rest()[marker..].starts_with("/*") {
                self.position += marker;
                self.comment()?;
                continue;
            }
            self.push(Kind::LeftDelimiter);
            self.position += marker;
            self.start = self.position;
            self.depth = 0;
            while !self.step()? {}
        }
    }

    fn rest(&self) -> &str {
        &self.input[self.position..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.position += next.len_utf8();
        Some(next)
    }

    fn skip_while(&mut self, accepts: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&accepts) {
            self.next();
        }
    }

    fn push(&mut self, kind: Kind) {
        let text = self.input[self.start..self.position].to_owned();
        self.push_text(kind, text);
    }

    fn push_text(&mut self, kind: Kind, text: String) {
        let line = 1 + self.input[..self.start].matches('\n').count();
        self.tokens.push(Token {
            kind,
            position: self.start,
            line,
            text,
        });
        self.start = self.position;
    }

    /// Text between actions.
    fn push_plain(&mut self, trims: bool) {
        let text = &self.input[self.start..self.position];
        let text = if trims {
            text.trim_end_matches(is_space)
        } else {
            text
        };
        if !text.is_empty() {
            let text = text.to_owned();
            self.push_text(Kind::Text, text);
        }
    }

    fn comment(&mut self) -> Result<(), String> {
        self.position += "/*".len();
        let length = self.rest().find("*/").ok_or("unclosed comment")?;
        self.position += length + "*/".len();
        let (closes, trims) = self.at_right();
        if !closes {
            return Err("comment ends before closing delimiter".to_owned());
        }
        self.close(trims);
        self.start = self.position;
        Ok(())
    }

    /// Whether a right delimiter is next, and whether it has a trim marker.
    fn at_right(&self) -> (bool, bool) {
        let mut chars = self.rest().chars();
        if chars.next().is_some_and(is_space)
            && chars.next() == Some('-')
            && chars.as_str().starts_with(RIGHT)
        {
            return (true, true);
        }
        (self.rest().starts_with(RIGHT), false)
    }

    /// Goes behind a right delimiter and what it trims.
    fn close(&mut self, trims: bool) {
        self.position += if trims { 2 } else { 0 } + RIGHT.len();
        if trims {
            self.skip_while(is_space);
        }
    }

    /// Reads a token inside an action; true if it was the right delimiter.
    fn step(&mut self) -> Result<bool, String> {
        let (closes, trims) = self.at_right();
        if closes {
            if self.depth > 0 {
                return Err("unclosed left paren".to_owned());
            }
            let from = self.position + if trims { 2 } else { 0 };
            self.start = from;
            self.push_text(Kind::RightDelimiter, RIGHT.to_owned());
            self.close(trims);
            self.start = self.position;
            return Ok(true);
        }
        let Some(first) = self.next() else {
            return Err("unclosed action".to_owned());
        };
        match first {
            _ if is_space(first) => self.space(),
            '=' => self.push(Kind::Assign),
            ':' => {
                if self.next() != Some('=') {
                    return Err("expected :=".to_owned());
                }
                self.push(Kind::Declare);
            }
            '|' => self.push(Kind::Pipe),
            '"' => self.quoted('"', "unterminated quoted string", Kind::QuotedText)?,
            '\'' => self.quoted('\'', "unterminated character constant", Kind::CharConstant)?,
            '`' => {
                let length = self
                    .rest()
                    .find('`')
                    .ok_or("unterminated raw quoted string")?;
                self.position += length + 1;
                self.push(Kind::RawText);
            }
            '$' => self.name(Kind::Variable)?,
            '.' if !self.peek().is_some_and(|next| next.is_ascii_digit()) => {
                self.name(Kind::Dot)?;
            }
            '.' | '+' | '-' | '0'..='9' => self.number()?,
            _ if is_alphanumeric(first) => self.word()?,
            '(' => {
                self.depth += 1;
                self.push(Kind::LeftParenthesis);
            }
            ')' => {
                self.depth = self.depth.checked_sub(1).ok_or("unexpected right paren")?;
                self.push(Kind::RightParenthesis);
            }
            ' '..='~' => self.push(Kind::Char),
            _ => {
                return Err(format!(
                    "unrecognized character in action: {}",
                    character_name(first)
                ));
            }
        }
        Ok(false)
    }

    /// Reads blanks, all but one that belongs to a trim marker.
    fn space(&mut self) {
        self.skip_while(is_space);
        self.position -= 1;
        if self.at_right() != (true, true) {
            self.position += 1;
        }
        if self.position > self.start {
            self.push(Kind::Space);
        }
    }

    fn quoted(&mut self, quote: char, problem: &str, kind: Kind) -> Result<(), String> {
        loop {
            match self.next() {
                Some('\\') if self.peek().is_some_and(|next| next != '\n') => {
                    self.next();
                }
                None | Some('\n' | '\\') => return Err(problem.to_owned()),
                Some(next) if next == quote => break,
                Some(_) => {}
            }
        }
        self.push(kind);
        Ok(())
    }

    /// A variable, a field, or the dot or `$` alone.
    fn name(&mut self, alone: Kind) -> Result<(), String> {
        if self.at_end_of_word() {
            self.push(alone);
            return Ok(());
        }
        self.skip_while(is_alphanumeric);
        self.expect_end_of_word()?;
        self.push(if alone == Kind::Dot {
            Kind::Field
        } else {
            alone
        });
        Ok(())
    }

    fn word(&mut self) -> Result<(), String> {
        self.skip_while(is_alphanumeric);
        self.expect_end_of_word()?;
        let kind = match &self.input[self.start..self.position] {
            "true" | "false" => Kind::Bool,
            "nil" => Kind::Nil,
            "block" => Kind::Keyword(Keyword::Block),
            "break" => Kind::Keyword(Keyword::Break),
            "continue" => Kind::Keyword(Keyword::Continue),
            "define" => Kind::Keyword(Keyword::Define),
            "else" => Kind::Keyword(Keyword::Else),
            "end" => Kind::Keyword(Keyword::End),
            "if" => Kind::Keyword(Keyword::If),
            "range" => Kind::Keyword(Keyword::Range),
            "template" => Kind::Keyword(Keyword::Template),
            "with" => Kind::Keyword(Keyword::With),
            _ => Kind::Identifier,
        };
        self.push(kind);
        Ok(())
    }

    fn expect_end_of_word(&self) -> Result<(), String> {
        match self.peek() {
            Some(next) if !self.at_end_of_word() => {
                Err(format!("bad character {}", character_name(next)))
            }
            _ => Ok(()),
        }
    }

    fn at_end_of_word(&self) -> bool {
        match self.peek() {
            None => true,
            Some(next) => {
                is_space(next) || ".,|:()".contains(next) || self.rest().starts_with(RIGHT)
            }
        }
    }

    fn number(&mut self) -> Result<(), String> {
        self.position = self.start;
        self.accept("+-");
        let mut digits = "0123456789_";
        let mut exponent = "eE";
        if self.accept("0") {
            if self.accept("xX") {
                (digits, exponent) = ("0123456789abcdefABCDEF_", "pP");
            } else if self.accept("oO") {
                (digits, exponent) = ("01234567_", "");
            } else if self.accept("bB") {
                (digits, exponent) = ("01_", "");
            }
        }
        self.skip_while(|next| digits.contains(next));
        if self.accept(".") {
            self.skip_while(|next| digits.contains(next));
        }
        if self.accept(exponent) {
            self.accept("+-");
            self.skip_while(|next| "0123456789_".contains(next));
        }
        if self.peek().is_some_and(is_alphanumeric) {
            self.next();
            let text = &self.input[self.start..self.position];
            return Err(format!("bad number syntax: {}", quoted(text)));
        }
        self.push(Kind::Number);
        Ok(())
    }

    fn accept(&mut self, valid: &str) -> bool {
        let accepts = self.peek().is_some_and(|next| valid.contains(next));
        if accepts {
            self.next();
        }
        accepts
    }
}

fn starts_with_trim(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next() == Some('-') && chars.next().is_some_and(is_space)
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

fn is_alphanumeric(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}
