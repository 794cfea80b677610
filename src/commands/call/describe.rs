//! `--call=subrequests.describe`: the calls there are, by the names that frontends know them by.

use serde_json::{Value, json};

use super::columns;

const PADDING: usize = 1;
const PREFIX: &str = "frontend.";
const VERSION: &str = "1.0.0";

struct Subrequest {
    name: &'static str,
    description: &'static str,
    /// Name and description of each.
    options: &'static [(&'static str, &'static str)],
    results: &'static [&'static str],
}

const SUBREQUESTS: [Subrequest; 4] = [
    Subrequest {
        name: "outline",
        description: "List all parameters current build target supports",
        options: &[("target", "Target build stage")],
        results: &["result.json", "result.txt"],
    },
    Subrequest {
        name: "targets",
        description: "List all targets current build supports",
        options: &[],
        results: &["result.json", "result.txt"],
    },
    Subrequest {
        name: "lint",
        description: "Lint a Dockerfile",
        options: &[],
        results: &["result.json", "result.txt", "result.statuscode"],
    },
    Subrequest {
        name: "subrequests.describe",
        description: "List available subrequest types",
        options: &[],
        results: &["result.json", "result.txt"],
    },
];

pub(super) fn text() -> String {
    let header = ["NAME", "VERSION", "DESCRIPTION"];
    let rows = SUBREQUESTS
        .iter()
        .map(|request| [request.name, VERSION, request.description]);
    let rows: Vec<Vec<String>> = std::iter::once(header)
        .chain(rows)
        .map(|row| row.map(str::to_owned).to_vec())
        .collect();
    columns(&rows, PADDING)
}

pub(super) fn json() -> Value {
    let named = |name: &str, description: &str| json!({"Name": name, "Description": description});
    let requests = SUBREQUESTS.iter().map(|request| {
        let options = request.options.iter();
        let options: Vec<_> = options.map(|(name, text)| named(name, text)).collect();
        let results = request.results.iter();
        let results: Vec<_> = results.map(|name| named(name, "")).collect();
        json!({
            "Name": format!("{PREFIX}{}", request.name),
            "Version": VERSION,
            "Type": "rpc",
            "Description": request.description,
            "Opts": options,
            "Metadata": results,
        })
    });
    Value::Array(requests.collect())
}
