//! What templates work with.

use std::rc::Rc;

/// A value as Go's reflection would see it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A nil interface.
    Nil,
    /// A nil pointer to a struct.
    NilPointer,
    /// A nil slice.
    NilList,
    /// A nil map.
    NilMap,
    /// `bool`
    Bool(bool),
    /// `int`
    Int(i64),
    /// `float64`
    Float(f64),
    /// `json.Number`: the digits of a number in a document of unknown type.
    Number(Rc<str>),
    /// `string`
    Text(Rc<str>),
    /// A slice.
    List(Rc<[Self]>),
    /// A struct or a map.
    Object(Rc<Object>),
}

/// What an object is in Go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A struct: fields have an order and are all there. Those of `omit` are left out of JSON when
    /// they are empty.
    Struct {
        /// Name of the type in messages.
        name: &'static str,
        /// Fields with `omitempty`.
        omit: &'static [&'static str],
        /// Go's names of fields that are called otherwise in JSON, and their names there.
        aliases: &'static [(&'static str, &'static str)],
    },
    /// A line of a list: fields as of a struct, JSON as of a map with HTML escaped.
    Row {
        /// Name of the type in messages.
        name: &'static str,
    },
    /// `map[string]interface {}`
    Any,
    /// `map[string]string`
    Texts,
    /// `map[string]struct{}`
    Set,
}

/// Fields by name; maps are sorted.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    pub(crate) shape: Shape,
    pub(crate) fields: Vec<(Rc<str>, Value)>,
    /// What templates can name but neither JSON nor a loop has.
    methods: Vec<(&'static str, Value)>,
}

impl Object {
    /// Returns the value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        let find = |name: &str| {
            let field = self.fields.iter().find(|(field, _)| **field == *name);
            field.map(|(_, value)| value)
        };
        let aliases = match self.shape {
            Shape::Struct { aliases, .. } => aliases,
            _ => &[],
        };
        let alias = || aliases.iter().find(|(alias, _)| *alias == name);
        let method = || {
            let mut methods = self.methods.iter();
            let (_, value) = methods.find(|(method, _)| *method == name)?;
            Some(value)
        };
        find(name).or_else(|| find(alias()?.1)).or_else(method)
    }

    /// Reports whether it is a map and no struct.
    pub(crate) fn is_map(&self) -> bool {
        !matches!(self.shape, Shape::Struct { .. } | Shape::Row { .. })
    }
}

impl Value {
    /// Makes an object. Fields of maps are sorted.
    #[must_use]
    pub fn object<K: AsRef<str>>(
        shape: Shape,
        fields: impl IntoIterator<Item = (K, Self)>,
    ) -> Self {
        let fields = fields.into_iter();
        let fields = fields.map(|(name, value)| (Rc::from(name.as_ref()), value));
        let mut object = Object {
            shape,
            fields: fields.collect(),
            methods: Vec::new(),
        };
        if object.is_map() {
            object.fields.sort_by(|a, b| a.0.cmp(&b.0));
        }
        Self::Object(Rc::new(object))
    }

    /// Gives an object methods: fields for templates alone.
    #[must_use]
    pub fn with_methods(mut self, methods: Vec<(&'static str, Self)>) -> Self {
        if let Self::Object(object) = &mut self {
            Rc::make_mut(object).methods = methods;
        }
        self
    }

    /// Makes a list of texts.
    #[must_use]
    pub fn texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        let texts = texts.into_iter();
        Self::List(texts.map(|text| Self::text(text.as_ref())).collect())
    }

    /// Makes a text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// Returns the value as a decoder of JSON without a type would give it: maps for structs, digits
    /// for numbers, no fields that JSON leaves out.
    #[must_use]
    pub fn untyped(&self) -> Self {
        match self {
            Self::NilPointer | Self::NilList | Self::NilMap => Self::Nil,
            Self::Int(number) => Self::Number(number.to_string().into()),
            Self::Float(number) => Self::Number(crate::number::shortest(*number).into()),
            Self::List(items) => Self::List(items.iter().map(Self::untyped).collect()),
            Self::Object(object) => Self::object(
                Shape::Any,
                crate::json::shown_fields(object).map(|(name, value)| (name, value.untyped())),
            ),
            _ => self.clone(),
        }
    }

    /// Go's name of the type.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::NilPointer => "*struct {}",
            Self::NilMap => "map[string]string",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Number(_) => "json.Number",
            Self::Text(_) => "string",
            Self::NilList => "[]string",
            Self::List(_) => "[]interface {}",
            Self::Object(object) => match object.shape {
                Shape::Struct { name, .. } | Shape::Row { name } => name,
                Shape::Any => "map[string]interface {}",
                Shape::Texts => "map[string]string",
                Shape::Set => "map[string]struct {}",
            },
        }
    }

    /// Go's truth: zero, empty and nil are false.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Nil | Self::NilPointer | Self::NilList | Self::NilMap => false,
            Self::Bool(truth) => *truth,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Number(text) | Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Object(object) => !object.is_map() || !object.fields.is_empty(),
        }
    }
}

impl From<serde_json::Value> for Value {
    /// A document of unknown type: numbers keep their digits.
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Nil,
            serde_json::Value::Bool(truth) => Self::Bool(truth),
            serde_json::Value::Number(number) => Self::Number(number.to_string().into()),
            serde_json::Value::String(text) => Self::Text(text.into()),
            serde_json::Value::Array(items) => {
                Self::List(items.into_iter().map(Self::from).collect())
            }
            serde_json::Value::Object(fields) => Self::object(
                Shape::Any,
                fields
                    .into_iter()
                    .map(|(name, value)| (name, Self::from(value))),
            ),
        }
    }
}
