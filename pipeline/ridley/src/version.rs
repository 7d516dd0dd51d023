use std::process::ExitCode;

use crate::output;

/// Shows the version and what it was built from.
pub(crate) fn version() -> anyhow::Result<ExitCode> {
    output::line(format_args!("ridley {}", env!("CARGO_PKG_VERSION")))?;
    output::line(format_args!("revision: {}", option_env!("RIDLEY_REVISION").unwrap_or("unknown")))?;
    output::line(format_args!("target: {}", env!("RIDLEY_TARGET")))?;
    output::line(format_args!("eBPF object: {}", ebpf_receiver::object_hash()))?;
    Ok(ExitCode::SUCCESS)
}
