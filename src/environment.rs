//! The one place that reads the environment and the clock.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rbuild_registry::Settings;

/// Returns a variable's value; `None` if it is unset, empty or no UTF-8.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the place that reads the environment"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns what is set about registries. There are passwords in it, so from here on this process's
/// memory is hidden.
pub(crate) fn registry_settings() -> std::io::Result<Settings> {
    rbuild_sandbox::hide_memory()?;
    Ok(Settings::from_env(&variable))
}

/// Returns a variable's value as it is, even if it is empty.
pub(crate) fn raw_variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Returns the directory everything is kept in: the option, `$RBUILD_ROOT`, then `/var/lib/rbuild`
/// for root and `$XDG_DATA_HOME/rbuild` for others.
pub(crate) fn store_root(option: Option<&Path>) -> PathBuf {
    if let Some(root) = option {
        return absolute(root);
    }
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/rbuild");
    }
    let data = variable("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    data.unwrap_or_else(|| home().join(".local/share"))
        .join("rbuild")
}

/// Returns the home directory; `/` if nobody says where it is.
pub(crate) fn home() -> PathBuf {
    variable("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

/// Returns the path from the root directory on.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Returns the seconds since the Unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the place that reads the clock"
)]
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// Returns the time as RFC 3339.
pub(crate) fn timestamp() -> String {
    rfc3339(now())
}

/// Returns a time in the zone of this machine, in a format of `strftime`.
pub(crate) fn local_time(seconds: i64, format: &str) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    time.to_zoned(jiff::tz::TimeZone::system())
        .strftime(format)
        .to_string()
}

/// Returns a time as RFC 3339.
pub(crate) fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .unwrap_or_default()
        .to_string()
}
