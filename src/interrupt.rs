//! Signals that stop a build: the first cancels it cleanly, a second one ends the process.

use rbuild_executor::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Watches for signals while something runs.
pub(crate) struct Interrupt<'a> {
    signals: Signals,
    cancel: &'a Cancel,
}

impl<'a> Interrupt<'a> {
    /// From now on a signal does not end the process.
    pub(crate) fn listen(cancel: &'a Cancel) -> std::io::Result<Self> {
        Ok(Self {
            signals: Signals::new([SIGINT, SIGTERM, SIGHUP])?,
            cancel,
        })
    }

    /// Runs `work`; a signal cancels it.
    pub(crate) fn during<R>(self, work: impl FnOnce() -> R) -> R {
        let Self {
            mut signals,
            cancel,
        } = self;
        let handle = signals.handle();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for signal in &mut signals {
                    if cancel.is_cancelled() {
                        // The user insists; nothing that is left behind survives this process.
                        drop(signal_hook::low_level::emulate_default_handler(signal));
                    }
                    cancel.cancel();
                }
            });
            let result = work();
            handle.close();
            result
        })
    }
}
