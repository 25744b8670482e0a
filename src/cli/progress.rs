//! Progress of long work: a bar on a terminal, a plain line every few seconds elsewhere.

use super::output::{note, say};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Time between two plain lines.
const INTERVAL: Duration = Duration::from_secs(10);

/// Shows how far some work is.
pub(super) struct Progress {
    what: &'static str,
    bar: Option<ProgressBar>,
    total: usize,
    first: usize,
    begun: Instant,
    told: Instant,
}

impl Progress {
    /// Work of `total` steps, `first` of which are done.
    pub(super) fn new(what: &'static str, first: usize, total: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total as u64);
            let template = "{prefix} {bar:32} {pos}/{len} {msg} {eta} left";
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(what);
            bar.set_position(first as u64);
            bar.reset_eta();
            bar
        });
        let now = Instant::now();
        Self { what, bar, total, first, begun: now, told: now }
    }

    /// Seconds since the beginning.
    pub(super) fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// `done` steps are done; `message` says more, and is only made when it is shown.
    pub(super) fn at(&mut self, done: usize, message: impl Fn() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
            bar.set_message(message());
        } else if self.told.elapsed() >= INTERVAL || done == self.total {
            self.told = Instant::now();
            let rate = (done - self.first) as f64 / self.seconds();
            let left = (self.total - done) as f64 / rate.max(1e-9);
            note!("{} {done}/{} {} {} left", self.what, self.total, message(), duration(left));
        }
    }

    /// A line that stays.
    pub(super) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => note!("{line}"),
        }
    }

    /// A line of results, on standard output.
    pub(super) fn result(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say!("{line}")),
            None => say!("{line}"),
        }
    }

    /// The work is done.
    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Seconds as people say them.
pub(super) fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, _) => format!("{h}h{m:02}m"),
    }
}
