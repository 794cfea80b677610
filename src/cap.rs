//! `RBUILD_STORAGE_CAP`: what the store may take at most.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rbuild_cache::collect::{Cache, Images, Wish};
use rbuild_executor::{BuildError, Cancel};
use rbuild_image::digest::Digest;
use rbuild_image::store::Wait;

use crate::environment::{self, now};
use crate::output;
use crate::report::Failure;
use crate::size::parse_size;
use crate::units::human_size;
use crate::workplace::Workplace;

const VARIABLE: &str = "RBUILD_STORAGE_CAP";

/// How often a build looks how much has been written: one call of the kernel.
const GLANCE: Duration = Duration::from_millis(10);

/// How often everything is counted if nothing seems to have been written: what others free on the
/// same file system hides what is written.
const RECOUNT: Duration = Duration::from_secs(5);

/// Counting takes at most one part in so many of the time.
const EFFORT: u32 = 5;

/// The most that the store may take.
#[derive(Debug, Clone)]
pub(crate) struct Cap {
    bytes: u64,
    text: String,
}

/// What the store took at a moment.
struct Count {
    bytes: u64,
    free_bytes: u64,
    at: Instant,
    took: Duration,
}

/// Runs a build within the cap, if there is one. A build that fails leaves no more than the cap
/// allows either.
pub(crate) fn limit<R>(
    cap: Option<&Cap>,
    workplace: &Workplace,
    cancel: &Cancel,
    work: impl FnOnce() -> Result<Result<R, BuildError>, Failure>,
) -> Result<Result<R, BuildError>, Failure> {
    let Some(cap) = cap else {
        return work();
    };
    let result = cap.during(workplace, cancel, work).flatten();
    if !matches!(result, Ok(Ok(_))) {
        drop(cap.shrink(workplace, BTreeSet::new())); // the next build tries again
    }
    result
}

impl Cap {
    /// Returns what the environment says.
    pub(crate) fn read() -> Result<Option<Self>, Failure> {
        let Some(text) = environment::variable(VARIABLE) else {
            return Ok(None);
        };
        let bytes = parse_size(&text)
            .map_err(|problem| Failure::Usage(format!("{VARIABLE}: {problem}")))?;
        Ok(Some(Self { bytes, text }))
    }

    /// Runs `work`. When the store grows too large meanwhile, what is least valuable and not in use
    /// goes; if that is not enough, the work is cancelled.
    fn during<R>(
        &self,
        workplace: &Workplace,
        cancel: &Cancel,
        work: impl FnOnce() -> R,
    ) -> Result<R, Failure> {
        let (done, wait) = channel::<()>();
        std::thread::scope(|scope| {
            let watch = scope.spawn(move || {
                let pause = |time| wait.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
                self.watch(workplace, pause)
                    .inspect_err(|_failure| cancel.cancel())
            });
            let result = work();
            drop(done);
            match watch.join() {
                Ok(Ok(())) => Ok(result),
                Ok(Err(failure)) => Err(failure),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Looks after the store until `pause` says that the work is over.
    fn watch(
        &self,
        workplace: &Workplace,
        pause: impl Fn(Duration) -> bool,
    ) -> Result<(), Failure> {
        loop {
            let mut count = Count::of(workplace)?;
            if count.bytes > self.bytes {
                // `None`: another process makes room.
                let left_bytes = self.evict(workplace, BTreeSet::new())?;
                if let Some(left_bytes) = left_bytes.filter(|left| *left > self.bytes) {
                    return Err(self.failure(left_bytes));
                }
                count = Count::of(workplace)?;
            }
            while !count.may_exceed(self.bytes, workplace)? {
                if !pause(GLANCE) {
                    return Ok(());
                }
            }
        }
    }

    fn failure(&self, left_bytes: u64) -> Failure {
        Failure::with_help(
            format!(
                "the build was stopped: the store takes {}, more than {VARIABLE}={}, and nothing more can be removed",
                human_size(left_bytes),
                self.text,
            ),
            "what images have and what running builds use stays; `rbuild df` shows what takes the room, \
             `rbuild rmi` and `rbuild prune -a` remove images",
        )
    }

    /// Makes room after a build, and says so if there is too little. `keep` are images that stay
    /// although they may have no name.
    pub(crate) fn after(
        &self,
        workplace: &Workplace,
        keep: BTreeSet<Digest>,
    ) -> Result<(), Failure> {
        let left_bytes = self.shrink(workplace, keep)?;
        if let Some(left_bytes) = left_bytes.filter(|left| *left > self.bytes) {
            output::note(&format!(
                "the store takes {}, more than {VARIABLE}={}: the rest belongs to images, or is in use\n",
                human_size(left_bytes),
                self.text
            ));
        }
        Ok(())
    }

    /// Makes room when a build is over: what it has used counts like everything else. Never waits for
    /// another process's prune.
    fn shrink(
        &self,
        workplace: &Workplace,
        keep: BTreeSet<Digest>,
    ) -> Result<Option<u64>, Failure> {
        workplace.store.release();
        self.evict(workplace, keep)
    }

    /// Removes what is least valuable until the store is small enough, and returns what it takes then;
    /// `None` if another process is removing.
    fn evict(&self, workplace: &Workplace, keep: BTreeSet<Digest>) -> Result<Option<u64>, Failure> {
        let wish = Wish {
            images: Images::Dangling,
            cache: Cache::Unused,
            before: None,
            labels: Vec::new(),
            max_bytes: Some(self.bytes),
            keep,
            only: None,
            dry_run: false,
            wait: Wait::No,
            now: now(),
        };
        let collected = workplace.collect(&wish)?;
        Ok(collected.map(|collected| collected.left_bytes))
    }
}

impl Count {
    fn of(workplace: &Workplace) -> Result<Self, Failure> {
        let start = Instant::now();
        let free_bytes = free_bytes(workplace.store.root())?;
        Ok(Self {
            bytes: workplace.store.survey()?.total_bytes(),
            free_bytes,
            at: Instant::now(),
            took: start.elapsed(),
        })
    }

    /// Reports whether the store may take more by now, so that it is time to count.
    fn may_exceed(&self, max_bytes: u64, workplace: &Workplace) -> Result<bool, Failure> {
        let since = self.at.elapsed();
        if since < self.took * EFFORT {
            return Ok(false);
        }
        let written = self
            .free_bytes
            .saturating_sub(free_bytes(workplace.store.root())?);
        Ok(since > RECOUNT || self.bytes.saturating_add(written) > max_bytes)
    }
}

/// Returns what can still be written to the file system of a folder.
pub(crate) fn free_bytes(folder: &Path) -> Result<u64, Failure> {
    let found = rustix::fs::statvfs(folder).map_err(std::io::Error::from)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}
