//! The part `unsafe`: which parts of the tree may hold unsafe code, and that each file of them says why at its top.

use anyhow::Result;
use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::sources::{self, Source};
use crate::exit::Exit;

/// Every part that may hold unsafe code, by its role: `a/src/entry` is `a/src/entry.rs` and all below `a/src/entry/`, so
/// that a role may be split into files, and nothing else. A role that needs none any more has to go.
const ROLES: &[Role] = &[
    // `Riscv::new`, as `X86::new` below.
    // `Arm64::new`, where the kernel promises everything once.
    role("cpuhp-arm64/src/backend", Due::Now),
    role("cpuhp-arm64/src/clock/counter", Due::Now),
    role("cpuhp-arm64/src/critical_section", Due::Now),
    role("cpuhp-arm64/src/entry", Due::Now),
    // The tests' model of caches goes through memory word by word.
    role("cpuhp-arm64/src/fake", Due::Now),
    role("cpuhp-arm64/src/gic/registers", Due::Now),
    role("cpuhp-arm64/src/hardware", Due::Now),
    role("cpuhp-arm64/src/park", Due::Now),
    role("cpuhp-riscv/src/backend", Due::Now),
    role("cpuhp-riscv/src/critical_section", Due::Now),
    role("cpuhp-riscv/src/csr", Due::Now),
    role("cpuhp-riscv/src/entry", Due::Now),
    role("cpuhp-x86/src/apic/registers", Due::Now),
    // `X86::new`, where the kernel promises everything once.
    role("cpuhp-x86/src/backend", Due::Now),
    role("cpuhp-x86/src/clock/tsc", Due::Now),
    role("cpuhp-x86/src/critical_section", Due::Now),
    role("cpuhp-x86/src/entry", Due::Now),
    role("cpuhp-x86/src/low_page", Due::Now),
    role("cpuhp-x86/src/park", Due::Now),
    role("cpuhp-x86/tests/oracle", Due::Now),
    role("cpuhp-core/src/aref", Due::Later),
    role("examples/kernel/src/memory", Due::Now),
    role("examples/aarch64/src/absent", Due::Now),
    role("examples/aarch64/src/boot", Due::Now),
    role("examples/aarch64/src/console", Due::Now),
    role("examples/aarch64/src/cpu", Due::Now),
    role("examples/aarch64/src/gic", Due::Now),
    role("examples/aarch64/src/interrupts", Due::Now),
    role("examples/aarch64/src/kernel", Due::Now),
    role("examples/aarch64/src/memory", Due::Now),
    role("examples/aarch64/src/raspi", Due::Now),
    role("examples/aarch64/src/timer", Due::Now),
    role("examples/aarch64/src/units", Due::Now),
    role("examples/minimal/src/boot", Due::Now),
    role("examples/minimal/src/main", Due::Now),
    role("examples/riscv64/src/boot", Due::Now),
    role("examples/riscv64/src/console", Due::Now),
    role("examples/riscv64/src/cpu", Due::Now),
    role("examples/riscv64/src/interrupts", Due::Now),
    role("examples/riscv64/src/kernel", Due::Now),
    role("examples/riscv64/src/memory", Due::Now),
    role("examples/riscv64/src/refusals", Due::Now),
    role("examples/riscv64/src/sbi", Due::Now),
    role("examples/riscv64/src/stale", Due::Now),
    role("examples/riscv64/src/units", Due::Now),
    role("examples/x86_64/src/apic", Due::Now),
    role("examples/x86_64/src/boot", Due::Now),
    role("examples/x86_64/src/console", Due::Now),
    role("examples/x86_64/src/cpu", Due::Now),
    role("examples/x86_64/src/interrupts", Due::Now),
    role("examples/x86_64/src/kernel", Due::Now),
    role("examples/x86_64/src/memory", Due::Now),
    role("examples/x86_64/src/plug", Due::Now),
    role("examples/x86_64/src/units", Due::Now),
    role("xtask/probe/src/main", Due::Now),
];

/// What counts as unsafe code: the keyword, assembly outside functions, and any word to the lint about them.
const WORDS: [&str; 4] = ["unsafe", "global_asm", "naked_asm", "unsafe_code"];

/// One part of the tree.
#[derive(Debug)]
struct Role {
    /// Path without `.rs`.
    path: &'static str,
    due: Due,
}

/// Whether a role is in the tree.
#[derive(Debug)]
enum Due {
    Now,
    /// The design gives it this place; it is not written yet.
    Later,
}

const fn role(path: &'static str, due: Due) -> Role {
    Role { path, due }
}

impl Role {
    fn covers(&self, path: &str) -> bool {
        path.strip_prefix(self.path)
            .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    }
}

pub(super) fn run() -> Result<Exit> {
    let sources = sources::read()?;
    let rust = || sources.iter().filter(|source| source.path.ends_with(".rs"));
    let mut wrong = Vec::new();
    let mut holders = Vec::new();
    for source in rust() {
        match check(source, ROLES) {
            Ok(Holds::Unsafe) => holders.push(source.path.as_str()),
            Ok(Holds::Nothing) => {}
            Err(what) => wrong.push(what),
        }
    }
    wrong.extend(check_roles(ROLES, &holders));
    println!(
        "{} files read, {} hold unsafe code",
        rust().count(),
        holders.len()
    );
    Ok(sources::verdict(&wrong))
}

/// Roles of which no file holds what they may hold.
fn check_roles(roles: &[Role], holders: &[&str]) -> Vec<String> {
    let is_stale = |role: &&Role| {
        matches!(role.due, Due::Now) && !holders.iter().any(|path| role.covers(path))
    };
    let stale = roles.iter().filter(is_stale);
    stale
        .map(|role| {
            format!(
                "no file of {} holds unsafe code as it should: take it off the list",
                role.path
            )
        })
        .collect()
}

/// What a file holds that breaks no rule.
#[derive(Debug, PartialEq, Eq)]
enum Holds {
    Unsafe,
    Nothing,
}

fn check(source: &Source, roles: &[Role]) -> Result<Holds, String> {
    let path = &source.path;
    let Ok(tokens) = source.text.parse::<TokenStream>() else {
        return Err(format!("{path} cannot be read as Rust"));
    };
    if !holds_unsafe(tokens.clone()) {
        return Ok(Holds::Nothing);
    }
    if !roles.iter().any(|role| role.covers(path)) {
        return Err(format!(
            "{path} holds unsafe code and is not on the list of files that may"
        ));
    }
    if says_why(source, tokens) {
        return Ok(Holds::Unsafe);
    }
    Err(if is_root(path) {
        format!(
            "{path}: the item with unsafe code needs `#[expect(unsafe_code, reason = \"...\")]`"
        )
    } else {
        format!("{path} does not open with `#![expect(unsafe_code, reason = \"...\")]`")
    })
}

/// Whether one of the words stands in the code; comments and strings are no tokens of it.
fn holds_unsafe(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(word) => WORDS.iter().any(|unsafe_word| word == unsafe_word),
        TokenTree::Group(group) => holds_unsafe(group.stream()),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

/// A crate root, where an inner attribute would cover the whole crate.
fn is_root(path: &str) -> bool {
    path.ends_with("/lib.rs") || path.ends_with("/main.rs")
}

/// Whether the expectation is there: among the first attributes of the file, or in a crate root on an item.
fn says_why(source: &Source, tokens: TokenStream) -> bool {
    if is_root(&source.path) {
        return expects(tokens, &Place::Anywhere);
    }
    expects(tokens, &Place::Top)
}

enum Place {
    Top,
    Anywhere,
}

fn expects(tokens: TokenStream, place: &Place) -> bool {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let is_hash = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '#');
        if is_hash {
            let is_inner = tokens
                .next_if(|next| matches!(next, TokenTree::Punct(punct) if punct.as_char() == '!'));
            let Some(TokenTree::Group(group)) = tokens.peek() else {
                continue;
            };
            let is_here = is_inner.is_some() == matches!(place, Place::Top);
            if is_here && is_expectation(group.stream()) {
                return true;
            }
            if matches!(place, Place::Top) && is_inner.is_none() {
                return false;
            }
            tokens.next();
            continue;
        }
        match (place, token) {
            (Place::Top, _) => return false,
            (Place::Anywhere, TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                if expects(group.stream(), place) {
                    return true;
                }
            }
            (Place::Anywhere, _) => {}
        }
    }
    false
}

/// `expect(unsafe_code, reason = …)`
fn is_expectation(tokens: TokenStream) -> bool {
    let mut tokens = tokens.into_iter();
    let is_expect = matches!(tokens.next(), Some(TokenTree::Ident(word)) if word == "expect");
    let Some(TokenTree::Group(arguments)) = tokens.next() else {
        return false;
    };
    let words: Vec<String> = arguments
        .stream()
        .into_iter()
        .map(|token| token.to_string())
        .collect();
    is_expect
        && words.iter().any(|word| word == "unsafe_code")
        && words.iter().any(|w| w == "reason")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "a/src/listed.rs";
    const ONE_ROLE: &[Role] = &[role("a/src/listed", Due::Now)];
    const OPENED: &str = "//! Docs.\n\n#![expect(unsafe_code, reason = \"why\")]\n";

    fn said(path: &str, text: &str) -> String {
        let source = Source {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        check(&source, ONE_ROLE).err().unwrap_or_default()
    }

    #[test]
    fn comments_strings_and_longer_words_are_not_the_keyword() {
        let text = "//! unsafe\n/* unsafe */ const A: &str = r#\"unsafe\"#; // unsafe\nfn not_unsafe() {}\n";
        assert_eq!(said("a/src/b.rs", text), "");
    }

    #[test]
    fn keyword_outside_the_list_is_refused_wherever_it_stands() {
        for text in [
            "unsafe fn a() {}",
            "fn a() { { unsafe { b() } } }",
            "#[unsafe(no_mangle)] fn a() {}",
            "macro_rules! m { () => { unsafe { b() } } }",
            "core::arch::global_asm!(\"nop\");",
            "#[expect(unsafe_code, reason = \"why\")] fn a() {}",
            "#![allow(unsafe_code)]",
        ] {
            assert!(
                said("a/src/b.rs", text).contains("not on the list"),
                "{text}"
            );
        }
    }

    #[test]
    fn listed_file_must_open_with_the_reason() {
        let path = LISTED;
        assert_eq!(said(path, &format!("{OPENED}unsafe fn a() {{}}\n")), "");
        assert!(said(path, "unsafe fn a() {}").contains("does not open"));
        let late =
            "fn b() {}\nmod c { #![expect(unsafe_code, reason = \"why\")] unsafe fn a() {} }";
        assert!(said(path, late).contains("does not open"));
        let bare = "#![expect(unsafe_code)]\nunsafe fn a() {}";
        assert!(said(path, bare).contains("does not open"));
    }

    #[test]
    fn role_covers_its_file_and_those_below_it_only() {
        let role = role("a/src/listed", Due::Now);
        assert!(role.covers(LISTED) && role.covers("a/src/listed/part.rs"));
        for path in [
            "a/src/listed_too.rs",
            "a/src/listed.rs.rs",
            "b/a/src/listed.rs",
        ] {
            assert!(!role.covers(path), "{path}");
        }
    }

    #[test]
    fn role_without_unsafe_code_is_refused_unless_it_is_to_come() {
        assert!(check_roles(ONE_ROLE, &["a/src/listed/part.rs"]).is_empty());
        assert!(check_roles(ONE_ROLE, &[]).join("").contains("take it off"));
        assert!(check_roles(&[role("a/src/listed", Due::Later)], &[]).is_empty());
    }

    #[test]
    fn crate_root_says_it_on_the_item() {
        let item = "#[expect(unsafe_code, reason = \"why\")]\nunsafe fn a() {}";
        let inside = format!("impl A {{ {item} }}");
        let tokens = |text: &str| text.parse::<TokenStream>().unwrap();
        assert!(expects(tokens(item), &Place::Anywhere));
        assert!(expects(tokens(&inside), &Place::Anywhere));
        assert!(!expects(tokens(OPENED), &Place::Anywhere));
        assert!(expects(tokens(OPENED), &Place::Top));
    }

    #[test]
    fn text_that_is_no_rust_is_refused() {
        assert!(said("a/src/b.rs", "fn a( {").contains("cannot be read"));
    }
}
