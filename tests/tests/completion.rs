//! Completion in shells: what is offered is what there is now. Any user; bash has to be there, as it is wherever scripts run.

use netdx_tests::island::{netdx, run};
use std::{
    net::TcpListener,
    process::{self, Command},
};

/// What bash offers for the last of these words, by the script that netdx gives it.
fn bash(words: &[&str]) -> Vec<String> {
    let script = r#"
        source <(COMPLETE=bash netdx)
        registered=$(complete -p netdx) && function=${registered##*-F } && function=${function%% *}
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_TYPE=9 COMPREPLY=()
        COMP_POINT=${#COMP_LINE}
        "$function" netdx "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let path = format!("{}:{}", netdx().parent().expect("a folder").display(), std::env::var("PATH").expect("PATH"));
    let said = run(Command::new("bash").args(["--norc", "-c", script, "bash", "netdx"]).args(words).env("PATH", path));
    String::from_utf8(said.stdout).expect("text").lines().map(str::to_owned).collect()
}

/// What zsh and fish are told: the call that their scripts make.
fn told(shell: &str, words: &[&str]) -> String {
    let mut command = Command::new(netdx());
    command.args(["--", "netdx"]).args(words).env("COMPLETE", shell);
    command.env("_CLAP_COMPLETE_INDEX", words.len().to_string()).env("_CLAP_IFS", "\n");
    String::from_utf8(run(&mut command).stdout).expect("text")
}

#[test]
fn codes_are_offered() {
    let offered = bash(&["explain", "refused."]);
    assert!(offered.contains(&"refused.bound-elsewhere".into()), "{offered:?}");
    assert!(offered.iter().all(|code| code.starts_with("refused.")), "{offered:?}");
    assert_eq!(bash(&["trace", "--code", "dualstack."]), ["dualstack.fallback"]);
    let all = String::from_utf8(run(Command::new(netdx()).args(["explain", "--list"])).stdout).expect("text");
    for code in bash(&["explain", ""]).iter().filter(|word| !word.starts_with('-')) {
        assert!(all.contains(code.as_str()), "{code} is no verdict");
    }
}

#[test]
fn ports_that_are_listened_on_are_offered() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = listener.local_addr().expect("its address").port().to_string();
    for words in [["listeners", &port[..2]].as_slice(), &["conns", "--port", &port], &["trace", "--port", ""]] {
        assert!(bash(words).contains(&port), "{words:?}: {:?}", bash(words));
    }
    drop(listener);
    assert!(!bash(&["listeners", &port]).contains(&port), "nobody listens there any more");
}

#[test]
fn processes_are_offered_with_their_names() {
    let own = process::id().to_string();
    assert!(bash(&["trace", "--pid", &own[..1]]).contains(&own));
    assert!(bash(&["conns", "--comm", "compl"]).iter().any(|name| name.starts_with("completion")));
    for shell in ["zsh", "fish"] {
        let offered = told(shell, &["conns", "--pid", &own]);
        let line = offered.lines().find(|line| line.starts_with(&own)).expect("it is offered");
        assert!(line.contains("completion"), "{shell}: {line}");
    }
}

#[test]
fn hidden_verbs_are_not_offered() {
    let verbs = bash(&[""]);
    for verb in ["trace", "check", "listeners", "conns", "routes", "addrs", "dns", "explain", "doctor"] {
        assert!(verbs.contains(&verb.into()), "{verb} is missing: {verbs:?}");
    }
    assert!(!verbs.iter().any(|verb| verb.contains("hold")), "{verbs:?}");
}
