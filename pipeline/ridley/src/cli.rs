use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Maps who talks to whom on this host, and how well, with eBPF.
///
/// Without a command, `ridley` runs. Without --config it runs the built-in configuration: every TCP connection of this
/// host, ends named by process, a live table of links, and metrics for Prometheus at http://127.0.0.1:9464/metrics.
#[derive(Debug, Parser)]
#[command(name = "ridley", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) options: Options,
}

#[derive(Clone, Copy, Debug, Default, Subcommand)]
pub(crate) enum Command {
    /// Run the pipelines until a signal; this is also what happens without a command
    ///
    /// SIGTERM, SIGINT or SIGHUP stops the receivers and drains what is under way; a second signal ends at once. The
    /// exit code is 0 after a clean drain, and 1 if a component failed or the drain's time was over. SIGHUP is ignored
    /// where it was at the start, as under nohup.
    #[default]
    Run,
    /// Check the configuration without running it
    Validate,
    /// List the components that a configuration can name
    Components,
    /// Check what the eBPF receiver needs of this host
    Check,
    /// Print the ClusterRole that the configuration needs in Kubernetes
    Rbac,
    /// Show the version and what it was built from
    Version,
}

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Configuration file; several are layered: maps merge, lists and values of later ones replace
    #[arg(long, short, global = true, value_name = "FILE")]
    pub(crate) config: Vec<PathBuf>,

    /// Set one value over the files, such as exporters.prometheus.endpoint=0.0.0.0:9464
    #[arg(long, global = true, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,

    /// Least important log lines that are shown
    #[arg(long, global = true, value_enum, default_value_t, value_name = "LEVEL")]
    pub(crate) log_level: LogLevel,

    /// Form of the log, which goes to standard error
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,

    /// Keep all privileges and allow all system calls when running; for those who look for a fault
    ///
    /// Otherwise `ridley run` gives up every capability that it does not need, and the system calls that an observer never
    /// needs: to start programs, to touch other processes, to change the machine.
    #[arg(long, global = true)]
    pub(crate) no_sandbox: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Options may stand before or after the command, and without one.
    #[test]
    fn options_may_stand_anywhere() {
        for args in [
            &["ridley", "--config", "a.yaml", "--set", "a.b=c"][..],
            &["ridley", "--config", "a.yaml", "run", "--set", "a.b=c"],
            &["ridley", "run", "--config", "a.yaml", "--set", "a.b=c"],
        ] {
            let Cli { command, options } = Cli::try_parse_from(args).unwrap();
            assert!(matches!(command.unwrap_or_default(), Command::Run));
            assert_eq!(options.config, [PathBuf::from("a.yaml")], "{args:?}");
            assert_eq!(options.set, ["a.b=c"], "{args:?}");
        }
    }
}
