//! The tracer of the probe: none, or with the feature `traced` one that the size check has to find.

#[cfg(feature = "traced")]
pub(crate) use self::seen::{TRACER, Tracer};

/// Traces nothing.
#[cfg(not(feature = "traced"))]
pub(crate) type Tracer = ();

/// The tracer.
#[cfg(not(feature = "traced"))]
pub(crate) const TRACER: Tracer = ();

#[cfg(feature = "traced")]
mod seen {
    use core::hint::black_box;

    use cpuhp_core::{CpuId, StepEvent, StepResult, Tag, Trace};

    /// Looks at everything, in functions of its own.
    pub(crate) struct Tracer;

    pub(crate) const TRACER: Tracer = Tracer;

    impl Trace for Tracer {
        const ON: bool = true;

        #[inline(never)]
        fn enter(&self, event: &StepEvent) {
            black_box(event);
        }

        #[inline(never)]
        fn exit(&self, event: &StepEvent, result: StepResult) {
            black_box((event, result.is_ok()));
        }

        #[inline(never)]
        fn fault(&self, event: &StepEvent) {
            black_box(event);
        }

        #[inline(never)]
        fn edge(&self, cpu: CpuId, from: Tag, to: Tag) {
            black_box((cpu, from, to));
        }

        #[inline(never)]
        fn kick(&self, cpu: CpuId, epoch: u16) {
            black_box((cpu, epoch));
        }
    }
}
