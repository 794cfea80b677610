//! Filling a template with data.

use crate::ast::{Branch, Call, Command, Constant, Node, Operand, OperandKind, Pipe};
use crate::escape::quoted;
use crate::functions::{self, Param, Set};
use crate::value::{Shape, Value};
use crate::{Missing, Template, format};

/// How deep blocks, pipelines and templates in templates may go.
const MAX_DEPTH: usize = 400;

pub(crate) fn execute(
    template: &Template,
    data: &Value,
    missing: Missing,
    set: Set,
) -> Result<String, String> {
    let mut state = State {
        template,
        missing,
        set,
        name: "",
        variables: vec![("$", data.clone())],
        spot: Spot::Nowhere,
        depth: 0,
        out: String::new(),
    };
    state.walk(data, &template.nodes)?;
    Ok(state.out)
}

/// What is being looked at, for messages.
#[derive(Clone, Copy)]
enum Spot<'t> {
    Nowhere,
    Operand(&'t Operand),
    Command(&'t Command),
    Pipe(&'t Pipe),
    Call(&'t Call),
}

/// Whether a list was walked to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct State<'t> {
    template: &'t Template,
    missing: Missing,
    set: Set,
    /// Name of the template that is being filled.
    name: &'t str,
    variables: Vec<(&'t str, Value)>,
    spot: Spot<'t>,
    depth: usize,
    out: String,
}

impl<'t> State<'t> {
    fn error(&self, message: &str) -> String {
        let (position, context) = match self.spot {
            Spot::Nowhere => return format!("template: {}: {message}", self.name),
            Spot::Operand(operand) => (operand.position, operand.to_string()),
            Spot::Command(command) => (command.position, command.to_string()),
            Spot::Pipe(pipe) => (pipe.position, pipe.to_string()),
            Spot::Call(call) => (call.position, call.to_string()),
        };
        let before = &self.template.text[..position];
        let line = 1 + before.matches('\n').count();
        let column = before.len() - before.rfind('\n').map_or(0, |end| end + 1);
        let name = quoted(self.name);
        format!("template: :{line}:{column}: executing {name} at <{context}>: {message}")
    }

    fn fail<T>(&self, message: &str) -> Result<T, String> {
        Err(self.error(message))
    }

    fn enter(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail(&format!("exceeded maximum template depth ({MAX_DEPTH})"));
        }
        Ok(())
    }

    fn walk(&mut self, dot: &Value, nodes: &'t [Node]) -> Result<Flow, String> {
        self.enter()?;
        for node in nodes {
            let flow = self.walk_node(dot, node)?;
            if flow != Flow::On {
                self.depth -= 1;
                return Ok(flow);
            }
        }
        self.depth -= 1;
        Ok(Flow::On)
    }

    fn walk_node(&mut self, dot: &Value, node: &'t Node) -> Result<Flow, String> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipe) => {
                let value = self.pipeline(dot, pipe)?;
                if pipe.variables.is_empty() {
                    format::push_printed(&mut self.out, &value);
                }
            }
            Node::If(branch) | Node::With(branch) => {
                let n_variables = self.variables.len();
                let value = self.pipeline(dot, &branch.pipe)?;
                let is_with = matches!(node, Node::With(_));
                let flow = if !value.is_true() {
                    self.walk(dot, &branch.otherwise)?
                } else if is_with {
                    self.walk(&value, &branch.list)?
                } else {
                    self.walk(dot, &branch.list)?
                };
                self.variables.truncate(n_variables);
                return Ok(flow);
            }
            Node::Range(branch) => {
                let n_variables = self.variables.len();
                let flow = self.range(dot, branch)?;
                self.variables.truncate(n_variables);
                return Ok(flow);
            }
            Node::Template(call) => self.call(dot, call)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn range(&mut self, dot: &Value, branch: &'t Branch) -> Result<Flow, String> {
        let value = self.pipeline(dot, &branch.pipe)?;
        let mark = self.variables.len();
        let mut ran = false;
        match &value {
            Value::Int(n) => {
                if branch.pipe.variables.len() > 1 {
                    return self.fail(&format!(
                        "can't use {n} to iterate over more than one variable"
                    ));
                }
                for number in 0..*n {
                    ran = true;
                    let number = Value::Int(number);
                    if self.iterate(branch, mark, Value::Nil, &number)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::List(items) => {
                for (place, item) in items.iter().enumerate() {
                    ran = true;
                    let place = Value::Int(i64::try_from(place).unwrap_or(i64::MAX));
                    if self.iterate(branch, mark, place, item)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Object(object) if object.is_map() => {
                for (name, item) in &object.fields {
                    ran = true;
                    let name = Value::Text(name.clone());
                    if self.iterate(branch, mark, name, item)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Nil | Value::NilList | Value::NilMap => {}
            other => {
                let shown = format::shown(other);
                return self.fail(&format!("range can't iterate over {shown}"));
            }
        }
        if ran {
            return Ok(Flow::On);
        }
        self.walk(dot, &branch.otherwise)
    }

    /// One round of a `range`. The variables of its pipeline are the last ones before `mark`.
    fn iterate(
        &mut self,
        branch: &'t Branch,
        mark: usize,
        place: Value,
        item: &Value,
    ) -> Result<Flow, String> {
        let names = &branch.pipe.variables;
        let values = if names.len() > 1 {
            vec![place, item.clone()]
        } else {
            vec![item.clone()]
        };
        for (nth, (name, value)) in names.iter().zip(values).enumerate() {
            if branch.pipe.is_assignment {
                self.assign(name, value)?;
            } else {
                self.variables[mark - names.len() + nth].1 = value;
            }
        }
        let flow = self.walk(item, &branch.list)?;
        self.variables.truncate(mark);
        Ok(flow)
    }

    fn call(&mut self, dot: &Value, call: &'t Call) -> Result<(), String> {
        self.spot = Spot::Call(call);
        let template = self.template;
        let Some((name, nodes)) = template.named.get_key_value(&call.name) else {
            let name = quoted(&call.name);
            return self.fail(&format!("template {name} not defined"));
        };
        let data = match &call.pipe {
            Some(pipe) => self.pipeline(dot, pipe)?,
            None => Value::Nil,
        };
        let outer = std::mem::replace(&mut self.variables, vec![("$", data.clone())]);
        let outer_name = std::mem::replace(&mut self.name, name);
        self.spot = Spot::Call(call);
        self.walk(&data, nodes)?;
        self.variables = outer;
        self.name = outer_name;
        Ok(())
    }

    fn pipeline(&mut self, dot: &Value, pipe: &'t Pipe) -> Result<Value, String> {
        self.enter()?;
        self.spot = Spot::Pipe(pipe);
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(dot, command, value)?);
        }
        let value = value.unwrap_or(Value::Nil);
        for name in &pipe.variables {
            if pipe.is_assignment {
                self.assign(name, value.clone())?;
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        self.depth -= 1;
        Ok(value)
    }

    fn assign(&mut self, name: &str, value: Value) -> Result<(), String> {
        let found = self
            .variables
            .iter_mut()
            .rev()
            .find(|(found, _)| *found == name);
        match found {
            Some((_, place)) => *place = value,
            None => return self.fail(&format!("undefined variable: {name}")),
        }
        Ok(())
    }

    fn variable(&self, name: &str) -> Result<Value, String> {
        let mut variables = self.variables.iter().rev();
        match variables.find(|(found, _)| *found == name) {
            Some((_, value)) => Ok(value.clone()),
            None => self.fail(&format!("undefined variable: {name}")),
        }
    }

    /// Evaluates a command; `last` is the value of the one before it.
    fn command(
        &mut self,
        dot: &Value,
        command: &'t Command,
        last: Option<Value>,
    ) -> Result<Value, String> {
        let first = &command.operands[0];
        let has_arguments = command.operands.len() > 1 || last.is_some();
        if let OperandKind::Function(name) = &first.kind {
            self.spot = Spot::Operand(first);
            let arguments = &command.operands[1..];
            return self.function(dot, name, Spot::Command(command), arguments, last);
        }
        if let OperandKind::Pipe(pipe) = &first.kind {
            self.refuse_arguments(first, has_arguments)?;
            return self.pipeline(dot, pipe);
        }
        self.spot = Spot::Operand(first);
        match &first.kind {
            OperandKind::Field(_) | OperandKind::Chain(..) => {}
            OperandKind::Variable(names) if names.len() > 1 => {}
            _ => self.refuse_arguments(first, has_arguments)?,
        }
        if matches!(first.kind, OperandKind::Nil) {
            return self.fail("nil is not a command");
        }
        let value = self.operand(dot, first, has_arguments)?;
        Ok(value.unwrap_or(Value::Nil))
    }

    fn refuse_arguments(&self, first: &Operand, has_arguments: bool) -> Result<(), String> {
        if has_arguments {
            return self.fail(&format!("can't give argument to non-function {first}"));
        }
        Ok(())
    }

    /// Evaluates an operand; `None` is a field that nothing has.
    fn operand(
        &mut self,
        dot: &Value,
        operand: &'t Operand,
        has_arguments: bool,
    ) -> Result<Option<Value>, String> {
        self.spot = Spot::Operand(operand);
        Ok(Some(match &operand.kind {
            OperandKind::Function(name) => {
                self.function(dot, name, Spot::Operand(operand), &[], None)?
            }
            OperandKind::Variable(names) => {
                let value = self.variable(&names[0])?;
                return self.fields(Some(value), &names[1..], has_arguments);
            }
            OperandKind::Field(names) => {
                return self.fields(Some(dot.clone()), names, has_arguments);
            }
            OperandKind::Chain(inner, names) => {
                let value = self.operand(dot, inner, false)?;
                self.spot = Spot::Operand(operand);
                return self.fields(value, names, has_arguments);
            }
            OperandKind::Pipe(pipe) => self.pipeline(dot, pipe)?,
            OperandKind::Dot => dot.clone(),
            OperandKind::Nil => Value::Nil,
            OperandKind::Bool(truth) => Value::Bool(*truth),
            OperandKind::Number(_, Constant::Int(number)) => Value::Int(*number),
            OperandKind::Number(_, Constant::Float(number)) => Value::Float(*number),
            OperandKind::Text(_, text) => Value::text(text),
        }))
    }

    fn fields(
        &self,
        receiver: Option<Value>,
        names: &[String],
        has_arguments: bool,
    ) -> Result<Option<Value>, String> {
        let mut value = receiver;
        let mut is_interface = false;
        for (place, name) in names.iter().enumerate() {
            let is_called = has_arguments && place + 1 == names.len();
            let inner_is_interface = match &value {
                Some(Value::Object(object)) => object.shape == Shape::Any,
                _ => false,
            };
            value = self.field(value, name, is_interface, is_called)?;
            is_interface = inner_is_interface;
        }
        Ok(value)
    }

    fn field(
        &self,
        receiver: Option<Value>,
        name: &str,
        is_interface: bool,
        is_called: bool,
    ) -> Result<Option<Value>, String> {
        let Some(receiver) = receiver else {
            return match self.missing {
                Missing::Error => {
                    self.fail(&format!("nil data; no entry for key {}", quoted(name)))
                }
                Missing::NoValue => Ok(None),
            };
        };
        let type_name = match &receiver {
            Value::Nil => "interface {}",
            _ if is_interface => "interface {}",
            other => other.type_name(),
        };
        let found = match &receiver {
            Value::Nil | Value::NilPointer => {
                return self.fail(&format!("nil pointer evaluating {type_name}.{name}"));
            }
            Value::NilMap => None,
            Value::Object(object) => match object.get(name) {
                None if !object.is_map() => {
                    return self.fail(&format!("can't evaluate field {name} in type {type_name}"));
                }
                Some(_) if is_called && !object.is_map() => {
                    return self.fail(&format!(
                        "{name} has arguments but cannot be invoked as function"
                    ));
                }
                found => found.cloned(),
            },
            _ => {
                return self.fail(&format!("can't evaluate field {name} in type {type_name}"));
            }
        };
        if is_called {
            return self.fail(&format!("{name} is not a method but has arguments"));
        }
        match (found, self.missing) {
            (None, Missing::Error) => {
                self.fail(&format!("map has no entry for key {}", quoted(name)))
            }
            (found, _) => Ok(found),
        }
    }

    fn function(
        &mut self,
        dot: &Value,
        name: &'t str,
        spot: Spot<'t>,
        arguments: &'t [Operand],
        last: Option<Value>,
    ) -> Result<Value, String> {
        let Some(signature) = functions::signature(name) else {
            return self.fail(&format!("{} is not a defined function", quoted(name)));
        };
        let n_given = arguments.len() + usize::from(last.is_some());
        let n_wanted = signature.params.len();
        if signature.rest.is_some() && n_given < n_wanted {
            return self.fail(&format!(
                "wrong number of args for {name}: want at least {n_wanted} got {n_given}"
            ));
        }
        if signature.rest.is_none() && n_given != n_wanted {
            return self.fail(&format!(
                "wrong number of args for {name}: want {n_wanted} got {n_given}"
            ));
        }
        if name == "and" || name == "or" {
            return self.shortcut(dot, name == "or", arguments, last);
        }
        let param = |place: usize| {
            let fixed = signature.params.get(place).copied();
            fixed.or(signature.rest).unwrap_or(Param::Any)
        };
        let mut values = Vec::with_capacity(n_given);
        for (place, argument) in arguments.iter().enumerate() {
            values.push(self.argument(dot, argument, param(place))?);
        }
        if let Some(last) = last {
            let last = self.fitting(Some(last), param(arguments.len()))?;
            values.push(last);
        }
        let callee = arguments.first().map(ToString::to_string);
        functions::apply(name, self.set, &values, &callee.unwrap_or_default()).map_err(|problem| {
            self.spot = spot;
            self.error(&format!("error calling {name}: {problem}"))
        })
    }

    /// `and` and `or` evaluate no more than they need.
    fn shortcut(
        &mut self,
        dot: &Value,
        is_or: bool,
        arguments: &'t [Operand],
        last: Option<Value>,
    ) -> Result<Value, String> {
        let mut value = Value::Nil;
        for argument in arguments {
            value = self.argument(dot, argument, Param::Any)?;
            if value.is_true() == is_or {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    fn argument(
        &mut self,
        dot: &Value,
        operand: &'t Operand,
        param: Param,
    ) -> Result<Value, String> {
        self.spot = Spot::Operand(operand);
        let is_constant = matches!(
            operand.kind,
            OperandKind::Bool(_) | OperandKind::Number(..) | OperandKind::Text(..)
        );
        match (&operand.kind, param) {
            (OperandKind::Nil, Param::Text | Param::Int) => {
                self.fail(&format!("cannot assign nil to {}", param.type_name()))
            }
            (OperandKind::Text(..), Param::Text | Param::Any)
            | (OperandKind::Number(_, Constant::Int(_)), Param::Int) => {
                let value = self.operand(dot, operand, false)?;
                Ok(value.unwrap_or(Value::Nil))
            }
            (_, Param::Text) if is_constant => {
                self.fail(&format!("expected string; found {operand}"))
            }
            (_, Param::Int) if is_constant => {
                self.fail(&format!("expected integer; found {operand}"))
            }
            _ => {
                let value = self.operand(dot, operand, false)?;
                self.fitting(value, param)
            }
        }
    }

    /// Refuses a value that a parameter cannot take.
    fn fitting(&self, value: Option<Value>, param: Param) -> Result<Value, String> {
        let expected = param.type_name();
        match (value.unwrap_or(Value::Nil), param) {
            (value, Param::Any) => Ok(value),
            (value @ Value::Text(_), Param::Text) | (value @ Value::Int(_), Param::Int) => {
                Ok(value)
            }
            (Value::Nil, _) => self.fail(&format!("invalid value; expected {expected}")),
            (value, _) => self.fail(&format!(
                "wrong type for value; expected {expected}; got {}",
                value.type_name()
            )),
        }
    }
}
