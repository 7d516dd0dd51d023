use config::{Checked, Embedded, Errors, Sources};

use crate::{cli::Options, components, output};

/// What runs without --config.
const DEFAULT: Embedded =
    Embedded { name: "built-in default.yaml", text: include_str!("../../../configs/default.yaml") };

/// Reads the configuration that the command line names.
pub(crate) fn load(options: &Options) -> Result<Checked, Errors> {
    let sources = Sources {
        embedded: Some(DEFAULT),
        files: options.config.clone(),
        set: options.set.clone(),
        ..Sources::default()
    };
    config::load(&sources, &components::factories())
}

/// As [`load`], telling the user everything that is wrong.
pub(crate) fn load_or_explain(options: &Options) -> anyhow::Result<Option<Checked>> {
    match load(options) {
        Ok(checked) => Ok(Some(checked)),
        Err(errors) => {
            output::note(&errors)?;
            let n_errors = errors.iter().count();
            let noun = if n_errors == 1 { "error" } else { "errors" };
            output::note(format_args!("\n{n_errors} {noun} in the configuration"))?;
            Ok(None)
        }
    }
}
