//! BuildKit's own parser and shell vectors, from a corpus that lies beside the repository. The
//! folder is found through `RBUILD_CORPUS`; without it and without the usual place, nothing runs.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use rbuild_parser::{
    ast::{KeyValues, Word},
    expand::{self, ExpandError, Lookup as _},
    parse,
    quote::quote,
    syntax::{self, Arguments, Command, Statement, SyntaxFile, directive},
};
use serde_json::{Value, json};

#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn corpus() -> Option<PathBuf> {
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let folder = std::env::var_os("RBUILD_CORPUS").map_or(usual, PathBuf::from);
    if folder.join("parser").is_dir() {
        return Some(folder);
    }
    println!("skipped: no corpus at {}", folder.display());
    None
}

fn read(path: &Path) -> Vec<u8> {
    fs_err::read(path).unwrap()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&read(path)).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn texts(value: &Value) -> Vec<String> {
    list(value)
        .iter()
        .map(|item| text(item).to_owned())
        .collect()
}

/// Returns the number of the line, from 1, that holds the byte.
fn line_of(source: &[u8], offset: usize) -> usize {
    1 + source[..offset]
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count()
}

/// Returns the arguments as BuildKit's nodes hold them.
fn node_arguments(arguments: &Arguments) -> Vec<String> {
    let values = |words: &[Word]| words.iter().map(|word| word.value.clone()).collect();
    match arguments {
        Arguments::Words(words) | Arguments::Json(words) => values(words),
        Arguments::Declarations(declarations) => declarations
            .iter()
            .map(|found| match &found.default {
                Some(default) => format!("{}={}", found.name.value, default.value),
                None => found.name.value.clone(),
            })
            .collect(),
        Arguments::Text(word) => word.iter().map(|word| word.value.clone()).collect(),
        Arguments::Pairs(None) => Vec::new(),
        Arguments::Pairs(Some(KeyValues { pairs, legacy })) => {
            let separator = if *legacy { "" } else { "=" };
            let triple = |(key, value): &(Word, Word)| {
                [key.value.clone(), value.value.clone(), separator.to_owned()]
            };
            pairs.iter().flat_map(triple).collect()
        }
        Arguments::Typed(kind, rest) => {
            let mut all = vec![kind.value.clone()];
            all.extend(node_arguments(rest));
            all
        }
        Arguments::Trigger => vec![String::new()],
        Arguments::Nothing | Arguments::Invalid => Vec::new(),
    }
}

fn is_json(arguments: &Arguments) -> bool {
    match arguments {
        Arguments::Json(_) => true,
        Arguments::Typed(_, rest) => is_json(rest),
        _ => false,
    }
}

const KEYWORDS: &str = "add arg cmd copy entrypoint env expose from healthcheck label maintainer \
                        onbuild run shell stopsignal user volume workdir";

/// Returns what BuildKit's `Node.Dump` prints for a command and the ones that it triggers.
fn s_expression(commands: &[Command]) -> String {
    let (command, triggers) = commands.split_first().unwrap();
    let keyword = command.keyword.value.to_lowercase();
    let mut dump = keyword.clone();
    if !command.flags.is_empty() {
        let flags: Vec<String> = command
            .flags
            .iter()
            .map(|flag| quote(&flag.text()))
            .collect();
        dump = format!("{dump} [{}]", flags.join(" "));
    }
    if command.arguments == Arguments::Trigger {
        return format!("{dump} ({})", s_expression(triggers));
    }
    if !KEYWORDS.split(' ').any(|known| known == keyword) {
        return dump + " \"\"";
    }
    for argument in node_arguments(&command.arguments) {
        dump = format!("{dump} {}", quote(&argument));
    }
    dump
}

fn dump_file(file: &SyntaxFile) -> String {
    let lines = file
        .statements
        .iter()
        .map(|statement| format!("({})", s_expression(&statement.commands)));
    lines.collect::<Vec<String>>().join("\n")
}

/// Returns a command as the recorded trees have it.
fn node(commands: &[Command]) -> Value {
    let (command, triggers) = commands.split_first().unwrap();
    let mut node = json!({ "value": command.keyword.value });
    let keyword = command.keyword.value.to_lowercase();
    let mut arguments = node_arguments(&command.arguments);
    if !KEYWORDS.split(' ').any(|known| known == keyword) {
        arguments = vec![String::new()];
    }
    if !arguments.is_empty() {
        node["args"] = json!(arguments);
    }
    if !command.flags.is_empty() {
        let flags: Vec<String> = command.flags.iter().map(syntax::Flag::text).collect();
        node["flags"] = json!(flags);
    }
    if is_json(&command.arguments) {
        node["attributes"] = json!({ "json": true });
    }
    if command.arguments == Arguments::Trigger {
        node["children"] = json!([node_without_place(triggers)]);
    }
    node
}

fn node_without_place(commands: &[Command]) -> Value {
    let command = &commands[0];
    let mut child = node(commands);
    let original = format!("{} {}", command.keyword.value, command.text.value);
    child["original"] = json!(original.trim());
    child["start_line"] = json!(0);
    child["end_line"] = json!(0);
    child
}

fn statement_node(source: &[u8], statement: &Statement) -> Value {
    let head = &statement.head;
    let mut node = node(&statement.commands);
    node["original"] = json!(head.text);
    node["start_line"] = json!(line_of(source, head.span.start));
    node["end_line"] = json!(line_of(source, head.span.end));
    if !head.heredocs.is_empty() {
        let heredocs: Vec<Value> = head
            .heredocs
            .iter()
            .map(|heredoc| {
                json!({
                    "name": heredoc.name,
                    "fd": heredoc.file_descriptor,
                    "expand": heredoc.expand,
                    "chomp": heredoc.chomp,
                    "content": heredoc.body,
                })
            })
            .collect();
        node["heredocs"] = json!(heredocs);
    }
    if !head.comments.is_empty() {
        let comments: Vec<&str> = head.comments.iter().map(|c| c.value.as_str()).collect();
        node["prev_comment"] = json!(comments);
    }
    node
}

/// Compares a file with its record; returns what differs.
fn check_record(source: &[u8], record: &Value) -> Vec<String> {
    let file = syntax::parse_syntax(source);
    let parsed = parse(source);
    let mut problems = Vec::new();
    if let Some(error) = record.get("error") {
        let found = parsed.diagnostics.iter().find(|found| found.is_error());
        let message = found.map(|found| found.message.as_str());
        // BuildKit's parser and its frontend word this one differently; we have the frontend's.
        let is_same = message == Some(text(error))
            || (source.is_empty() && message == Some("the Dockerfile cannot be empty"));
        if !is_same {
            problems.push(format!("expected error {error}, found {message:?}"));
        }
        return problems;
    }
    if text(&record["escape"]) != file.escape.to_string() {
        problems.push(format!("escape is {:?}", file.escape));
    }
    let dump = dump_file(&file);
    if dump != text(&record["sexpr"]) {
        problems.push(format!(
            "dump is\n{dump}\nexpected\n{}",
            text(&record["sexpr"])
        ));
    }
    let expected = list(&record["instructions"]);
    if expected.len() != file.statements.len() {
        problems.push(format!("{} statements", file.statements.len()));
    }
    for (statement, expected) in file.statements.iter().zip(expected) {
        let mut expected = expected.clone();
        expected["original"] = json!(text(&expected["original"]).trim());
        let found = statement_node(source, statement);
        if found != expected {
            problems.push(format!("found    {found}\nexpected {expected}"));
        }
    }
    let warnings: Vec<&str> = parsed
        .diagnostics
        .iter()
        .filter(|found| found.code == "NoEmptyContinuation")
        .map(|found| {
            let holds = |statement: &&Statement| {
                let span = statement.head.span;
                span.start <= found.span.start && found.span.end <= span.end
            };
            file.statements
                .iter()
                .find(holds)
                .unwrap()
                .head
                .text
                .as_str()
        })
        .collect();
    let expected = texts(record.get("warnings").unwrap_or(&Value::Null));
    let found: Vec<String> = warnings
        .iter()
        .map(|line| format!("Empty continuation line found in: {line}"))
        .collect();
    if found != expected {
        problems.push(format!("warnings {found:?}, expected {expected:?}"));
    }
    problems
}

fn check_records(records: &Path, folder: &Path) {
    let mut problems = Vec::new();
    let mut n_records = 0;
    for line in String::from_utf8(read(records)).unwrap().lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let name = text(&record["file"]);
        n_records += 1;
        for problem in check_record(&read(&folder.join(name)), &record) {
            problems.push(format!("{name}: {problem}"));
        }
    }
    assert!(n_records > 0);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn recorded_test_files() {
    let Some(corpus) = corpus() else { return };
    let parser = corpus.join("parser");
    check_records(&parser.join("testfiles-ast.jsonl"), &parser);
}

#[test]
fn recorded_corpus_files() {
    let Some(corpus) = corpus() else { return };
    check_records(&corpus.join("parser/corpus-ast.jsonl"), &corpus);
}

#[test]
fn test_file_dumps() {
    let Some(corpus) = corpus() else { return };
    let mut n_files = 0;
    for folder in fs_err::read_dir(corpus.join("parser/testfiles")).unwrap() {
        let folder = folder.unwrap().path();
        let file = syntax::parse_syntax(&read(&folder.join("Dockerfile")));
        let expected = String::from_utf8(read(&folder.join("result"))).unwrap();
        assert_eq!(
            dump_file(&file),
            expected.trim_end(),
            "{}",
            folder.display()
        );
        n_files += 1;
    }
    assert!(n_files > 30);
}

#[test]
fn negative_test_files() {
    let Some(corpus) = corpus() else { return };
    for folder in fs_err::read_dir(corpus.join("parser/testfiles-negative")).unwrap() {
        let folder = folder.unwrap().path();
        let parsed = parse(&read(&folder.join("Dockerfile")));
        assert!(parsed.has_errors(), "{}", folder.display());
    }
}

#[test]
fn line_numbers() {
    let Some(corpus) = corpus() else { return };
    let folder = corpus.join("parser/testfile-line");
    let source = read(&folder.join("Dockerfile"));
    let file = syntax::parse_syntax(&source);
    let lines: Vec<Value> = file
        .statements
        .iter()
        .map(|statement| {
            json!({
                "start_line": line_of(&source, statement.head.span.start),
                "end_line": line_of(&source, statement.head.span.end),
            })
        })
        .collect();
    assert_eq!(
        json!(lines),
        read_json(&folder.join("expected.json"))["children"]
    );
}

#[test]
fn words() {
    let Some(corpus) = corpus() else { return };
    let vectors = read_json(&corpus.join("parser/vectors.json"));
    for case in list(&vectors["parse_words"]["cases"]) {
        let source = format!("ARG {}", text(&case["input"]));
        let file = syntax::parse_syntax(source.as_bytes());
        let found = node_arguments(&file.statements[0].commands[0].arguments);
        assert_eq!(json!(found), case["expected"]);
    }
    for case in list(&vectors["name_val"]["cases"]) {
        let source = format!("{} {}", text(&case["key"]), text(&case["rest"]));
        let file = syntax::parse_syntax(source.as_bytes());
        if let Some(error) = case.get("error_contains") {
            assert!(file.diagnostics[0].message.contains(text(error)));
        } else {
            let found = node_arguments(&file.statements[0].commands[0].arguments);
            assert_eq!(json!(found), case["expected"]);
        }
    }
}

#[test]
fn json_arrays() {
    let Some(corpus) = corpus() else { return };
    let vectors = read_json(&corpus.join("parser/vectors.json"));
    for case in list(&vectors["json_arrays"]["valid"]) {
        let source = format!("CMD {}", text(&case["input"]));
        let file = syntax::parse_syntax(source.as_bytes());
        let arguments = &file.statements[0].commands[0].arguments;
        assert!(is_json(arguments), "{source}");
        assert_eq!(json!(node_arguments(arguments)), case["expected"]);
    }
    for input in list(&vectors["json_arrays"]["invalid"]) {
        let source = format!("CMD {}", text(input));
        let file = syntax::parse_syntax(source.as_bytes());
        let message = &file.diagnostics[0].message;
        assert_eq!(
            message,
            "when using JSON array syntax, arrays must be comprised of strings only"
        );
    }
}

/// Returns the names of the heredocs of `RUN` and this text; the bodies are empty.
fn heredoc_names(line: &str, names: &[&str]) -> Vec<String> {
    let mut source = line.to_owned();
    for name in names {
        source = format!("{source}\n{name}");
    }
    let file = syntax::parse_syntax(source.as_bytes());
    let heredocs = &file.statements[0].head.heredocs;
    heredocs
        .iter()
        .map(|heredoc| heredoc.name.clone())
        .collect()
}

#[test]
fn heredoc_words() {
    let Some(corpus) = corpus() else { return };
    let vectors = read_json(&corpus.join("parser/vectors.json"));
    let helpers = &vectors["heredoc_helpers"];
    for word in list(&helpers["valid_name_EOF"]) {
        let names = heredoc_names(&format!("RUN {}", text(word)), &["EOF"]);
        assert_eq!(names, ["EOF"], "{word}");
    }
    for word in list(&helpers["invalid"])
        .iter()
        .chain(list(&helpers["not_heredocs"]))
    {
        // `<<EOF sh` is no heredoc as a word, but a line with one.
        if text(word).contains(' ') {
            continue;
        }
        let names = heredoc_names(&format!("RUN {}", text(word)), &["EOF"]);
        assert!(names.is_empty(), "{word}");
    }
    for case in list(&vectors["heredocs_from_line"]["cases"]) {
        let expected = texts(&case["names"]);
        let names: Vec<&str> = expected.iter().map(String::as_str).collect();
        assert_eq!(heredoc_names(text(&case["line"]), &names), expected);
    }
    let chomp = &vectors["heredoc_chomp"];
    let source = format!("RUN <<-EOF\n{}EOF", text(&chomp["input"]));
    let file = syntax::parse_syntax(source.as_bytes());
    let heredoc = &file.statements[0].head.heredocs[0];
    assert_eq!(heredoc.content(), text(&chomp["expected"]));
}

#[test]
fn directives() {
    let Some(corpus) = corpus() else { return };
    let vectors = read_json(&corpus.join("parser/vectors.json"));
    for case in list(&vectors["directives"]["cases"]) {
        let file = syntax::parse_syntax(text(&case["text"]).as_bytes());
        let found: Vec<[&str; 2]> = file
            .directives
            .iter()
            .map(|found| [found.name.as_str(), found.value.value.as_str()])
            .collect();
        assert_eq!(json!(found), case["expected"]);
    }
    for case in list(&vectors["detect_syntax"]["cases"]) {
        let source = text(&case["text"]).as_bytes();
        let found = directive::detect_syntax(source);
        let value = found.as_ref().map(|found| found.value.as_str());
        assert_eq!(value, case["ref"].as_str(), "{}", case["text"]);
        if let Some(command_line) = case.get("cmdline") {
            assert_eq!(found.as_ref().unwrap().command_line, text(command_line));
        }
        if let Some(line) = case.get("line") {
            let start = found.unwrap().span.start;
            assert_eq!(line_of(source, start) as u64, line.as_u64().unwrap());
        }
    }
}

#[test]
fn warnings_and_limits() {
    let Some(corpus) = corpus() else { return };
    let vectors = read_json(&corpus.join("parser/vectors.json"));
    let case = &vectors["empty_continuation_warnings"];
    let parsed = parse(text(&case["dockerfile"]).as_bytes());
    let warnings: Vec<_> = parsed
        .diagnostics
        .iter()
        .filter(|found| found.code == "NoEmptyContinuation")
        .collect();
    assert_eq!(warnings.len() as u64, case["warnings"].as_u64().unwrap());
    let source = text(&case["dockerfile"]);
    let ends: Vec<&str> = warnings
        .iter()
        .map(|w| &source[w.span.start..w.span.end])
        .collect();
    assert_eq!(ends, ["    more", "    thing"]);

    let case = &vectors["line_too_long"];
    let length = usize::try_from(case["line_bytes"].as_u64().unwrap()).unwrap();
    for (length, is_error) in [(length, true), (length - 1, false)] {
        let line = format!("RUN {}", "x".repeat(length - 4));
        let parsed = parse(format!("FROM scratch\n{line}\n").as_bytes());
        assert_eq!(parsed.has_errors(), is_error);
        if is_error {
            assert_eq!(parsed.diagnostics[0].message, text(&case["error"]));
        }
    }
}

#[test]
fn builder_flags() {
    let Some(corpus) = corpus() else { return };
    let vectors = read_json(&corpus.join("parser/vectors.json"));
    // The vectors' flags by the names of two that COPY has.
    let check = |flags: &Value| {
        let flags = texts(flags).join(" ");
        let flags = flags.replace("str1", "chown").replace("bool1", "link");
        parse(format!("FROM scratch\nCOPY {flags} a b").as_bytes()).has_errors()
    };
    for flags in list(&vectors["builder_flags"]["ok"]) {
        assert!(!check(flags), "{flags}");
    }
    for flags in list(&vectors["builder_flags"]["error"]) {
        assert!(check(flags), "{flags}");
    }
}

fn environment(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().unwrap().iter();
    entries
        .map(|(name, value)| (name.clone(), text(value).to_owned()))
        .collect()
}

/// Compares an expansion with a case's `expected`, `error` or `error_contains`.
fn check_text(case: &Value, result: Result<String, ExpandError>) {
    match result {
        Ok(found) => assert_eq!(Some(found.as_str()), case["expected"].as_str(), "{case}"),
        Err(error) => {
            assert!(case.get("expected").is_none(), "{case}: {error}");
            if let Some(part) = case.get("error_contains") {
                assert!(error.to_string().contains(text(part)), "{case}: {error}");
            }
        }
    }
}

#[test]
fn shell_words() {
    let Some(corpus) = corpus() else { return };
    let shell = corpus.join("parser/shell");
    let vectors = read_json(&shell.join("envVarTest.json"));
    let env = environment(&vectors["envs"]);
    let mut n_cases = 0;
    for case in list(&vectors["cases"]) {
        let result = expand::expand_word(text(&case["input"]), '\\', &env);
        check_text(case, result.map(|found| found.text));
        n_cases += 1;
    }
    assert!(n_cases > 200);
    for case in list(&read_json(&shell.join("mandatory.json"))["cases"]) {
        let env = environment(&case["envs"]);
        let result = expand::expand_word(text(&case["input"]), '\\', &env);
        check_text(case, result.map(|found| found.text));
    }
    for case in list(&read_json(&shell.join("process_word.json"))["cases"]) {
        let mut env = environment(&case["envs"]);
        if text(&case["input"]).starts_with("${FOO#()") {
            // This value is put together in the origin and missing from the vectors.
            env.insert("FOO".to_owned(), "()[]{}^$.*?|\\x".to_owned());
        }
        let result = expand::expand_word(text(&case["input"]), '\\', &env);
        if let (Ok(found), Some(_)) = (&result, case.get("matched")) {
            let sorted = |mut names: Vec<String>| {
                names.sort();
                names
            };
            assert_eq!(
                sorted(found.used.clone()),
                texts(&case["matched"]),
                "{case}"
            );
            let undefined = sorted(found.undefined.clone());
            assert_eq!(undefined, texts(&case["unmatched"]), "{case}");
        }
        check_text(case, result.map(|found| found.text));
    }
}

#[test]
fn shell_splitting() {
    let Some(corpus) = corpus() else { return };
    let vectors = read_json(&corpus.join("parser/shell/wordsTest.json"));
    for case in list(&vectors["cases"]) {
        let pairs = texts(&case["envs"]).into_iter().map(|pair| {
            let (name, value) = pair.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        });
        let env: BTreeMap<String, String> = pairs.collect();
        match expand::expand_words(text(&case["input"]), '\\', &env) {
            Ok(found) => assert_eq!(json!(found.words), case["expected"], "{case}"),
            Err(error) => assert!(case.get("expected").is_none(), "{case}: {error}"),
        }
    }
}

/// Trims `value` by a pattern that is a variable's value, so that it arrives as it is.
fn trim(operator: &str, pattern: &str, value: &str) -> Result<String, ExpandError> {
    let env = vec![
        ("P".to_owned(), pattern.to_owned()),
        ("V".to_owned(), value.to_owned()),
    ];
    assert_eq!(env.get("P"), Some(pattern));
    let word = format!("${{V{operator}$P}}");
    expand::expand_word(&word, '\\', &env).map(|found| found.text)
}

#[test]
fn patterns() {
    let Some(corpus) = corpus() else { return };
    let vectors = read_json(&corpus.join("parser/shell/pattern_to_regex.json"));
    for pattern in texts(&vectors["invalid"]) {
        let error = trim("##", &pattern, "value").unwrap_err();
        assert!(
            matches!(error, ExpandError::InvalidPattern { .. }),
            "{pattern}"
        );
    }
    // What the expressions of the vectors match at the start of a text.
    let cases = [
        ("*", "any thing", ""),
        ("?", "xy", "y"),
        ("\\*", "**", "*"),
        ("(()[]{\\}^$.\\*\\?|\\\\", "(()[]{}^$.*?|\\rest", "rest"),
    ];
    let known = vectors["cases"].as_object().unwrap();
    assert_eq!(known.len(), cases.len());
    for (pattern, value, rest) in cases {
        assert!(known.contains_key(pattern), "{pattern}");
        assert_eq!(trim("##", pattern, value).as_deref(), Ok(rest), "{pattern}");
    }
    // A reversed pattern matches the reversed text: compare the two ends.
    let reversed = |text: &str| text.chars().rev().collect::<String>();
    for (pattern, backwards) in vectors["reverse_pattern"].as_object().unwrap() {
        let value = "a*cab\\ab👽🚀🖖\\b";
        let front = trim("#", pattern, value);
        let back = trim("%", text(backwards), &reversed(value));
        match (front, back) {
            (Ok(front), Ok(back)) => assert_eq!(front, reversed(&back), "{pattern}"),
            (front, back) => assert_eq!(front.is_err(), back.is_err(), "{pattern}"),
        }
    }
}
