//! To come.
#![no_std]
#![no_main]
