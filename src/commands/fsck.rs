//! `rbuild fsck`

use std::path::Path;

use clap::{Args, ValueEnum};
use rbuild_cache::audit::{Repair, Report, audit};
use serde_json::json;

use crate::output;
use crate::progress::clean_text;
use crate::report::Failure;
use crate::units::human_size;
use crate::workplace::Workplace;

#[derive(Debug, Args)]
pub(crate) struct FsckArguments {
    /// Remove what is wrong, and what cannot be used without it
    #[arg(long)]
    repair: bool,
    /// How findings are printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: FsckFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FsckFormat {
    /// One line a finding
    Text,
    /// One document
    Json,
}

/// Checks everything in the store; fails if something is wrong and stays so.
pub(crate) fn run(root: &Path, options: &FsckArguments) -> Result<(), Failure> {
    let workplace = Workplace::enter(root)?;
    let repair = if options.repair {
        Repair::Yes
    } else {
        Repair::No
    };
    let report = audit(
        &workplace.layers,
        &root.join("db"),
        &root.join("locks"),
        repair,
    )?;
    match options.format {
        FsckFormat::Text => output::result(&text(&report))?,
        FsckFormat::Json => output::result(&format!("{:#}\n", document(&report)))?,
    }
    if report.findings.iter().all(|finding| finding.is_repaired) {
        return Ok(());
    }
    if options.repair {
        return Err(Failure::message(
            "the store is damaged, and not all of it could be repaired",
        ));
    }
    Err(Failure::with_help(
        "the store is damaged",
        "rbuild fsck --repair removes what is wrong; the next build makes it again",
    ))
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let path = finding.path.display().to_string();
        text.push_str(&clean_text(&format!("{path}: {}", finding.reason)));
        text.push_str(if finding.is_repaired {
            " (repaired)\n"
        } else {
            "\n"
        });
    }
    let verdict = match report.findings.len() {
        0 => "nothing is wrong".to_owned(),
        1 => "1 thing is wrong".to_owned(),
        n => format!("{n} things are wrong"),
    };
    let summary = format!(
        "{} blobs ({}), {} layers, {} images, {} names, {} cache mounts, {} records: {verdict}\n",
        report.n_blobs,
        human_size(report.blob_bytes),
        report.n_layers,
        report.names.n_images,
        report.names.n_names,
        report.n_mounts,
        report.n_records,
    );
    text + &summary
}

fn document(report: &Report) -> serde_json::Value {
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "path": finding.path.display().to_string(),
                "reason": finding.reason,
                "repaired": finding.is_repaired,
            })
        })
        .collect();
    json!({
        "checked": {
            "blobs": report.n_blobs,
            "blobBytes": report.blob_bytes,
            "layers": report.n_layers,
            "images": report.names.n_images,
            "names": report.names.n_names,
            "mounts": report.n_mounts,
            "records": report.n_records,
        },
        "findings": findings,
    })
}
