//! The part `unsafe`: which files may hold the keyword, and that each of them says why at its top.

use anyhow::Result;
use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::sources::{self, Source};
use crate::exit::Exit;

/// Every file that may hold `unsafe`; its attribute says why. Nothing else may, and nothing stays listed that no
/// longer needs it.
const ALLOWED: &[&str] = &[
    "cpuhp-x86/src/apic/registers.rs",
    "cpuhp-x86/src/clock.rs",
    "cpuhp-x86/src/entry.rs",
    "cpuhp-x86/src/low_page.rs",
    "cpuhp-x86/src/platform.rs",
    "examples/x86_64/src/console.rs",
    "examples/x86_64/src/cpu.rs",
    "examples/x86_64/src/main.rs",
    "examples/x86_64/src/memory.rs",
    "examples/x86_64/src/timer.rs",
    "xtask/probe/src/main.rs",
];

pub(super) fn run() -> Result<Exit> {
    let sources = sources::read()?;
    let rust = || sources.iter().filter(|source| source.path.ends_with(".rs"));
    let mut wrong: Vec<String> = rust().flat_map(|source| check(source, ALLOWED)).collect();
    for path in ALLOWED {
        if !sources.iter().any(|source| source.path == *path) {
            wrong.push(format!(
                "{path} is on the list of files with `unsafe` but not in the tree"
            ));
        }
    }
    println!(
        "{} files read, {} may hold `unsafe`",
        rust().count(),
        ALLOWED.len()
    );
    Ok(sources::verdict(&wrong))
}

fn check(source: &Source, allowed: &[&str]) -> Vec<String> {
    let path = &source.path;
    let Ok(tokens) = source.text.parse::<TokenStream>() else {
        return vec![format!("{path} cannot be read as Rust")];
    };
    let is_allowed = allowed.contains(&path.as_str());
    match (holds_unsafe(tokens.clone()), is_allowed) {
        (false, false) => Vec::new(),
        (false, true) => vec![format!(
            "{path} needs no `unsafe` any more: take it off the list"
        )],
        (true, false) => vec![format!(
            "{path} holds `unsafe` and is not on the list of files that may"
        )],
        (true, true) if says_why(source, tokens) => Vec::new(),
        (true, true) if is_root(path) => vec![format!(
            "{path}: the item with `unsafe` needs `#[expect(unsafe_code, reason = \"...\")]`"
        )],
        (true, true) => {
            vec![format!(
                "{path} does not open with `#![expect(unsafe_code, reason = \"...\")]`"
            )]
        }
    }
}

/// Whether the keyword stands in the code; comments and strings are no tokens of it.
fn holds_unsafe(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(word) => word == "unsafe",
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
    const OPENED: &str = "//! Docs.\n\n#![expect(unsafe_code, reason = \"why\")]\n";

    fn said(path: &str, text: &str) -> String {
        let source = Source {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        check(&source, &[LISTED]).join("; ")
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
    fn listed_file_without_the_keyword_is_refused() {
        assert!(said(LISTED, "fn a() {}").contains("take it off"));
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
