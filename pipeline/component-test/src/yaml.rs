use component::{Factory, Settings};
use figment::value::{Dict, Value};

/// Reads a component's section of the configuration and checks it.
///
/// # Errors
///
/// Fails with every complaint of the component, one a line, each with the setting's path if it has one.
pub fn settings(factory: &Factory, yaml: &str) -> Result<Box<dyn Settings>, String> {
    parse(factory, &section(yaml)?)
}

pub(crate) fn parse(factory: &Factory, section: &Value) -> Result<Box<dyn Settings>, String> {
    let settings = factory.parse(section).map_err(|errors| {
        lines(errors.into_iter().map(|error| complaint(&error.path.join("."), &error.kind.to_string())))
    })?;
    let invalid = settings.validate();
    if invalid.is_empty() {
        return Ok(settings);
    }
    Err(lines(invalid.iter().map(|it| complaint(&it.path, &it.to_string()))))
}

fn complaint(path: &str, message: &str) -> String {
    if path.is_empty() { message.to_owned() } else { format!("{path}: {message}") }
}

fn lines(complaints: impl Iterator<Item = String>) -> String {
    complaints.collect::<Vec<_>>().join("\n")
}

/// Reads YAML as the configuration does: a section without content is an empty map.
pub(crate) fn section(yaml: &str) -> Result<Value, String> {
    let only_comments = yaml.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    if only_comments {
        return Ok(Dict::new().into());
    }
    let value: Value = serde_saphyr::from_str(yaml).map_err(|err| err.to_string())?;
    match value {
        Value::Empty(..) => Ok(Dict::new().into()),
        value => Ok(value),
    }
}
