//! The pure ring stays pure: what netdx concludes depends on its inputs alone.
//!
//! Each module of the ring is parsed, and every path it names is compared with what it must not know. Tests inside the
//! modules are exempt: they may read a file.

use std::fs;
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};

/// The modules of the pure ring.
const PURE: [&str; 16] = [
    "time",
    "event",
    "fact",
    "want",
    "input",
    "coverage",
    "decode",
    "diagnosis",
    "story",
    "explain",
    "report",
    "render",
    "recording",
    "ruleset",
    "filter",
    "quantity",
];

/// Paths that reach the world, a clock, or a module that does.
const FORBIDDEN: [&str; 33] = [
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "jiff::Timestamp::now",
    "jiff::Zoned::now",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "tokio",
    "aya",
    "rustix",
    "libc",
    "procfs",
    "netlink_sys",
    "hickory_resolver",
    "crate::live",
    "crate::host",
    "crate::cli",
    "crate::pipeline",
    "crate::privilege",
    "crate::inspect",
];

#[test]
fn the_pure_ring_names_nothing_that_reaches_the_world() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../netdx-user/src");
    let mut breaches = Vec::new();
    let mut seen = 0;
    for module in PURE {
        for file in files_of(&source, module) {
            seen += 1;
            let text = fs::read_to_string(&file).expect("a source file is readable");
            let name = file.strip_prefix(&source).expect("below the source folder").display();
            breaches.extend(breaches_in(&text).into_iter().map(|breach| format!("{name}: {breach}")));
        }
    }
    assert!(seen > PURE.len(), "only {seen} files of the pure ring were found in {}", source.display());
    assert!(breaches.is_empty(), "the pure ring reaches out:\n{}", breaches.join("\n"));
}

#[test]
fn every_way_to_reach_out_is_found() {
    for (code, breach) in [
        ("use std::fs;", "std::fs"),
        ("use std::{fmt, fs::File};", "std::fs::File"),
        ("use std::net::*;", "std::net::*"),
        ("fn f() { let t = std::time::Instant::now(); }", "std::time::Instant::now"),
        ("fn f() { format!(\"{:?}\", std::env::args()); }", "std::env::args"),
        ("struct S(tokio::sync::Mutex<u8>);", "tokio::sync::Mutex"),
        ("use crate::host::Host;", "crate::host::Host"),
        ("use super::super::live;", "super::super::live"),
        ("fn f() { unsafe { g() } }", "unsafe"),
        ("unsafe fn f() {}", "unsafe"),
    ] {
        assert_eq!(breaches_in(code), [breach], "{code}");
    }
    for code in [
        "use std::net::{IpAddr, Ipv4Addr};\nuse std::io::{Read, Write};",
        "use crate::want::Want;",
        "/// Never std::fs.\nfn f() -> &'static str { \"std::fs\" }",
        "#[cfg(test)] mod tests { use std::fs; }",
        "fn live() {} struct Host { host: u8 }",
    ] {
        assert_eq!(breaches_in(code), [""; 0], "{code}");
    }
}

/// The files of a module, `name.rs` and all below `name/`, but those that are only tests.
fn files_of(source: &Path, module: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = vec![source.join(format!("{module}.rs"))];
    let mut folders = vec![source.join(module)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("a folder can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") && path.file_stem().is_some_and(|s| s != "tests") {
                files.push(path);
            }
        }
    }
    files.retain(|file| file.is_file());
    files
}

fn breaches_in(text: &str) -> Vec<String> {
    let mut finder = Finder::default();
    finder.visit_file(&syn::parse_file(text).expect("a source file parses"));
    finder.breaches
}

/// Collects what a file names although it must not.
#[derive(Default)]
struct Finder {
    breaches: Vec<String>,
}

impl Finder {
    fn check(&mut self, path: &str) {
        let within = |forbidden: &str| path == forbidden || path.starts_with(&format!("{forbidden}::"));
        let glob_over = |forbidden: &str| path.strip_suffix('*').is_some_and(|prefix| forbidden.starts_with(prefix));
        let upwards = path.starts_with("super::")
            && FORBIDDEN.iter().filter_map(|f| f.strip_prefix("crate::")).any(|m| path.split("::").any(|s| s == m));
        if upwards || FORBIDDEN.iter().any(|forbidden| within(forbidden) || glob_over(forbidden)) {
            self.breaches.push(path.to_owned());
        }
    }

    fn check_use(&mut self, prefix: &str, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => self.check_use(&format!("{prefix}{}::", path.ident), &path.tree),
            syn::UseTree::Name(name) if name.ident == "self" => self.check(prefix.trim_end_matches("::")),
            syn::UseTree::Name(name) => self.check(&format!("{prefix}{}", name.ident)),
            syn::UseTree::Rename(rename) => self.check(&format!("{prefix}{}", rename.ident)),
            syn::UseTree::Glob(_) => self.check(&format!("{prefix}*")),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.check_use(prefix, tree)),
        }
    }

    /// A macro's arguments are tokens, not syntax: every run of `a::b::c` in them is a path.
    fn check_tokens(&mut self, tokens: proc_macro2::TokenStream) {
        let mut path = String::new();
        for token in tokens {
            match token {
                proc_macro2::TokenTree::Ident(word) if path.is_empty() || path.ends_with("::") => {
                    path.push_str(&word.to_string());
                    continue;
                }
                proc_macro2::TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => {
                    path.push(':');
                    continue;
                }
                proc_macro2::TokenTree::Group(group) => self.check_tokens(group.stream()),
                _ => {}
            }
            self.check(path.trim_end_matches(':'));
            path.clear();
        }
        self.check(path.trim_end_matches(':'));
    }
}

fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_test_only(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.check_use("", &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.check(&words.join("::"));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        self.check_tokens(invocation.tokens.clone());
        visit::visit_macro(self, invocation);
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.breaches.push("unsafe".to_owned());
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if signature.unsafety.is_some() {
            self.breaches.push("unsafe".to_owned());
        }
        visit::visit_signature(self, signature);
    }
}
