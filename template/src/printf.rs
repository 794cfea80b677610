//! `printf`

use crate::escape::{quoted, quoted_character};
use crate::format::{Names, push_value};
use crate::number::{general, not_finite, scientific, shortest};
use crate::value::Value;

/// Largest width and precision.
const MAX_NUMBER: usize = 1_000_000;

/// What stands between `%` and the verb.
#[derive(Debug, Clone, Copy, Default)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Go's `Sprintf`.
pub(crate) fn sprintf(format: &str, values: &[Value]) -> String {
    let mut printer = Printer {
        rest: format,
        values,
        next: 0,
        was_reordered: false,
        out: String::new(),
    };
    printer.run();
    printer.out
}

struct Printer<'a> {
    rest: &'a str,
    values: &'a [Value],
    next: usize,
    was_reordered: bool,
    out: String,
}

impl Printer<'_> {
    fn run(&mut self) {
        while let Some(place) = self.rest.find('%') {
            self.out.push_str(&self.rest[..place]);
            self.rest = &self.rest[place + 1..];
            self.directive();
        }
        self.out.push_str(self.rest);
        if !self.was_reordered && self.next < self.values.len() {
            self.extra();
        }
    }

    /// Arguments that nothing has asked for.
    fn extra(&mut self) {
        self.out.push_str("%!(EXTRA ");
        for (place, value) in self.values[self.next..].iter().enumerate() {
            if place > 0 {
                self.out.push_str(", ");
            }
            match value {
                Value::Nil => self.out.push_str("<nil>"),
                other => {
                    self.out.push_str(other.type_name());
                    self.out.push('=');
                    push_value(&mut self.out, other, Names::Hidden);
                }
            }
        }
        self.out.push(')');
    }

    fn directive(&mut self) {
        let mut spec = self.flags();
        let mut is_good_index = self.argument_index();
        if self.take("*") {
            spec.width = self.star("%!(BADWIDTH)", &mut spec.minus);
        } else {
            spec.width = self.number();
        }
        if self.take(".") {
            is_good_index &= self.argument_index();
            spec.precision = if self.take("*") {
                self.star("%!(BADPREC)", &mut false)
            } else {
                Some(self.number().unwrap_or(0))
            };
        }
        is_good_index &= self.argument_index();
        let Some(verb) = self.rest.chars().next() else {
            self.out.push_str("%!(NOVERB)");
            return;
        };
        self.rest = &self.rest[verb.len_utf8()..];
        if verb == '%' {
            self.out.push('%');
        } else if !is_good_index {
            self.complain(verb, "(BADINDEX)");
        } else if let Some(value) = self.values.get(self.next) {
            self.next += 1;
            print(&mut self.out, value, verb, spec);
        } else {
            self.complain(verb, "(MISSING)");
        }
    }

    fn complain(&mut self, verb: char, problem: &str) {
        self.out.push_str("%!");
        self.out.push(verb);
        self.out.push_str(problem);
    }

    fn flags(&mut self) -> Spec {
        let mut spec = Spec::default();
        while let Some(flag) = self.rest.chars().next() {
            match flag {
                '#' => spec.sharp = true,
                '0' => spec.zero = true,
                '+' => spec.plus = true,
                '-' => spec.minus = true,
                ' ' => spec.space = true,
                _ => break,
            }
            self.rest = &self.rest[1..];
        }
        spec
    }

    fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn number(&mut self) -> Option<usize> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit());
        let (digits, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        let number = digits.parse().ok().filter(|number| *number <= MAX_NUMBER);
        if number.is_some() {
            self.rest = rest;
        }
        number
    }

    /// `[3]`: which argument comes next. False if there is none such.
    fn argument_index(&mut self) -> bool {
        let Some(rest) = self.rest.strip_prefix('[') else {
            return true;
        };
        self.was_reordered = true;
        let Some((digits, rest)) = rest.split_once(']') else {
            return false;
        };
        self.rest = rest;
        match digits.parse::<usize>() {
            Ok(number) if (1..=self.values.len()).contains(&number) => {
                self.next = number - 1;
                true
            }
            _ => false,
        }
    }

    /// A width or precision from the arguments.
    fn star(&mut self, problem: &str, minus: &mut bool) -> Option<usize> {
        let value = self.values.get(self.next);
        self.next += usize::from(value.is_some());
        let number = match value {
            Some(Value::Int(number)) => *number,
            _ => {
                self.out.push_str(problem);
                return None;
            }
        };
        *minus |= number < 0;
        let number = usize::try_from(number.unsigned_abs()).ok();
        let number = number.filter(|number| *number <= MAX_NUMBER);
        if number.is_none() {
            self.out.push_str(problem);
        }
        number
    }
}

fn print(out: &mut String, value: &Value, verb: char, spec: Spec) {
    match (verb, value) {
        ('T', value) => pad(out, value.type_name(), spec),
        ('v', Value::Nil | Value::NilPointer) => pad(out, "<nil>", spec),
        (_, Value::Nil | Value::NilPointer) => {
            out.extend(["%!", verb.encode_utf8(&mut [0; 4]), "(<nil>)"]);
        }
        (_, Value::Bool(truth)) if "tv".contains(verb) => pad(out, &truth.to_string(), spec),
        (_, Value::Int(number)) => integer(out, *number, verb, spec),
        (_, Value::Float(number)) => float(out, *number, verb, spec),
        (_, Value::Number(text) | Value::Text(text)) if "svqxX".contains(verb) => {
            string(out, text, verb, spec);
        }
        (_, Value::List(items)) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(' ');
                }
                print(out, item, verb, spec);
            }
            out.push(']');
        }
        (_, Value::NilList) => out.push_str("[]"),
        (_, Value::NilMap) => out.push_str("map[]"),
        (_, Value::Object(object)) => {
            let is_map = object.is_map();
            out.push_str(if is_map { "map[" } else { "{" });
            for (place, (name, item)) in object.fields.iter().enumerate() {
                if place > 0 {
                    out.push(' ');
                }
                if is_map {
                    print(out, &Value::Text(name.clone()), verb, spec);
                    out.push(':');
                } else if spec.plus {
                    out.push_str(name);
                    out.push(':');
                }
                print(out, item, verb, spec);
            }
            out.push(if is_map { ']' } else { '}' });
        }
        _ => unfit(out, value, verb, spec),
    }
}

/// A verb that is not for this type.
fn unfit(out: &mut String, value: &Value, verb: char, spec: Spec) {
    let verb_text = verb.to_string();
    out.extend(["%!", &verb_text, "(", value.type_name(), "="]);
    print(out, value, 'v', spec);
    out.push(')');
}

fn string(out: &mut String, text: &str, verb: char, spec: Spec) {
    let cut: String = match spec.precision {
        Some(length) if !"xX".contains(verb) => text.chars().take(length).collect(),
        _ => text.to_owned(),
    };
    let shown = match verb {
        'q' if spec.sharp && !cut.contains('`') => format!("`{cut}`"),
        'q' => quoted(&cut),
        'v' if spec.sharp => quoted(&cut),
        'x' | 'X' => {
            let bytes = &cut.as_bytes()[..spec.precision.unwrap_or(cut.len()).min(cut.len())];
            let blank = if spec.space { " " } else { "" };
            let pairs: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let text = pairs.join(blank);
            if verb == 'X' {
                text.to_uppercase()
            } else {
                text
            }
        }
        _ => cut,
    };
    pad(out, &shown, spec);
}

fn integer(out: &mut String, number: i64, verb: char, spec: Spec) {
    let size = number.unsigned_abs();
    let character = || {
        u32::try_from(number)
            .ok()
            .and_then(char::from_u32)
            .unwrap_or('\u{fffd}')
    };
    let (prefix, digits) = match verb {
        'd' | 'v' => ("", size.to_string()),
        'b' => (if spec.sharp { "0b" } else { "" }, format!("{size:b}")),
        'o' => (if spec.sharp { "0" } else { "" }, format!("{size:o}")),
        'O' => ("0o", format!("{size:o}")),
        'x' => (if spec.sharp { "0x" } else { "" }, format!("{size:x}")),
        'X' => (if spec.sharp { "0X" } else { "" }, format!("{size:X}")),
        'c' => return pad(out, &character().to_string(), spec),
        'q' => return pad(out, &quoted_character(character()), spec),
        'U' => return pad(out, &format!("U+{number:04X}"), spec),
        _ => return unfit(out, &Value::Int(number), verb, spec),
    };
    let sign = sign(number < 0, spec);
    let n_digits = match spec.precision {
        Some(precision) => precision,
        None if spec.zero && !spec.minus => spec.width.unwrap_or(0).saturating_sub(sign.len()),
        None => 0,
    };
    let zeros = "0".repeat(n_digits.saturating_sub(digits.len()));
    let shown = format!("{sign}{prefix}{zeros}{digits}");
    pad(
        out,
        &shown,
        Spec {
            zero: false,
            ..spec
        },
    );
}

fn sign(is_negative: bool, spec: Spec) -> &'static str {
    if is_negative {
        "-"
    } else if spec.plus {
        "+"
    } else if spec.space {
        " "
    } else {
        ""
    }
}

fn float(out: &mut String, number: f64, verb: char, spec: Spec) {
    let size = number.abs();
    let digits = match verb {
        _ if !number.is_finite() => not_finite(size).trim_start_matches('+').to_owned(),
        'v' if spec.precision.is_none() => shortest(size),
        'g' | 'G' | 'v' => {
            let exponent_from = match spec.precision {
                Some(digits) => i32::try_from(digits.max(1)).unwrap_or(i32::MAX),
                None => 21,
            };
            general(size, spec.precision, exponent_from)
        }
        'f' | 'F' => format!("{size:.*}", spec.precision.unwrap_or(6)),
        'e' | 'E' => scientific(size, spec.precision),
        _ => return unfit(out, &Value::Float(number), verb, spec),
    };
    let digits = if "EG".contains(verb) {
        digits.to_uppercase()
    } else {
        digits
    };
    let sign = sign(number.is_sign_negative() && !number.is_nan(), spec);
    let width = spec.width.unwrap_or(0).saturating_sub(sign.len());
    let zeros = if spec.zero && !spec.minus && number.is_finite() {
        "0".repeat(width.saturating_sub(digits.len()))
    } else {
        String::new()
    };
    pad(
        out,
        &format!("{sign}{zeros}{digits}"),
        Spec {
            zero: false,
            ..spec
        },
    );
}

/// Fills a text up to the width, with blanks, or with zeros in front.
fn pad(out: &mut String, text: &str, spec: Spec) {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    if spec.minus {
        out.push_str(text);
        out.push_str(&" ".repeat(missing));
    } else {
        out.push_str(&if spec.zero { "0" } else { " " }.repeat(missing));
        out.push_str(text);
    }
}
