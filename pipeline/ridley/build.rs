//! Tells the program what it is built from: the target, and the git revision where there is one.

use std::{env, error::Error, process::Command};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rustc-env=RIDLEY_TARGET={}", env::var("TARGET")?);
    // A build outside a checkout, or without git, can name the revision itself.
    println!("cargo::rerun-if-env-changed=RIDLEY_REVISION");
    if env::var_os("RIDLEY_REVISION").is_none()
        && let Some(revision) = git(&["rev-parse", "--short=12", "HEAD"])
    {
        println!("cargo::rustc-env=RIDLEY_REVISION={revision}");
        // Moves with every commit and checkout.
        if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
            println!("cargo::rerun-if-changed={log}");
        }
    }
    Ok(())
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|it| it.status.success())?;
    String::from_utf8(output.stdout).ok().map(|it| it.trim().to_owned())
}
