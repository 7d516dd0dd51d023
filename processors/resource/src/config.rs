use component::InvalidSetting;
use serde::Deserialize;

/// Settings of the `resource` processor, in the words of the OpenTelemetry Collector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What is changed, one after the other.
    pub attributes: Vec<Change>,
}

/// A change of one attribute.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The attribute's name.
    pub key: String,

    /// What is done with it.
    pub action: Action,

    /// Its value, a text.
    #[serde(default)]
    pub value: Option<String>,

    /// The attribute that has its value; where that is missing nothing is done.
    #[serde(default)]
    pub from_attribute: Option<String>,
}

/// What is done with an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is added unless it is there.
    Insert,
    /// It has another value if it is there.
    Update,
    /// It has the value, whether it is there or not.
    Upsert,
    /// It is taken away.
    Delete,
}

impl component::Config for Config {
    fn validate(&self) -> Vec<InvalidSetting> {
        let Self { attributes } = self;
        let check = |(idx, change): (usize, &Change)| {
            let Change { key, action, value, from_attribute } = change;
            let path = format!("attributes[{idx}]");
            let n_values = usize::from(value.is_some()) + usize::from(from_attribute.is_some());
            let (n_expected, expected) = match action {
                Action::Delete => (0, "neither of `value` and `from_attribute` with `delete`"),
                Action::Insert | Action::Update | Action::Upsert => {
                    (1, "one of `value` and `from_attribute`")
                }
            };
            let found = ["neither", "one", "both"][n_values];
            if key.is_empty() {
                return Some(InvalidSetting::new(path, "a `key` that is a name", "an empty text"));
            }
            (n_values != n_expected).then(|| InvalidSetting::new(path, expected, found))
        };
        let mut invalid: Vec<_> = attributes.iter().enumerate().filter_map(check).collect();
        if attributes.is_empty() {
            invalid.push(InvalidSetting::new("attributes", "what is to be changed", "nothing"));
        }
        invalid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file sets every setting to something else than its default, so that a renamed setting is noticed.
    #[test]
    fn every_setting_can_be_set() {
        let config: Config = serde_saphyr::from_str(include_str!("../testdata/config.yaml")).unwrap();
        let change = |key: &str, action, value: Option<&str>, from: Option<&str>| Change {
            key: key.to_owned(),
            action,
            value: value.map(str::to_owned),
            from_attribute: from.map(str::to_owned),
        };
        let attributes = vec![
            change("deployment.environment.name", Action::Upsert, Some("shop"), None),
            change("service.namespace", Action::Insert, None, Some("k8s.namespace.name")),
            change("process.command_line", Action::Delete, None, None),
        ];
        assert_eq!(config, Config { attributes });
        assert_eq!(component::Config::validate(&config), []);
    }

    #[test]
    fn every_mistake_is_reported() {
        let text = "attributes: [{key: '', action: delete}, {key: a, action: insert}, \
                    {key: a, action: update, value: b, from_attribute: c}, {key: a, action: delete, value: b}]";
        let config: Config = serde_saphyr::from_str(text).unwrap();
        let found: Vec<_> = component::Config::validate(&config).iter().map(|it| it.path.clone()).collect();
        assert_eq!(found, ["attributes[0]", "attributes[1]", "attributes[2]", "attributes[3]"]);
    }
}
