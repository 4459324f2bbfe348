//! `netdx explain`: the page of a cause. Owns: its flags. Must not know: what the pages say, how they look.

use super::{complete, filters};
use crate::{
    exit::Exit,
    explain::{self, glossary},
    filter::Code,
    render::page,
};
use clap_complete::ArgValueCandidates;
use std::io::{self, Write as _};

/// Flags of `explain`.
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    about = "Show what a verdict means and what to do",
    long_about = "Shows the page of a verdict: what happened, how netdx knows, what to do, what it is confused with."
)]
pub(super) struct Args {
    /// The verdict, as a report has it (refused.bound-elsewhere); a family (dns) shows all of it.
    #[arg(required_unless_present = "list", value_parser = filters::code, add = ArgValueCandidates::new(complete::codes))]
    code: Option<Code>,
    /// List every verdict, or those of the family.
    #[arg(long)]
    list: bool,
    /// As a manual page: netdx explain CODE --man | man -l -
    #[arg(long, conflicts_with = "list")]
    man: bool,
}

/// Explains.
///
/// # Errors
/// stdout can't be written.
pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let is_wanted = |code: &str| args.code.as_ref().is_none_or(|wanted| wanted.covers(code));
    let causes: Vec<_> = explain::registry().iter().filter(|cause| is_wanted(cause.code)).collect();
    let layout = super::stdout_layout();
    let text = if args.list {
        page::list(causes.iter().map(|cause| (cause.code, cause.page)), &layout)
    } else if args.man {
        causes.iter().map(|cause| page::man(cause.code, &(cause.page.to_owned() + &glossary::of(cause.page)))).collect()
    } else {
        let pages = causes.iter().map(|cause| page::text(cause.code, cause.page, &layout));
        // Once for all pages that are shown.
        let all: String = causes.iter().map(|cause| cause.page).collect();
        pages.chain(Some(page::section(&glossary::of(&all), &layout))).collect::<Vec<_>>().join("\n")
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Done)
}
