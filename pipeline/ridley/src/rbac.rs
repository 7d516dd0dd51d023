use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
};

use component::Permission;

use crate::{cli::Options, output, settings};

/// Prints the ClusterRole with what the components of the configuration ask the API server for; nothing is created.
pub(crate) fn rbac(options: &Options) -> anyhow::Result<ExitCode> {
    let Some(checked) = settings::load_or_explain(options)? else { return Ok(ExitCode::FAILURE) };
    let permissions = checked.components.values().flat_map(|it| it.settings.permissions());
    output::line(role(permissions))?;
    Ok(ExitCode::SUCCESS)
}

fn role(permissions: impl Iterator<Item = Permission>) -> String {
    let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for Permission { group, resource } in permissions {
        groups.entry(group).or_default().insert(resource);
    }
    let rules = groups.iter().map(|(group, resources)| {
        let resources = resources.iter().map(|it| plain(it)).collect::<Vec<_>>().join(", ");
        format!("\n  - {{ apiGroups: [{}], resources: [{resources}], verbs: [list, watch] }}", plain(group))
    });
    let rules = if groups.is_empty() { " []".to_owned() } else { rules.collect() };
    format!(
        "\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: ridley
rules:{rules}"
    )
}

/// Quotes what YAML would not take for a text. What the API calls groups and resources by has none of it.
fn plain(text: &str) -> String {
    let is_plain = text.starts_with(|it: char| it.is_ascii_lowercase())
        && text.chars().all(|it| it.is_ascii_alphanumeric() || matches!(it, '.' | '-'));
    if is_plain { text.to_owned() } else { format!("{text:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_has_one_rule_whoever_asks() {
        let permission = |(group, resource): (&str, &str)| Permission {
            group: group.to_owned(),
            resource: resource.to_owned(),
        };
        let asked = [("apps", "replicasets"), ("", "pods"), ("", "nodes"), ("", "pods")].map(permission);
        let expected = "
  - { apiGroups: [\"\"], resources: [nodes, pods], verbs: [list, watch] }
  - { apiGroups: [apps], resources: [replicasets], verbs: [list, watch] }";
        assert_eq!(role(asked.into_iter()).split_once("rules:").unwrap().1, expected);
        assert_eq!(role(std::iter::empty()).split_once("rules:").unwrap().1, " []");
    }
}
