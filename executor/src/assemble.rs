//! Image configs: the planner's config with what only the executor knows, times and diff IDs.

use rbuild_image::config::{History, ImageConfig};
use rbuild_image::digest::{DiffId, Digest};
use rbuild_image::platform::Platform;
use rbuild_planner::{StepId, Target};

use crate::step::Root;

/// What BuildKit writes for a layer that no instruction made.
const EXPORTER: &str = "buildkit.exporter.image.v0";

/// An image that was built.
#[derive(Debug, Clone, PartialEq)]
pub struct BuiltImage {
    /// The platform it is for.
    pub platform: Platform,
    /// Its config.
    pub config: ImageConfig,
    /// The config document, byte for byte.
    pub config_bytes: Vec<u8>,
    /// Digest of the document: the image ID.
    pub config_digest: Digest,
    /// Its layers, base first.
    pub layers: Vec<DiffId>,
}

/// Fills in the config of a target. `roots` are the results of all steps by index; `epoch` is
/// `SOURCE_DATE_EPOCH` in seconds.
pub(crate) fn assemble(target: &Target, roots: &[Option<Root>], epoch: Option<i64>) -> BuiltImage {
    let root = roots[target.rootfs.index()].as_ref();
    let layers = root.map(Root::diff_ids).unwrap_or_default();
    let n_layers = layers.len();
    let mut config = target.config.clone();
    config.rootfs.diff_ids = layers;

    let n_base = config.history.len().saturating_sub(target.history.len());
    let mut history = config.history[..n_base].to_vec();
    let n_made = target
        .history
        .iter()
        .filter(|(_, step)| step.is_some())
        .count();
    match_base_history(&mut history, n_layers.saturating_sub(n_made));
    let n_base = history.len();
    history.extend(target.history.iter().map(|(line, step)| History {
        created: step.and_then(|step| made_at(roots, step)).map(rfc3339),
        empty_layer: step.is_none(),
        ..line.clone()
    }));
    fill_times(&mut history);
    if let Some(epoch) = epoch {
        let latest = rfc3339(epoch);
        for line in &mut history[n_base..] {
            if line
                .created
                .as_ref()
                .is_none_or(|created| is_later(created, epoch))
            {
                line.created = Some(latest.clone());
            }
        }
    }
    config.created = history
        .last()
        .and_then(|line| line.created.clone())
        .or(epoch.map(rfc3339));
    config.history = history;

    let config_bytes = serde_json::to_vec(&config).expect("a config has text keys only");
    BuiltImage {
        platform: target.platform.clone(),
        config_digest: Digest::of(&config_bytes),
        layers: config.rootfs.diff_ids.clone(),
        config,
        config_bytes,
    }
}

/// Gives every base layer one line: missing ones are added, surplus ones become empty.
fn match_base_history(history: &mut Vec<History>, n_layers: usize) {
    let mut n_lines = 0;
    for line in history.iter_mut().filter(|line| !line.empty_layer) {
        line.empty_layer = n_lines >= n_layers;
        n_lines += usize::from(!line.empty_layer);
    }
    for _ in n_lines..n_layers {
        history.push(History {
            created_by: Some(EXPORTER.into()),
            ..History::default()
        });
    }
}

/// When the layer of `step` was made, in seconds since the Unix epoch.
fn made_at(roots: &[Option<Root>], step: StepId) -> Option<i64> {
    roots[step.index()].as_ref()?.top()?.created
}

/// Lines without a time take that of the first new layer after them, else of the line before.
fn fill_times(history: &mut [History]) {
    let mut created: Option<String> = None;
    let mut seen_gap = false;
    for line in history.iter() {
        match &line.created {
            Some(time) => {
                created = Some(time.clone());
                if seen_gap {
                    break;
                }
            }
            None => seen_gap = true,
        }
    }
    seen_gap = false;
    for line in history {
        match &line.created {
            Some(time) if seen_gap => created = Some(time.clone()),
            Some(_) => {}
            None => {
                seen_gap = true;
                line.created.clone_from(&created);
            }
        }
    }
}

fn is_later(created: &str, epoch: i64) -> bool {
    created
        .parse::<jiff::Timestamp>()
        .is_ok_and(|time| time.as_second() > epoch)
}

fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .unwrap_or_default()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(created: Option<&str>, empty_layer: bool) -> History {
        History {
            created: created.map(Into::into),
            empty_layer,
            ..History::default()
        }
    }

    #[test]
    fn base_history_is_made_to_match_the_layers() {
        let mut history = vec![line(None, false), line(None, true), line(None, false)];
        match_base_history(&mut history, 1);
        assert_eq!(history.iter().filter(|line| !line.empty_layer).count(), 1);
        match_base_history(&mut history, 3);
        assert_eq!(history.iter().filter(|line| !line.empty_layer).count(), 3);
        assert_eq!(
            history.last().unwrap().created_by.as_deref(),
            Some(EXPORTER)
        );
    }

    #[test]
    fn lines_without_a_layer_take_the_next_new_time() {
        let mut history = vec![
            line(Some("2000-01-01T00:00:00Z"), false),
            line(None, true),
            line(Some("2020-01-01T00:00:00Z"), false),
            line(None, true),
        ];
        fill_times(&mut history);
        let times: Vec<_> = history
            .iter()
            .map(|line| line.created.clone().unwrap())
            .collect();
        assert_eq!(times[1], "2020-01-01T00:00:00Z");
        assert_eq!(times[3], "2020-01-01T00:00:00Z");
    }

    #[test]
    fn without_a_new_layer_the_base_gives_the_time() {
        let mut history = vec![line(Some("2000-01-01T00:00:00Z"), false), line(None, true)];
        fill_times(&mut history);
        assert_eq!(history[1].created.as_deref(), Some("2000-01-01T00:00:00Z"));
    }

    #[test]
    fn times_are_written_as_rfc_3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert!(is_later("2024-01-01T00:00:00.5Z", 0));
    }
}
