//! `--secret`: where the secrets of a build are.

use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rbuild_executor::{MAX_SECRET, SecretSource, Secrets};
use rbuild_parser::csv;

use crate::environment;
use crate::report::Failure;

/// What one `--secret` says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Typed {
    id: String,
    file: String,
    variable: String,
}

/// Reads the options. Files are looked for, but not yet read.
pub(crate) fn parse_all(options: &[String]) -> Result<Secrets, Failure> {
    let secret = |option: &String| {
        let typed = parse(option).map_err(Failure::Usage)?;
        let source = source(&typed)?;
        Ok((typed.id, source))
    };
    options.iter().map(secret).collect()
}

/// Reads `id=…,src=…` and so on; the messages are those of `docker build`.
fn parse(option: &str) -> Result<Typed, String> {
    let fields =
        csv::fields(option).map_err(|error| format!("failed to parse csv secret: {error}"))?;
    let mut typed = Typed::default();
    let mut is_variable = false;
    for field in fields {
        let Some((key, value)) = field.split_once('=') else {
            return Err(format!("invalid field '{field}' must be a key=value pair"));
        };
        let key = key.to_lowercase();
        match key.as_str() {
            "type" if matches!(value, "file" | "env") => is_variable = value == "env",
            "type" => return Err(format!("unsupported secret type \"{value}\"")),
            "id" => value.clone_into(&mut typed.id),
            "source" | "src" => value.clone_into(&mut typed.file),
            "env" => value.clone_into(&mut typed.variable),
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if is_variable && typed.variable.is_empty() {
        typed.variable = std::mem::take(&mut typed.file);
    }
    if typed.id.is_empty() {
        return Err("secret missing ID".to_owned());
    }
    Ok(typed)
}

/// An `id` alone names a variable or, if there is none, a file.
fn source(typed: &Typed) -> Result<SecretSource, Failure> {
    let value = |name: &str| environment::raw_variable(name).map(OsStringExt::into_vec);
    if !typed.variable.is_empty() {
        let value = value(&typed.variable).unwrap_or_default();
        return Ok(SecretSource::Value(value));
    }
    let file = if typed.file.is_empty() {
        if let Some(value) = value(&typed.id) {
            return Ok(SecretSource::Value(value));
        }
        &typed.id
    } else {
        &typed.file
    };
    let found = rustix::fs::stat(file.as_str()).map_err(|errno| {
        let reason = std::io::Error::from(errno);
        Failure::message(format!("failed to stat {file}: {reason}"))
    })?;
    if u64::try_from(found.st_size).is_ok_and(|size| size > MAX_SECRET) {
        let id = &typed.id;
        return Err(Failure::message(format!(
            "secret {id} too big. max size 500KB"
        )));
    }
    let path = environment::absolute(Path::new(file));
    Ok(SecretSource::File(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let typed = |id: &str, file: &str, variable: &str| {
            Ok(Typed {
                id: id.to_owned(),
                file: file.to_owned(),
                variable: variable.to_owned(),
            })
        };
        for (option, expected) in [
            ("id=a", typed("a", "", "")),
            ("id=a,src=/f", typed("a", "/f", "")),
            ("ID=a,Source=/f", typed("a", "/f", "")),
            ("id=a,env=V", typed("a", "", "V")),
            ("type=env,id=a,src=V", typed("a", "", "V")),
            ("type=file,id=a,src=V", typed("a", "V", "")),
            ("\"id=a,b\",src=f", typed("a,b", "f", "")),
        ] {
            assert_eq!(parse(option), expected, "{option}");
        }
    }

    #[test]
    fn faults_have_dockers_words() {
        for (option, message) in [
            ("type=x,id=a", "unsupported secret type \"x\""),
            ("id=a,foo=1", "unexpected key 'foo' in 'foo=1'"),
            ("a", "invalid field 'a' must be a key=value pair"),
            ("src=/f", "secret missing ID"),
        ] {
            assert_eq!(parse(option).unwrap_err(), message);
        }
    }
}
