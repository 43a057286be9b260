//! The progress display: a bar on a terminal, lines elsewhere.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use guestdump::{Progress, ProgressSnapshot};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::When;
use crate::report::{human, note};

const BAR_INTERVAL: Duration = Duration::from_millis(100);
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// A thread that shows a [`Progress`] until it is dropped.
pub(crate) struct Ticker {
    thread: Option<JoinHandle<()>>,
    done: Option<mpsc::Sender<()>>,
}

impl Ticker {
    /// Begins to show `progress` on stderr, if `when` asks for it.
    pub(crate) fn start(progress: Progress, when: When) -> io::Result<Option<Self>> {
        let terminal = io::stderr().is_terminal();
        if when == When::Never || (when == When::Auto && !terminal) {
            return Ok(None);
        }
        let (done, is_done) = mpsc::channel();
        let builder = std::thread::Builder::new().name("progress".into());
        let thread = builder.spawn(move || {
            if terminal {
                draw_bar(&progress, &is_done);
            } else {
                print_lines(&progress, &is_done);
            }
        })?;
        Ok(Some(Self {
            thread: Some(thread),
            done: Some(done),
        }))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.done = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn wait(is_done: &mpsc::Receiver<()>, interval: Duration) -> bool {
    is_done.recv_timeout(interval) == Err(RecvTimeoutError::Timeout)
}

fn draw_bar(progress: &Progress, is_done: &mpsc::Receiver<()>) {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    let template = "{percent:>3}% [{bar:40}] {binary_bytes}/{binary_total_bytes} {msg} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    while wait(is_done, BAR_INTERVAL) {
        let now = progress.snapshot();
        bar.set_length(now.total);
        bar.set_position(now.done);
        bar.set_message(format!("{} written", human(now.written)));
    }
    bar.finish_and_clear();
}

fn print_lines(progress: &Progress, is_done: &mpsc::Receiver<()>) {
    while wait(is_done, LINE_INTERVAL) {
        note(&line(progress.snapshot()));
    }
    note(&line(progress.snapshot()));
}

fn line(now: ProgressSnapshot) -> String {
    format!(
        "{}% of {}, {} written",
        percent(now.done, now.total),
        human(now.total),
        human(now.written)
    )
}

fn percent(done: u64, total: u64) -> u128 {
    u128::from(done) * 100 / u128::from(total.max(1))
}
