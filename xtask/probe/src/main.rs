//! A program that is linked and measured, never run.
//!
//! The difference between it with and without the feature `operations` is what the core adds to a kernel that has its
//! table, its storage and its platform already, with what it costs to call it.

#![no_std]
#![no_main]

use core::hint::{black_box, spin_loop};
use core::panic::PanicInfo;

#[cfg(feature = "display")]
mod display;
mod machine;
#[cfg(feature = "operations")]
mod operations;
#[cfg(feature = "operations")]
mod registration;
#[cfg(feature = "single")]
mod single;
mod tracer;

/// Where the linker begins to keep what is used.
#[expect(unsafe_code, reason = "the linker looks for this name")]
// SAFETY: no other item of the program has this name.
#[unsafe(no_mangle)]
extern "C" fn _start(word: usize) -> ! {
    library(word);
    let machine = black_box(machine::make());
    #[cfg(feature = "single")]
    single::call_all(&machine, word);
    #[cfg(feature = "operations")]
    operations::call_all(word);
    #[cfg(feature = "display")]
    display::show_all(word);
    black_box(&machine);
    loop {
        spin_loop();
    }
}

/// Uses what any kernel already has of the library: its panics and its copying of memory.
fn library(word: usize) {
    let mut bytes = black_box([0_u8; 512]);
    let copy = black_box(bytes);
    bytes[word..].copy_from_slice(&copy[..word]);
    black_box(bytes[black_box(word)]);
    black_box(bytes.get(word).copied().expect("in range"));
    black_box(word.checked_mul(word).unwrap());
    assert_eq!(black_box(word), black_box(word));
    assert!(black_box(bytes) != copy, "{}", black_box(word));
}

#[panic_handler]
fn halt(_info: &PanicInfo<'_>) -> ! {
    loop {
        spin_loop();
    }
}
