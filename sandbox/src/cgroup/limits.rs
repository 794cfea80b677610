//! What a step may use, and how each version of control groups is told.

use std::collections::BTreeSet;

use super::hierarchy::{Controller, Version};

/// Limits that control groups enforce on each step, with all of its processes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StepLimits {
    /// Memory.
    pub memory: Option<Memory>,
    /// Share of the processors where they are wanted by others, in Docker's numbers: 2 to 262144, by default 1024.
    pub cpu_shares: Option<u64>,
    /// Microseconds of processor time in every period.
    pub cpu_quota: Option<u64>,
    /// The period in microseconds; the kernel's default is 100000.
    pub cpu_period: Option<u64>,
    /// The only processors that are used.
    pub cpus: Option<IdSet>,
    /// The only memory nodes that are used.
    pub memory_nodes: Option<IdSet>,
    /// The most processes and threads at a time.
    pub tasks: Option<u32>,
}

/// A limit of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Bytes.
    pub bytes: u64,
    /// What may be swapped out besides.
    pub swap: Swap,
}

/// A limit of what may be swapped out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// As much as there may be memory, where the kernel can tell.
    SameAsMemory,
    /// So many bytes.
    Bytes(u64),
    /// What there is.
    Unlimited,
}

/// A set of numbers of processors or memory nodes, not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdSet(BTreeSet<u32>);

/// No machine has more.
const MAX_ID: u32 = 8191;

impl IdSet {
    /// Reads the kernel's notation: numbers and ranges, `0-3,8`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut ids = BTreeSet::new();
        for part in text.trim().split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |digits: &str| {
                let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
                is_number.then(|| digits.parse::<u32>().ok())?
            };
            let (first, last) = (number(first)?, number(last)?);
            if first > last || last > MAX_ID {
                return None;
            }
            ids.extend(first..=last);
        }
        Some(Self(ids))
    }

    /// Just the first one.
    pub(crate) fn first() -> Self {
        Self(BTreeSet::from([0]))
    }

    /// Whether all of these are among those.
    #[must_use]
    pub fn is_within(&self, others: &Self) -> bool {
        self.0.is_subset(&others.0)
    }

    /// The numbers, in order.
    pub fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }
}

impl std::fmt::Display for IdSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut ids = self.ids().peekable();
        let mut separator = "";
        while let Some(first) = ids.next() {
            let mut last = first;
            while let Some(next) = ids.next_if(|next| *next == last + 1) {
                last = next;
            }
            write!(f, "{separator}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

/// What is written to one file of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) file: &'static str,
    pub(crate) value: String,
    /// False if the limit holds without it as far as it was asked for.
    pub(crate) is_needed: bool,
}

fn needed(file: &'static str, value: String) -> Setting {
    Setting {
        file,
        value,
        is_needed: true,
    }
}

/// The setting of a number, if there is one.
fn number<N: ToString>(file: &'static str, value: Option<N>) -> Option<Setting> {
    Some(needed(file, value?.to_string()))
}

impl StepLimits {
    /// Whether there is no limit at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.controllers().is_empty()
    }

    /// The controllers that these limits need.
    #[must_use]
    pub fn controllers(&self) -> Vec<Controller> {
        let has_cpu =
            self.cpu_shares.is_some() || self.cpu_quota.is_some() || self.cpu_period.is_some();
        let has_cpuset = self.cpus.is_some() || self.memory_nodes.is_some();
        let all = [
            (Controller::Cpu, has_cpu),
            (Controller::Cpuset, has_cpuset),
            (Controller::Memory, self.memory.is_some()),
            (Controller::Pids, self.tasks.is_some()),
        ];
        let wanted = all.into_iter().filter(|(_, is_wanted)| *is_wanted);
        wanted.map(|(controller, _)| controller).collect()
    }

    /// What is to be written for a controller, in this order.
    pub(crate) fn settings(&self, controller: Controller, version: Version) -> Vec<Setting> {
        match controller {
            Controller::Cpu => self.cpu(version),
            Controller::Cpuset => {
                let cpus = number("cpuset.cpus", self.cpus.as_ref());
                let nodes = number("cpuset.mems", self.memory_nodes.as_ref());
                cpus.into_iter().chain(nodes).collect()
            }
            Controller::Memory => self
                .memory
                .map_or_else(Vec::new, |limit| limit.settings(version)),
            Controller::Pids => number("pids.max", self.tasks).into_iter().collect(),
        }
    }

    fn cpu(&self, version: Version) -> Vec<Setting> {
        const PERIOD: u64 = 100_000;
        let settings = match version {
            Version::One => vec![
                number("cpu.shares", self.cpu_shares),
                // A quota is checked against the period that there is.
                number("cpu.cfs_period_us", self.cpu_period),
                number("cpu.cfs_quota_us", self.cpu_quota),
            ],
            Version::Two => {
                let quota = self.cpu_quota.map(|quota| quota.to_string());
                let period = self.cpu_period.unwrap_or(PERIOD);
                let has_bandwidth = quota.is_some() || self.cpu_period.is_some();
                let quota = quota.as_deref().unwrap_or("max");
                vec![
                    number("cpu.weight", self.cpu_shares.map(weight)),
                    has_bandwidth.then(|| needed("cpu.max", format!("{quota} {period}"))),
                ]
            }
        };
        settings.into_iter().flatten().collect()
    }
}

impl Memory {
    fn settings(self, version: Version) -> Vec<Setting> {
        let (limit, swap) = match version {
            Version::One => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
            Version::Two => ("memory.max", "memory.swap.max"),
        };
        let (swapped, is_needed) = match self.swap {
            Swap::SameAsMemory => (Some(self.bytes), false),
            Swap::Bytes(bytes) => (Some(bytes), true),
            Swap::Unlimited => (None, false),
        };
        let mut settings = vec![needed(limit, self.bytes.to_string())];
        settings.extend(swapped.map(|swapped| Setting {
            file: swap,
            value: match version {
                Version::One => self.bytes.saturating_add(swapped).to_string(),
                Version::Two => swapped.to_string(),
            },
            is_needed,
        }));
        settings
    }
}

/// The weight of version 2 (1 to 10000, by default 100) for shares (2 to 262144, by default 1024): a curve through the
/// three points that both sides agree on, quadratic in the logarithms.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "both ranges are small"
)]
fn weight(shares: u64) -> u64 {
    let log = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_numbers() {
        let shown = |text: &str| IdSet::parse(text).map(|ids| ids.to_string());
        for (text, expected) in [
            ("0", "0"),
            ("0-3", "0-3"),
            ("3,1,0-1\n", "0-1,3"),
            ("5,7,6", "5-7"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected), "{text}");
        }
        for bad in [
            "",
            "a",
            "1-",
            "-1",
            "3-1",
            "1,,2",
            "+1",
            "0-4294967295",
            "99999",
        ] {
            assert_eq!(shown(bad), None, "{bad}");
        }
        let set = |text: &str| IdSet::parse(text).unwrap();
        assert!(set("1,3").is_within(&set("0-3")) && !set("1,4").is_within(&set("0-3")));
    }

    #[test]
    fn shares_become_weights() {
        for (shares, expected) in [
            (0, 1),
            (2, 1),
            (1024, 100),
            (262_144, 10_000),
            (1 << 40, 10_000),
        ] {
            assert_eq!(weight(shares), expected, "{shares}");
        }
        assert!(weight(512) < 100 && weight(2048) > 100);
    }

    fn written(limits: &StepLimits, version: Version) -> Vec<String> {
        let all = limits.controllers().into_iter();
        all.flat_map(|controller| limits.settings(controller, version))
            .map(|setting| format!("{}={}", setting.file, setting.value))
            .collect()
    }

    #[test]
    fn both_versions_are_told() {
        let limits = StepLimits {
            memory: Some(Memory {
                bytes: 100,
                swap: Swap::SameAsMemory,
            }),
            cpu_shares: Some(1024),
            cpu_quota: Some(50_000),
            cpu_period: None,
            cpus: IdSet::parse("0-1"),
            memory_nodes: IdSet::parse("0"),
            tasks: Some(7),
        };
        assert_eq!(
            written(&limits, Version::One),
            [
                "cpu.shares=1024",
                "cpu.cfs_quota_us=50000",
                "cpuset.cpus=0-1",
                "cpuset.mems=0",
                "memory.limit_in_bytes=100",
                "memory.memsw.limit_in_bytes=200",
                "pids.max=7"
            ]
        );
        assert_eq!(
            written(&limits, Version::Two),
            [
                "cpu.weight=100",
                "cpu.max=50000 100000",
                "cpuset.cpus=0-1",
                "cpuset.mems=0",
                "memory.max=100",
                "memory.swap.max=100",
                "pids.max=7"
            ]
        );
        let memory = |swap| StepLimits {
            memory: Some(Memory { bytes: 100, swap }),
            ..StepLimits::default()
        };
        let swap = |swap, version| written(&memory(swap), version).pop().unwrap();
        assert_eq!(
            swap(Swap::Bytes(0), Version::One),
            "memory.memsw.limit_in_bytes=100"
        );
        assert_eq!(swap(Swap::Bytes(0), Version::Two), "memory.swap.max=0");
        assert_eq!(swap(Swap::Unlimited, Version::Two), "memory.max=100");
        let period = StepLimits {
            cpu_period: Some(20_000),
            ..StepLimits::default()
        };
        assert_eq!(written(&period, Version::Two), ["cpu.max=max 20000"]);
        assert!(StepLimits::default().is_empty() && !period.is_empty());
    }
}
