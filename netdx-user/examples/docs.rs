//! Writes netdx's man pages and shell completions into a folder: `cargo xtask docs` runs it.

use clap_complete::env::Shells;
use std::{error::Error, ffi::OsString, fs, path::PathBuf};

/// Shells, and the name under which each looks for completions.
const SHELLS: [(&str, &str); 4] =
    [("bash", "netdx.bash"), ("zsh", "_netdx"), ("fish", "netdx.fish"), ("elvish", "netdx.elv")];

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).map_or_else(|| OsString::from("docs"), OsString::from);
    let (man, completions) = (PathBuf::from(&folder).join("man"), PathBuf::from(&folder).join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    clap_mangen::generate_to(netdx::cli::command(), &man)?;
    let shells = Shells::builtins();
    for (shell, file) in SHELLS {
        let completer = shells.completer(shell).ok_or_else(|| format!("there is no completion for {shell}"))?;
        let mut script = Vec::new();
        completer.write_registration("COMPLETE", "netdx", "netdx", "netdx", &mut script)?;
        fs::write(completions.join(file), script)?;
    }
    Ok(())
}
