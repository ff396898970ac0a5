#![expect(unsafe_code, reason = "`Window::new` is unsafe")]

use std::vec::Vec;

use super::*;

/// The machine's page; each test has its own, since `open` and `close` are plain functions.
macro_rules! page {
    () => {{
        static PAGE: [AtomicU8; 4096] = [const { AtomicU8::new(0xaa) }; 4096];
        static CALLS: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];
        let page = LowPage {
            phys: 0x9000,
            open: |phys| {
                assert_eq!(phys, 0x9000);
                CALLS[0].fetch_add(1, Ordering::Relaxed);
                NonNull::new(PAGE.as_ptr().cast_mut().cast())
            },
            close: |phys| {
                assert_eq!(phys, 0x9000);
                assert!(PAGE.iter().all(|byte| byte.load(Ordering::Relaxed) == 0xaa));
                CALLS[1].fetch_add(1, Ordering::Relaxed);
            },
        };
        let window = new(page).unwrap();
        let bytes = || -> Vec<u8> { PAGE.iter().map(|b| b.load(Ordering::Relaxed)).collect() };
        let calls = || [0, 1].map(|i: usize| CALLS[i].load(Ordering::Relaxed));
        (window, bytes, calls)
    }};
}

fn new(page: LowPage) -> Result<Window, SetupError> {
    // SAFETY: promise 1: each test's page is its own, and atomic.
    unsafe { Window::new(page) }
}

#[test]
fn bytes_are_written_once_and_restored_after_the_last() {
    let (window, bytes, calls) = page!();
    assert!(!window.is_open());
    window.get(|| [1; IMAGE_LEN]).unwrap();
    window.get(|| panic!("written already")).unwrap();
    assert!(bytes()[..IMAGE_LEN].iter().all(|byte| *byte == 1));
    assert!(bytes()[IMAGE_LEN..].iter().all(|byte| *byte == 0xaa));
    window.put();
    assert!(window.is_open(), "a late CPU keeps it");
    assert_eq!(calls(), [1, 0]);
    window.put();
    assert!(!window.is_open());
    assert_eq!(calls(), [1, 1], "`close` has seen the old bytes");
    window.get(|| [2; IMAGE_LEN]).unwrap();
    assert_eq!(bytes()[0], 2);
    window.put();
    assert_eq!(calls(), [2, 2]);
}

#[test]
fn a_page_that_does_not_open_takes_no_reference() {
    let window = new(LowPage {
        phys: 0x8000,
        open: |_| None,
        close: |_| panic!("was never open"),
    })
    .unwrap();
    let refused = window.get(|| [0; IMAGE_LEN]);
    assert_eq!(refused, Err(KickError::new(KickErrorKind::BadAddress)));
    assert!(!window.is_open());
    window.put();
    assert!(!window.is_open());
}

#[test]
fn only_a_page_that_sipi_can_name_is_taken() {
    for (phys, good) in [
        (0, false),
        (0x1000, true),
        (0x8800, false),
        (0xff000, true),
        (0x10_0000, false),
        (u32::MAX, false),
    ] {
        let page = LowPage {
            phys,
            open: |_| None,
            close: |_| {},
        };
        let taken = new(page).map(|window| u32::from(window.number()) << 12);
        let expected = if good {
            Ok(phys)
        } else {
            Err(SetupError::LowPage(phys))
        };
        assert_eq!(taken, expected);
    }
}

#[test]
fn many_control_cpus_share_it() {
    let (window, bytes, calls) = page!();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    window.get(|| [7; IMAGE_LEN]).unwrap();
                    assert!(window.is_open());
                    window.put();
                }
            });
        }
    });
    assert!(!window.is_open());
    assert!(bytes().iter().all(|byte| *byte == 0xaa));
    let [opened, closed] = calls();
    assert!(opened == closed && opened >= 1);
}

#[test]
fn a_turn_that_never_ends_is_an_error_and_leaves_the_page_open() {
    let (window, bytes, calls) = page!();
    window.get(|| [1; IMAGE_LEN]).unwrap();
    let before = bytes();
    window.users.fetch_or(MOVING, Ordering::Relaxed);
    let refused = window.get(|| panic!("not its turn")).unwrap_err();
    assert_eq!(refused.kind, KickErrorKind::Busy);
    window.put();
    assert_eq!((bytes(), calls()), (before, [1, 0]));
}
