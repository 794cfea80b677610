//! The forms that a `$` can start, up to where a nested word begins.

use nom::{
    IResult, Parser as _,
    branch::alt,
    bytes::complete::{tag, take_while, take_while1},
    character::complete::{anychar, char as this_char, satisfy},
    combinator::{map, opt, recognize},
    sequence::{pair, preceded},
};

/// What follows a `$`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dollar<'a> {
    /// Nothing that makes it a variable: the `$` is plain text.
    Literal,
    /// `$NAME` or `${NAME}`.
    Plain {
        /// The name; empty only if an odd character follows.
        name: &'a str,
        /// True for the form with braces.
        braced: bool,
    },
    /// `${NAME` and an operator; a word up to `}` follows.
    Operator {
        /// The name, perhaps empty.
        name: &'a str,
        /// True if a `:` came first: an empty value counts as unset.
        colon: bool,
        /// The operator; after a colon it may be any character.
        operator: char,
    },
    /// `${NAME/` or `${NAME//`; a pattern up to `/` follows.
    Replace {
        /// The name.
        name: &'a str,
        /// True for `//`.
        all: bool,
    },
    /// `${`, `${NAME` or `${NAME:` at the end of the input.
    Unclosed,
    /// `${}`, `${{` or `${:`.
    Bad,
    /// `${NAME` and a character that is no operator.
    Unsupported(char),
}

/// Reads what follows a `$`; returns the rest of the input and the form. Never fails.
pub(super) fn read(input: &str) -> (&str, Dollar<'_>) {
    let form = alt((
        preceded(this_char('{'), braced),
        map(name, |name| Dollar::Plain {
            name,
            braced: false,
        }),
    ))
    .parse(input);
    form.unwrap_or((input, Dollar::Literal))
}

/// What follows `${`.
fn braced(input: &str) -> IResult<&str, Dollar<'_>> {
    match input.chars().next() {
        None => return Ok((input, Dollar::Unclosed)),
        Some('{' | '}' | ':') => return Ok((input, Dollar::Bad)),
        Some(_) => {}
    }
    let (rest, name) = opt(name).parse(input)?;
    let name = name.unwrap_or_default();
    let form = alt((
        map(this_char('}'), |_| Dollar::Plain { name, braced: true }),
        map(preceded(this_char(':'), anychar), |operator| {
            Dollar::Operator {
                name,
                colon: true,
                operator,
            }
        }),
        map(satisfy(|c| "+-?#%".contains(c)), |operator| {
            Dollar::Operator {
                name,
                colon: false,
                operator,
            }
        }),
        map(pair(this_char('/'), opt(this_char('/'))), |(_, second)| {
            Dollar::Replace {
                name,
                all: second.is_some(),
            }
        }),
        map(tag(":"), |_| Dollar::Unclosed),
        map(anychar, Dollar::Unsupported),
    ))
    .parse(rest);
    let form: IResult<&str, Dollar<'_>> = form;
    Ok(form.unwrap_or((rest, Dollar::Unclosed)))
}

/// A name: digits, or one special parameter, or letters, digits and `_`.
fn name(input: &str) -> IResult<&str, &str> {
    alt((
        take_while1(is_digit),
        recognize(satisfy(|c| "@*#?-$!".contains(c))),
        recognize(pair(
            satisfy(is_name_start),
            take_while(|c| is_name_start(c) || is_digit(c)),
        )),
    ))
    .parse(input)
}

fn is_digit(c: char) -> bool {
    c.is_numeric()
}

fn is_name_start(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(name: &str, braced: bool) -> Dollar<'_> {
        Dollar::Plain { name, braced }
    }

    #[test]
    fn forms() {
        assert_eq!(read("A_b1-c"), ("-c", plain("A_b1", false)));
        assert_eq!(read("10x"), ("x", plain("10", false)));
        assert_eq!(read("$x"), ("x", plain("$", false)));
        assert_eq!(read("été!"), ("!", plain("été", false)));
        assert_eq!(read(".x"), (".x", Dollar::Literal));
        assert_eq!(read(""), ("", Dollar::Literal));
        assert_eq!(read("{A}b"), ("b", plain("A", true)));
        assert_eq!(read("{#}"), ("", plain("#", true)));
        let operator = |name, colon, operator| Dollar::Operator {
            name,
            colon,
            operator,
        };
        assert_eq!(read("{A:-b}"), ("b}", operator("A", true, '-')));
        assert_eq!(read("{A:}"), ("", operator("A", true, '}')));
        assert_eq!(read("{A%%b}"), ("%b}", operator("A", false, '%')));
        let replace = |name, all| Dollar::Replace { name, all };
        assert_eq!(read("{A/b"), ("b", replace("A", false)));
        assert_eq!(read("{A//b"), ("b", replace("A", true)));
        assert_eq!(read("{#A}"), ("}", Dollar::Unsupported('A')));
        assert_eq!(read("{.}"), ("}", Dollar::Unsupported('.')));
        for input in ["{", "{A", "{A:"] {
            assert_eq!(read(input).1, Dollar::Unclosed, "{input}");
        }
        for input in ["{}", "{{A}", "{:-b}"] {
            assert_eq!(read(input).1, Dollar::Bad, "{input}");
        }
    }
}
