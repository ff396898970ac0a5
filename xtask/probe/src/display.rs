//! Every text the core can print.

use core::fmt::{Display, Write};
use core::hint::black_box;

use cpuhp_core::{BulkReport, KickError, OpError};

/// Where the text goes.
struct Sink;

impl Write for Sink {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        black_box(text);
        Ok(())
    }
}

fn show(value: Option<&impl Display>) {
    if let Some(value) = black_box(value) {
        write!(Sink, "{value}").ok();
    }
}

/// Prints an error of each kind and a report.
pub(crate) fn show_all(_: usize) {
    show(None::<&OpError>);
    show(None::<&KickError>);
    show(None::<&BulkReport>);
}
