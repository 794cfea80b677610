//! Options that limit what each `RUN` step may use, enforced by control groups.

use clap::Args;
use rbuild_parser::size::parse_bytes;
use rbuild_sandbox::{IdSet, Memory, StepLimits, Swap};

use crate::report::Failure;

/// What of the command line limits steps.
#[derive(Debug, Args)]
pub(crate) struct LimitArguments {
    /// Most memory that a RUN step may use, e.g. 512m
    #[arg(short, long, value_name = "BYTES", allow_hyphen_values = true)]
    memory: Option<String>,
    /// Most memory and swap together; -1: all the swap there is (default: twice the memory)
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Share of the processors where others want them too (2 to 262144; everybody has 1024)
    #[arg(short, long, value_name = "N", allow_hyphen_values = true)]
    cpu_shares: Option<String>,
    /// Microseconds of processor time that a RUN step has in each period
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    cpu_quota: Option<String>,
    /// The period of --cpu-quota (default: 100000)
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    cpu_period: Option<String>,
    /// Processors that RUN steps may use, e.g. 0-2,7
    #[arg(long, value_name = "CPUS")]
    cpuset_cpus: Option<String>,
    /// Memory nodes that RUN steps may use, e.g. 0,1
    #[arg(long, value_name = "NODES")]
    cpuset_mems: Option<String>,
    /// Most processes and threads of a RUN step at a time; -1: as without the option
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pids_limit: Option<String>,
    /// One of these limits under its name in `docker buildx build`, e.g. memory=512m
    #[arg(long, value_name = "NAME=VALUE")]
    resource: Vec<String>,
}

/// Docker's least limit of memory: nothing starts with less.
const LEAST_MEMORY: u64 = 6 << 20;

/// The kernel's bounds of periods, and its least quota.
const PERIODS: std::ops::RangeInclusive<u64> = 1000..=1_000_000;
const LEAST_QUOTA: u64 = 1000;

/// The kernel's bounds of shares.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

impl LimitArguments {
    /// Returns the limits. Values that mean "none" are none.
    pub(crate) fn parse(&self) -> Result<StepLimits, Failure> {
        let options = [
            ("memory", &self.memory),
            ("memory-swap", &self.memory_swap),
            ("cpu-shares", &self.cpu_shares),
            ("cpu-quota", &self.cpu_quota),
            ("cpu-period", &self.cpu_period),
            ("cpuset-cpus", &self.cpuset_cpus),
            ("cpuset-mems", &self.cpuset_mems),
            ("pids-limit", &self.pids_limit),
        ];
        let mut limits = Limits::default();
        let given = options
            .iter()
            .filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        for (name, value) in given {
            limits
                .set(name, value)
                .map_err(|problem| Failure::Usage(format!("--{name}: {problem}")))?;
        }
        for option in &self.resource {
            let told = |problem: String| Failure::Usage(format!("--resource {option}: {problem}"));
            let (name, value) = option
                .split_once('=')
                .ok_or_else(|| told("not a name and a value, as in memory=512m".to_owned()))?;
            limits.set(name.trim(), value).map_err(told)?;
        }
        limits.finish().map_err(Failure::Usage)
    }
}

/// Limits as they are read, one after the other.
#[derive(Default)]
struct Limits {
    memory: Option<u64>,
    /// Together with the memory; [`u64::MAX`]: no limit.
    memory_swap: Option<u64>,
    others: StepLimits,
}

impl Limits {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let others = &mut self.others;
        match name {
            "memory" => {
                self.memory = bytes(value)?.filter(|bytes| *bytes != u64::MAX);
                if self.memory.is_some_and(|bytes| bytes < LEAST_MEMORY) {
                    return Err("the least limit of memory is 6m".to_owned());
                }
            }
            "memory-swap" => self.memory_swap = bytes(value)?,
            "cpu-shares" => {
                let shares = number(value)?;
                others.cpu_shares =
                    shares.map(|shares| shares.clamp(*SHARES.start(), *SHARES.end()));
            }
            "cpu-quota" => {
                others.cpu_quota = number(value)?;
                if others.cpu_quota.is_some_and(|quota| quota < LEAST_QUOTA) {
                    return Err("the least quota is 1000 (1 ms)".to_owned());
                }
            }
            "cpu-period" => {
                others.cpu_period = number(value)?;
                if others
                    .cpu_period
                    .is_some_and(|period| !PERIODS.contains(&period))
                {
                    return Err("periods are from 1000 (1 ms) to 1000000 (1 s)".to_owned());
                }
            }
            "cpuset-cpus" => others.cpus = ids(value)?,
            "cpuset-mems" => others.memory_nodes = ids(value)?,
            "pids-limit" => {
                let tasks = number(value)?.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
                others.tasks = tasks;
            }
            _ => {
                return Err(
                    "the limits are memory, memory-swap, cpu-shares, cpu-quota, cpu-period, \
                     cpuset-cpus, cpuset-mems and pids-limit"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<StepLimits, String> {
        let swap = match (self.memory, self.memory_swap) {
            (None, Some(total)) if total != u64::MAX => {
                return Err("--memory-swap: only with --memory".to_owned());
            }
            (_, None) => Swap::SameAsMemory,
            (_, Some(u64::MAX)) => Swap::Unlimited,
            (memory, Some(total)) => Swap::Bytes(
                total
                    .checked_sub(memory.unwrap_or_default())
                    .ok_or("--memory-swap: it includes the memory, so it is no less than that")?,
            ),
        };
        Ok(StepLimits {
            memory: self.memory.map(|bytes| Memory { bytes, swap }),
            ..self.others
        })
    }
}

/// Bytes; `None` for 0, which is Docker's word for no limit set, and [`u64::MAX`] for -1.
fn bytes(text: &str) -> Result<Option<u64>, String> {
    if text == "-1" {
        return Ok(Some(u64::MAX));
    }
    let bytes = parse_bytes(text).filter(|bytes| i64::try_from(*bytes).is_ok());
    match bytes {
        Some(0) => Ok(None),
        Some(bytes) => Ok(Some(bytes)),
        None => Err(format!(
            "`{text}` is not a size; sizes are written like 512m, 2g or 1000000"
        )),
    }
}

/// A number; `None` for 0 and -1, which both stand for no limit.
fn number(text: &str) -> Result<Option<u64>, String> {
    match text.parse::<i64>() {
        Ok(-1 | 0) => Ok(None),
        Ok(number) => {
            let number = u64::try_from(number).map_err(|_negative| format!("`{text}` is negative"));
            number.map(Some)
        }
        Err(_) => Err(format!("`{text}` is not a number")),
    }
}

fn ids(text: &str) -> Result<Option<IdSet>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let found = IdSet::parse(text).map(Some);
    found.ok_or_else(|| format!("`{text}` is not a list of numbers and ranges such as 0-2,7"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(options: &[(&str, &str)]) -> Result<StepLimits, String> {
        let mut limits = Limits::default();
        for (name, value) in options {
            limits.set(name, value)?;
        }
        limits.finish()
    }

    #[test]
    fn memory_has_swap() {
        let memory = |options: &[(&str, &str)]| limits(options).map(|limits| limits.memory);
        let some = |bytes, swap| Ok(Some(Memory { bytes, swap }));
        const M: u64 = 1 << 20;
        for (memory_limit, swap_limit, expected) in [
            ("64m", "0", some(64 * M, Swap::SameAsMemory)),
            ("64m", "64m", some(64 * M, Swap::Bytes(0))),
            ("64MB", "1g", some(64 * M, Swap::Bytes(960 * M))),
            ("64MiB", "-1", some(64 * M, Swap::Unlimited)),
            ("0", "-1", Ok(None)),
            ("-1", "0", Ok(None)),
            ("6291456", "0", some(6 * M, Swap::SameAsMemory)),
        ] {
            let options = [("memory", memory_limit), ("memory-swap", swap_limit)];
            assert_eq!(memory(&options), expected, "{options:?}");
            let reversed = [options[1], options[0]];
            assert_eq!(memory(&reversed), expected, "{reversed:?}");
        }
        for (memory_limit, swap_limit) in [
            ("0", "1g"),
            ("64m", "63m"),
            ("1m", "0"),
            ("much", "0"),
            ("64m", "-2"),
        ] {
            let options = [("memory", memory_limit), ("memory-swap", swap_limit)];
            assert!(memory(&options).is_err(), "{options:?}");
        }
    }

    #[test]
    fn numbers_have_bounds() {
        let found = limits(&[
            ("cpu-shares", "1"),
            ("cpu-quota", "50000"),
            ("cpu-period", "100000"),
            ("cpuset-cpus", "0-1,3"),
            ("cpuset-mems", "0"),
            ("pids-limit", "100"),
        ])
        .unwrap();
        assert_eq!(
            found,
            StepLimits {
                memory: None,
                cpu_shares: Some(2),
                cpu_quota: Some(50_000),
                cpu_period: Some(100_000),
                cpus: IdSet::parse("0,1,3"),
                memory_nodes: IdSet::parse("0"),
                tasks: Some(100),
            }
        );
        let none = limits(&[
            ("cpu-shares", "0"),
            ("cpu-quota", "-1"),
            ("cpu-period", "0"),
            ("cpuset-cpus", ""),
            ("pids-limit", "-1"),
        ]);
        assert!(none.unwrap().is_empty());
        for (name, value) in [
            ("cpu-quota", "999"),
            ("cpu-period", "999"),
            ("cpu-period", "1000001"),
            ("cpu-shares", "-5"),
            ("cpu-shares", "many"),
            ("cpuset-cpus", "a"),
            ("cpuset-cpus", "3-1"),
            ("pids-limit", "1.5"),
            ("disk", "1g"),
        ] {
            assert!(limits(&[(name, value)]).is_err(), "{name}={value}");
        }
    }

    #[test]
    fn later_values_count() {
        let found = limits(&[("memory", "64m"), ("memory", "0")]).unwrap();
        assert!(found.is_empty());
    }
}
