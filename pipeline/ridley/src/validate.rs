use std::process::ExitCode;

use crate::{cli::Options, output, settings};

/// Checks the configuration; nothing is created.
pub(crate) fn validate(options: &Options) -> anyhow::Result<ExitCode> {
    let Some(checked) = settings::load_or_explain(options)? else { return Ok(ExitCode::FAILURE) };
    for warning in &checked.warnings {
        output::note(format_args!("warning: {warning}\n"))?;
    }
    output::line("ok")?;
    Ok(ExitCode::SUCCESS)
}
