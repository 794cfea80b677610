//! From tokens to a tree, with the errors of Go's parser.

use std::collections::BTreeMap;

use crate::MAX_DEPTH;
use crate::ast::{Branch, Call, Command, Constant, Node, Operand, OperandKind, Pipe};
use crate::escape::{quoted, unquoted};
use crate::functions;
use crate::lex::{Keyword, Kind, Token, lex};
use crate::number;

pub(crate) struct Parsed {
    pub(crate) nodes: Vec<Node>,
    pub(crate) named: BTreeMap<String, Vec<Node>>,
}

/// What ended a list of nodes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    End,
    Else,
}

impl Stop {
    fn shown(self) -> &'static str {
        match self {
            Self::End => "{{end}}",
            Self::Else => "{{else}}",
        }
    }
}

/// A node, or the end of the list it would be in.
enum Item {
    Node(Node),
    Stop(Stop),
}

pub(crate) fn parse(text: &str) -> Result<Parsed, String> {
    let mut parser = Parser {
        tokens: lex(text),
        next: 0,
        variables: vec!["$".to_owned()],
        n_ranges: 0,
        depth: 0,
        action_line: 0,
        named: BTreeMap::new(),
    };
    let mut nodes = Vec::new();
    while parser.peek().kind != Kind::End {
        if parser.at_definition() {
            parser.definition()?;
            continue;
        }
        match parser.text_or_action()? {
            Item::Node(node) => nodes.push(node),
            Item::Stop(stop) => {
                return Err(parser.error(&format!("unexpected {}", stop.shown())));
            }
        }
    }
    Ok(Parsed {
        nodes,
        named: parser.named,
    })
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    variables: Vec<String>,
    n_ranges: usize,
    depth: usize,
    /// Where the action began that is being read; 0 outside of actions.
    action_line: usize,
    named: BTreeMap<String, Vec<Node>>,
}

impl Parser {
    /// The last token is the end or an error, and stays.
    fn at(&self, place: usize) -> &Token {
        &self.tokens[place.min(self.tokens.len() - 1)]
    }

    fn peek(&self) -> &Token {
        self.at(self.next)
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn skip_space(&mut self) {
        while self.peek().kind == Kind::Space {
            self.next += 1;
        }
    }

    fn peek_word(&mut self) -> &Token {
        self.skip_space();
        self.peek()
    }

    fn advance_word(&mut self) -> Token {
        self.skip_space();
        self.advance()
    }

    fn error(&self, message: &str) -> String {
        let line = self.at(self.next.saturating_sub(1)).line;
        format!("template: :{line}: {message}")
    }

    fn unexpected(&self, token: &Token, context: &str) -> String {
        if token.kind != Kind::Error {
            return self.error(&format!("unexpected {} in {context}", token.shown()));
        }
        let mut extra = String::new();
        if self.action_line != 0 && self.action_line != token.line {
            extra = format!(" in action started at :{}", self.action_line);
            if token.text.ends_with(" action") {
                extra = extra.replacen(" in action", "", 1);
            }
        }
        self.error(&format!("{}{extra}", token.text))
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Result<Token, String> {
        let token = self.advance_word();
        if token.kind == kind {
            Ok(token)
        } else {
            Err(self.unexpected(&token, context))
        }
    }

    fn at_definition(&self) -> bool {
        let mut place = self.next;
        if self.at(place).kind != Kind::LeftDelimiter {
            return false;
        }
        place += 1;
        while self.at(place).kind == Kind::Space {
            place += 1;
        }
        self.at(place).kind == Kind::Keyword(Keyword::Define)
    }

    fn definition(&mut self) -> Result<(), String> {
        const CONTEXT: &str = "define clause";
        self.next += 1;
        self.advance_word();
        let token = self.advance_word();
        let name = self.template_name(&token, CONTEXT)?;
        self.expect(Kind::RightDelimiter, CONTEXT)?;
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let (nodes, stop) = self.list()?;
        self.variables = outer;
        if stop != Stop::End {
            return Err(self.error(&format!("unexpected {} in {CONTEXT}", stop.shown())));
        }
        self.define(name, nodes);
        Ok(())
    }

    /// A template of blanks does not replace another.
    fn define(&mut self, name: String, nodes: Vec<Node>) {
        let is_empty = |node: &Node| matches!(node, Node::Text(text) if text.trim().is_empty());
        if !nodes.iter().all(is_empty) || !self.named.contains_key(&name) {
            self.named.insert(name, nodes);
        }
    }

    fn template_name(&self, token: &Token, context: &str) -> Result<String, String> {
        match token.kind {
            Kind::QuotedText | Kind::RawText => self.text_of(token),
            _ => Err(self.unexpected(token, context)),
        }
    }

    fn text_of(&self, token: &Token) -> Result<String, String> {
        unquoted(&token.text).ok_or_else(|| self.error("invalid syntax"))
    }

    /// Reads nodes up to `{{end}}` or `{{else}}`.
    fn list(&mut self) -> Result<(Vec<Node>, Stop), String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("blocks are nested too deep"));
        }
        let mut nodes = Vec::new();
        while self.peek_word().kind != Kind::End {
            match self.text_or_action()? {
                Item::Node(node) => nodes.push(node),
                Item::Stop(stop) => {
                    self.depth -= 1;
                    return Ok((nodes, stop));
                }
            }
        }
        self.next += 1;
        Err(self.error("unexpected EOF"))
    }

    fn text_or_action(&mut self) -> Result<Item, String> {
        let token = self.advance_word();
        match token.kind {
            Kind::Text => Ok(Item::Node(Node::Text(token.text))),
            Kind::LeftDelimiter => {
                self.action_line = token.line;
                let item = self.action();
                self.action_line = 0;
                item
            }
            _ => Err(self.unexpected(&token, "input")),
        }
    }

    fn action(&mut self) -> Result<Item, String> {
        let Kind::Keyword(keyword) = self.peek_word().kind else {
            let pipe = self.pipeline("command", Kind::RightDelimiter)?;
            return Ok(Item::Node(Node::Action(pipe)));
        };
        let token = self.advance();
        Ok(Item::Node(match keyword {
            Keyword::Block => self.block()?,
            Keyword::Break => {
                self.leave_range("{{break}}")?;
                Node::Break
            }
            Keyword::Continue => {
                self.leave_range("{{continue}}")?;
                Node::Continue
            }
            Keyword::Define => return Err(self.unexpected(&token, "command")),
            Keyword::Else => {
                let next = self.peek_word().kind;
                let continues = [Keyword::If, Keyword::With]
                    .map(Kind::Keyword)
                    .contains(&next);
                if !continues {
                    self.expect(Kind::RightDelimiter, "else")?;
                }
                return Ok(Item::Stop(Stop::Else));
            }
            Keyword::End => {
                self.expect(Kind::RightDelimiter, "end")?;
                return Ok(Item::Stop(Stop::End));
            }
            Keyword::If => Node::If(self.branch("if", Some(Keyword::If))?),
            Keyword::Range => Node::Range(self.branch("range", None)?),
            Keyword::Template => Node::Template(self.call(token.position)?),
            Keyword::With => Node::With(self.branch("with", Some(Keyword::With))?),
        }))
    }

    fn leave_range(&mut self, name: &str) -> Result<(), String> {
        self.expect(Kind::RightDelimiter, name)?;
        if self.n_ranges == 0 {
            return Err(self.error(&format!("{name} outside {{{{range}}}}")));
        }
        Ok(())
    }

    /// Reads `if`, `with` or `range`. After `else`, `again` may follow at once.
    fn branch(&mut self, context: &str, again: Option<Keyword>) -> Result<Branch, String> {
        let n_variables = self.variables.len();
        let is_range = usize::from(context == "range");
        let pipe = self.pipeline(context, Kind::RightDelimiter)?;
        self.n_ranges += is_range;
        let (list, stop) = self.list()?;
        self.n_ranges -= is_range;
        let mut otherwise = Vec::new();
        if stop == Stop::Else {
            let next = self.peek_word().kind;
            match again {
                Some(again) if next == Kind::Keyword(again) => {
                    self.next += 1;
                    self.depth += 1;
                    if self.depth > MAX_DEPTH {
                        return Err(self.error("blocks are nested too deep"));
                    }
                    let branch = self.branch(context, Some(again))?;
                    self.depth -= 1;
                    otherwise.push(if again == Keyword::If {
                        Node::If(branch)
                    } else {
                        Node::With(branch)
                    });
                }
                _ => {
                    let stop;
                    (otherwise, stop) = self.list()?;
                    if stop != Stop::End {
                        return Err(self.error(&format!("expected end; found {}", stop.shown())));
                    }
                }
            }
        }
        self.variables.truncate(n_variables);
        Ok(Branch {
            pipe,
            list,
            otherwise,
        })
    }

    fn block(&mut self) -> Result<Node, String> {
        const CONTEXT: &str = "block clause";
        let token = self.advance_word();
        let name = self.template_name(&token, CONTEXT)?;
        let pipe = self.pipeline(CONTEXT, Kind::RightDelimiter)?;
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let (nodes, stop) = self.list()?;
        self.variables = outer;
        if stop != Stop::End {
            return Err(self.error(&format!("unexpected {} in {CONTEXT}", stop.shown())));
        }
        self.define(name.clone(), nodes);
        Ok(Node::Template(Call {
            position: token.position,
            name,
            pipe: Some(pipe),
        }))
    }

    fn call(&mut self, position: usize) -> Result<Call, String> {
        const CONTEXT: &str = "template clause";
        let token = self.advance_word();
        let name = self.template_name(&token, CONTEXT)?;
        let pipe = if self.peek_word().kind == Kind::RightDelimiter {
            self.next += 1;
            None
        } else {
            Some(self.pipeline(CONTEXT, Kind::RightDelimiter)?)
        };
        Ok(Call {
            position,
            name,
            pipe,
        })
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Result<Pipe, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("parentheses are nested too deep"));
        }
        let mut pipe = Pipe {
            position: self.peek_word().position,
            is_assignment: false,
            variables: Vec::new(),
            commands: Vec::new(),
        };
        self.declarations(&mut pipe, context)?;
        loop {
            let token = self.advance_word();
            if token.kind == end {
                break;
            }
            if !begins_operand(token.kind) {
                return Err(self.unexpected(&token, context));
            }
            self.next -= 1;
            pipe.commands.push(self.command()?);
        }
        self.depth -= 1;
        if pipe.commands.is_empty() {
            return Err(self.error(&format!("missing value for {context}")));
        }
        for (place, command) in pipe.commands.iter().enumerate().skip(1) {
            if is_constant(&command.operands[0].kind) {
                let stage = place + 1;
                return Err(
                    self.error(&format!("non executable command in pipeline stage {stage}"))
                );
            }
        }
        Ok(pipe)
    }

    /// Reads `$x :=`, `$x =` or `$i, $x :=`.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Result<(), String> {
        while self.peek_word().kind == Kind::Variable {
            let start = self.next;
            let variable = self.advance();
            let next = self.peek_word().clone();
            match next.kind {
                Kind::Assign | Kind::Declare => {
                    self.next += 1;
                    pipe.is_assignment = next.kind == Kind::Assign;
                    pipe.variables.push(variable.text.clone());
                    self.variables.push(variable.text);
                    return Ok(());
                }
                Kind::Char if next.text == "," => {
                    self.next += 1;
                    pipe.variables.push(variable.text.clone());
                    self.variables.push(variable.text);
                    if context != "range" || pipe.variables.len() >= 2 {
                        return Err(self.error(&format!("too many declarations in {context}")));
                    }
                    if !matches!(
                        self.peek_word().kind,
                        Kind::Variable | Kind::RightDelimiter | Kind::RightParenthesis
                    ) {
                        return Err(self.error("range can only initialize variables"));
                    }
                }
                _ => {
                    self.next = start;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Result<Command, String> {
        let position = self.peek_word().position;
        let mut operands = Vec::new();
        loop {
            self.skip_space();
            operands.extend(self.operand()?);
            let token = self.advance();
            match token.kind {
                Kind::Space => {}
                Kind::RightDelimiter | Kind::RightParenthesis => {
                    self.next -= 1;
                    break;
                }
                Kind::Pipe => break,
                _ => return Err(self.unexpected(&token, "operand")),
            }
        }
        if operands.is_empty() {
            return Err(self.error("empty command"));
        }
        Ok(Command { position, operands })
    }

    fn operand(&mut self) -> Result<Option<Operand>, String> {
        let Some(operand) = self.term()? else {
            return Ok(None);
        };
        if self.peek().kind != Kind::Field {
            return Ok(Some(operand));
        }
        let position = self.peek().position;
        let mut fields = Vec::new();
        while self.peek().kind == Kind::Field {
            fields.push(self.advance().text[1..].to_owned());
        }
        let kind = match operand.kind {
            OperandKind::Field(mut names) => {
                names.extend(fields);
                OperandKind::Field(names)
            }
            OperandKind::Variable(mut names) => {
                names.extend(fields);
                OperandKind::Variable(names)
            }
            OperandKind::Function(_) | OperandKind::Pipe(_) | OperandKind::Chain(..) => {
                OperandKind::Chain(Box::new(operand), fields)
            }
            _ => {
                let term = quoted(&operand.to_string());
                return Err(self.error(&format!("unexpected . after term {term}")));
            }
        };
        Ok(Some(Operand { position, kind }))
    }

    fn term(&mut self) -> Result<Option<Operand>, String> {
        let token = self.advance_word();
        let kind = match token.kind {
            Kind::Identifier => {
                if !functions::exists(&token.text) {
                    let name = quoted(&token.text);
                    return Err(self.error(&format!("function {name} not defined")));
                }
                OperandKind::Function(token.text)
            }
            Kind::Dot => OperandKind::Dot,
            Kind::Nil => OperandKind::Nil,
            Kind::Variable => {
                if !self.variables.contains(&token.text) {
                    let name = quoted(&token.text);
                    return Err(self.error(&format!("undefined variable {name}")));
                }
                OperandKind::Variable(vec![token.text])
            }
            Kind::Field => OperandKind::Field(vec![token.text[1..].to_owned()]),
            Kind::Bool => OperandKind::Bool(token.text == "true"),
            Kind::Number => match number::constant(&token.text) {
                Some(constant) => OperandKind::Number(token.text, constant),
                None => {
                    let number = quoted(&token.text);
                    return Err(self.error(&format!("illegal number syntax: {number}")));
                }
            },
            Kind::CharConstant => {
                let value = unquoted(&token.text).unwrap_or_default();
                let mut characters = value.chars();
                match (characters.next(), characters.next()) {
                    (Some(character), None) => {
                        let code = i64::from(u32::from(character));
                        OperandKind::Number(token.text, Constant::Int(code))
                    }
                    _ => {
                        let text = &token.text;
                        return Err(self.error(&format!("malformed character constant: {text}")));
                    }
                }
            }
            Kind::QuotedText | Kind::RawText => {
                let value = self.text_of(&token)?;
                OperandKind::Text(token.text, value)
            }
            Kind::LeftParenthesis => {
                OperandKind::Pipe(self.pipeline("parenthesized pipeline", Kind::RightParenthesis)?)
            }
            _ => {
                self.next -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Operand {
            position: token.position,
            kind,
        }))
    }
}

fn begins_operand(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Bool
            | Kind::CharConstant
            | Kind::Dot
            | Kind::Field
            | Kind::Identifier
            | Kind::Number
            | Kind::Nil
            | Kind::RawText
            | Kind::QuotedText
            | Kind::Variable
            | Kind::LeftParenthesis
    )
}

fn is_constant(kind: &OperandKind) -> bool {
    matches!(
        kind,
        OperandKind::Bool(_)
            | OperandKind::Dot
            | OperandKind::Nil
            | OperandKind::Number(..)
            | OperandKind::Text(..)
    )
}
