//! Building the eBPF object, and proving that its sources give the one that is committed.
//!
//! The object is committed so that stable Rust alone builds Ridley. Building it takes a compiler whose LLVM the linker
//! speaks, the sources of `core`, and that linker; the versions are fixed, for others give other bytes.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};

use crate::command;

const FOLDER: &str = "ebpf-programs/socket-observer";
const OBJECT: &str = "ebpf-programs/socket-observer/socket-observer.bpf.o";
/// What made the object: its text is compared, so that an object without its record is noticed.
const RECORD: &str = "ebpf-programs/socket-observer/socket-observer.bpf.txt";
/// Files and folders that the object is made of.
const SOURCES: [&str; 5] = [
    "ebpf-programs/abi/Cargo.toml",
    "ebpf-programs/abi/src",
    "ebpf-programs/socket-observer/Cargo.lock",
    "ebpf-programs/socket-observer/Cargo.toml",
    "ebpf-programs/socket-observer/src",
];
/// Where everything is built; nothing of it is kept.
const BUILD: &str = "target/ebpf";

const CRATE: &str = "socket_observer";
const TARGET: &str = "bpfel-unknown-none";
const RUSTC: &str = "/usr/bin/rustc";
const RUSTC_VERSION: &str = "rustc 1.96.0 ";
const CARGO: &str = "/usr/bin/cargo";
const LLVM: &str = "/usr/lib/llvm-22";
const LINKER: &str = "bpf-linker";
const LINKER_VERSION: &str = "0.13.0";

/// Debian packages: a file by which each is known to be there, and what it is for.
const PACKAGES: [(&str, &str, &str); 6] = [
    (RUSTC, "rustc-web", "a compiler with the LLVM of the linker"),
    (CARGO, "cargo-web", "its cargo"),
    ("/usr/lib/rustlib/src/rust/library/core/src/lib.rs", "rust-web-src", "the sources of `core`"),
    ("/usr/lib/llvm-22/include/llvm-c/Core.h", "llvm-22-dev", "to build the linker"),
    ("/usr/include/zlib.h", "zlib1g-dev", "to build the linker"),
    ("/usr/include/zstd.h", "libzstd-dev", "to build the linker"),
];

/// What the command takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Builds again and compares with what is committed, without changing it.
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if options.check { check() } else { build() }
}

/// Builds the object from its sources, and puts it and the record of what made it in place.
fn build() -> anyhow::Result<()> {
    let root = root()?;
    let built = Built::new(&root)?;
    let record = built.record(&root)?;
    fs::copy(&built.object, root.join(OBJECT)).with_context(|| format!("cannot write {OBJECT}"))?;
    fs::write(root.join(RECORD), record).with_context(|| format!("cannot write {RECORD}"))?;
    eprintln!("wrote {OBJECT} and {RECORD}");
    Ok(())
}

/// Builds the object again, and fails unless it is the committed one, to the byte.
pub(crate) fn check() -> anyhow::Result<()> {
    let root = root()?;
    let committed = fs::read_to_string(root.join(RECORD)).with_context(|| format!("cannot read {RECORD}"))?;
    // Before anything is installed or built: this needs no toolchain.
    for line in [line("object", &hash_of(&root.join(OBJECT))?), line("sources", &hash_of_sources(&root)?)] {
        ensure!(
            committed.contains(&line),
            "{RECORD} does not say `{}`: run `cargo xtask ebpf` and commit what it writes",
            line.trim_end()
        );
    }
    let built = Built::new(&root)?;
    let record = built.record(&root)?;
    if record != committed {
        bail!(
            "the sources give another object than the committed one; committed:\n{committed}\nbuilt:\n{record}"
        );
    }
    eprintln!("{OBJECT} is what its sources give");
    Ok(())
}

/// An object that was just built.
struct Built {
    object: PathBuf,
    rustc: String,
    objcopy: String,
}

impl Built {
    fn new(root: &Path) -> anyhow::Result<Self> {
        install_packages()?;
        let rustc = command::output(Command::new(RUSTC).arg("--version"))?;
        ensure!(
            rustc.starts_with(RUSTC_VERSION),
            "{RUSTC} is {rustc}, and the object is made by {RUSTC_VERSION}; install that version of the package"
        );
        let linker = linker(root)?;
        let target = root.join(BUILD);
        command::run(
            Command::new(CARGO)
                .args(["build", "--quiet", "--locked", "--release", "--target", TARGET])
                .args(["-Z", "build-std=core", "-Z", "trim-paths"])
                // Paths of this machine would be in the line information that the verifier shows.
                .args(["--config", "profile.release.trim-paths=\"all\"", "--target-dir"])
                .arg(&target)
                .current_dir(root.join(FOLDER))
                .env("RUSTC", RUSTC)
                // `-Z` on a stable compiler: there is no other of this LLVM.
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_ENCODED_RUSTFLAGS", flags(&linker)?),
        )?;
        let linked = target.join(TARGET).join("release/socket-observer");
        let object = target.join("socket-observer.bpf.o");
        let objcopy = Path::new(LLVM).join("bin/llvm-objcopy");
        let mut strip = Command::new(&objcopy);
        // Type information stays; what debuggers need beside it is five times as large.
        strip.arg("--strip-debug");
        for symbol in symbols(&linked)? {
            if let Some(stable) = stable_name(&symbol) {
                strip.arg(format!("--redefine-sym={symbol}={stable}"));
            }
        }
        command::run(strip.arg(&linked).arg(&object))?;
        let version = command::output(Command::new(&objcopy).arg("--version"))?;
        let version = version.lines().map(str::trim).find(|it| it.contains("version")).unwrap_or_default();
        Ok(Self { object, rustc, objcopy: version.to_owned() })
    }

    fn record(&self, root: &Path) -> anyhow::Result<String> {
        let Self { object, rustc, objcopy } = self;
        Ok([
            "Written by `cargo xtask ebpf`; compared by `cargo xtask ebpf --check`. Hashes are SHA-256.\n\n"
                .to_owned(),
            line("object", &hash_of(object)?),
            line("sources", &hash_of_sources(root)?),
            line("rustc", rustc),
            line(LINKER, LINKER_VERSION),
            line("llvm-objcopy", objcopy),
        ]
        .concat())
    }
}

fn line(name: &str, value: &str) -> String {
    format!("{name:<14}{value}\n")
}

fn flags(linker: &Path) -> anyhow::Result<String> {
    // The third generation of instructions has 32-bit operations, which Linux knows since 5.1.
    let mut flags = vec!["-Clink-arg=--btf".to_owned(), "-Ctarget-cpu=v3".to_owned()];
    flags.push(format!("-Clinker={}", linker.display()));
    // `trim-paths` leaves the name of the folder that dependencies were unpacked into, which another source of the same
    // dependencies calls otherwise.
    for folder in dependency_folders()? {
        flags.push(format!("--remap-path-prefix={}=dependencies", folder.display()));
    }
    // The separator of cargo, so that a path may contain spaces.
    Ok(flags.join("\u{1f}"))
}

/// Returns the folders that cargo unpacks dependencies into: one for each source of them.
fn dependency_folders() -> anyhow::Result<Vec<PathBuf>> {
    let home = match (env::var_os("CARGO_HOME"), env::var_os("HOME")) {
        (Some(home), _) => PathBuf::from(home),
        (None, Some(home)) => Path::new(&home).join(".cargo"),
        (None, None) => bail!("neither `CARGO_HOME` nor `HOME` is set"),
    };
    let all = home.join("registry/src");
    let entries = fs::read_dir(&all).with_context(|| format!("cannot list {}", all.display()))?;
    entries.map(|it| Ok(it?.path())).collect()
}

/// Returns the names of the functions that a program calls.
fn symbols(object: &Path) -> anyhow::Result<Vec<String>> {
    let nm = Path::new(LLVM).join("bin/llvm-nm");
    let listed = command::output(Command::new(nm).arg("--just-symbol-name").arg(object))?;
    Ok(listed.lines().map(|it| it.trim().to_owned()).filter(|it| !it.is_empty()).collect())
}

/// Returns a mangled name without its crate's number, which depends on where the sources are; `None` if it has none.
///
/// `_RNvNtCs1SuoWCdnpAe_15socket_observer4walk6on_net` becomes `_RNvNtC15socket_observer4walk6on_net`, which is a
/// valid name too.
fn stable_name(symbol: &str) -> Option<String> {
    let name = format!("{}{CRATE}", CRATE.len());
    let (before, after) = symbol.split_once(&name)?;
    let before = before.strip_suffix('_')?;
    let (path, number) = before.rsplit_once("Cs")?;
    number.chars().all(|c| c.is_ascii_alphanumeric()).then(|| format!("{path}C{name}{after}"))
}

fn install_packages() -> anyhow::Result<()> {
    let missing: Vec<_> = PACKAGES.iter().filter(|(file, ..)| !Path::new(file).exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = missing.iter().map(|(_, package, _)| *package).collect();
    let reasons: Vec<_> =
        missing.iter().map(|(_, package, purpose)| format!("{package} ({purpose})")).collect();
    if !command::is_on_path("apt-get") {
        bail!(
            "the eBPF object is built on Debian 12: {} missing, and there is no apt-get",
            reasons.join(", ")
        );
    }
    if !command::is_root() {
        bail!("{} missing; run `apt-get install {}` as root", reasons.join(", "), packages.join(" "));
    }
    eprintln!("installing {}", reasons.join(", "));
    command::run(Command::new("apt-get").args(["update", "-qq"]))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "-qq", "-y", "--no-install-recommends"]).args(&packages);
    command::run(install.env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Returns the linker of the right version, building it if there is none.
fn linker(root: &Path) -> anyhow::Result<PathBuf> {
    let tools = root.join("target/tools");
    let own = tools.join("bin").join(LINKER);
    let expected = format!("{LINKER} {LINKER_VERSION}");
    let on_path =
        env::var_os("PATH").into_iter().flat_map(|path| env::split_paths(&path).collect::<Vec<_>>());
    for candidate in on_path.map(|it| it.join(LINKER)).chain([own.clone()]) {
        if candidate.is_file()
            && command::output(Command::new(&candidate).arg("--version")).is_ok_and(|it| it == expected)
        {
            return Ok(candidate);
        }
    }
    eprintln!("building {expected}: it turns the compiler's output into an eBPF object");
    command::run(
        command::cargo()
            .args(["install", LINKER, "--version", LINKER_VERSION, "--locked", "--quiet"])
            .args(["--no-default-features", "--features", "llvm-22", "--root"])
            .arg(&tools)
            .env("LLVM_PREFIX", LLVM),
    )?;
    Ok(own)
}

fn hash_of(file: &Path) -> anyhow::Result<String> {
    let line = command::output(Command::new("sha256sum").arg("--binary").arg(file))?;
    line.split_whitespace().next().map(str::to_owned).context("sha256sum printed nothing")
}

/// Returns one hash of all sources, whatever the order in which the file system lists them.
fn hash_of_sources(root: &Path) -> anyhow::Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        list(&root.join(source), &mut files)?;
    }
    files.sort();
    let relative = files.iter().map(|it| it.strip_prefix(root).unwrap_or(it));
    let lines = command::output(Command::new("sha256sum").arg("--binary").args(relative).current_dir(root))?;
    let list = root.join(BUILD).join("sources.txt");
    fs::create_dir_all(root.join(BUILD)).with_context(|| format!("cannot create {BUILD}"))?;
    fs::write(&list, lines).with_context(|| format!("cannot write {}", list.display()))?;
    hash_of(&list)
}

fn list(path: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))? {
        list(&entry?.path(), files)?;
    }
    Ok(())
}

/// Returns the repository's folder.
fn root() -> anyhow::Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(own.parent().context("xtask is not inside the repository")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_loses_what_depends_on_the_place() {
        check_name(
            "_RNvNtCs1SuoWCdnpAe_15socket_observer4walk6on_net",
            Some("_RNvNtC15socket_observer4walk6on_net"),
        );
        check_name(
            "_RNCNvNtCsg9t5IspzOT1_15socket_observer12state_change6record0B5_",
            Some("_RNCNvNtC15socket_observer12state_change6record0B5_"),
        );
    }

    #[test]
    fn other_names_stay() {
        check_name("on_state_change", None);
        check_name("_RNvNtCs1SuoWCdnpAe_4core3ptr", None);
        check_name("_RNvNtC15socket_observer4walk6on_net", None);
    }

    #[track_caller]
    fn check_name(symbol: &str, expected: Option<&str>) {
        assert_eq!(stable_name(symbol).as_deref(), expected);
    }
}
