//! A progress bar on a terminal, nothing elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// A bar over this many bytes, on standard error if that is a terminal.
pub(crate) fn bytes(total: u64, what: &'static str) -> ProgressBar {
    styled(Some(total), "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}, {eta} left", what)
}

/// A count of bytes, where nobody knows how many there will be.
pub(crate) fn bytes_so_far(what: &'static str) -> ProgressBar {
    styled(None, "{msg} {bytes} {bytes_per_sec}", what)
}

/// Standard error, unless silence was asked for.
fn target() -> ProgressDrawTarget {
    if output::is_quiet() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(10) }
}

fn styled(total: Option<u64>, template: &str, what: &'static str) -> ProgressBar {
    // Draws nothing unless standard error is a terminal.
    let bar = ProgressBar::with_draw_target(total, target());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
