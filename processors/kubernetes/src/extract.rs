use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use regex::Regex;

use crate::{
    config::{Extract, From, Rule},
    texts::Texts,
};

/// Which labels and annotations become attributes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extraction {
    labels: Vec<Compiled>,
    annotations: Vec<Compiled>,
    pub(crate) well_known_labels: bool,
}

#[derive(Clone, Debug)]
struct Compiled {
    from: From,
    keys: Keys,
    tag: Option<String>,
    /// What the tag begins with if it has no name: `k8s.pod.label.`.
    prefix: String,
}

#[derive(Clone, Debug)]
enum Keys {
    One(String),
    Matching(Regex),
}

pub(crate) type Tags = Vec<(Arc<str>, Arc<str>)>;

impl Extraction {
    /// # Errors
    ///
    /// Names the rule that is none, by its place in the configuration, and what is wrong with it.
    pub(crate) fn new(config: &Extract) -> Result<Self, (String, String)> {
        let Extract { metadata: _, labels, annotations, well_known_labels } = config;
        let compiled = |rules: &[Rule], what: &str| {
            let rules = rules.iter().enumerate();
            rules
                .map(|(idx, it)| {
                    Compiled::new(it, what).map_err(|error| (format!("extract.{what}s.{idx}"), error))
                })
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            labels: compiled(labels, "label")?,
            annotations: compiled(annotations, "annotation")?,
            well_known_labels: *well_known_labels,
        })
    }

    /// Returns whether something is wanted of namespaces.
    pub(crate) fn wants_namespaces(&self) -> bool {
        self.labels.iter().chain(&self.annotations).any(|it| it.from == From::Namespace)
    }

    pub(crate) fn of_pod(&self, metadata: &ObjectMeta, texts: &Texts) -> Tags {
        self.of(From::Pod, metadata, texts)
    }

    pub(crate) fn of_namespace(&self, metadata: &ObjectMeta, texts: &Texts) -> Tags {
        self.of(From::Namespace, metadata, texts)
    }

    pub(crate) fn of_node(&self, metadata: &ObjectMeta, texts: &Texts) -> Tags {
        self.of(From::Node, metadata, texts)
    }

    fn of(&self, from: From, metadata: &ObjectMeta, texts: &Texts) -> Tags {
        let mut tags = Tags::new();
        for (rules, values) in [(&self.labels, &metadata.labels), (&self.annotations, &metadata.annotations)]
        {
            let Some(values) = values else { continue };
            for rule in rules.iter().filter(|it| it.from == from) {
                rule.add(values, texts, &mut tags);
            }
        }
        tags
    }
}

impl Compiled {
    fn new(rule: &Rule, what: &str) -> Result<Self, String> {
        let Rule { key, key_regex, tag_name, from } = rule;
        let keys = match (key, key_regex) {
            (Some(key), None) if !key.is_empty() => Keys::One(key.clone()),
            (None, Some(text)) => Keys::Matching(
                // The whole key, as the Collector does it.
                Regex::new(&format!("^(?:{text})$")).map_err(|it| it.to_string())?,
            ),
            _ => return Err("one of `key` and `key_regex`".to_owned()),
        };
        if let Some(tag) = tag_name
            && !tag.contains('.')
        {
            return Err(format!("`tag_name` with a dot in it, by which labels are known, not {tag:?}"));
        }
        let of = match from {
            From::Pod => "pod",
            From::Namespace => "namespace",
            From::Node => "node",
        };
        Ok(Self { from: *from, keys, tag: tag_name.clone(), prefix: format!("k8s.{of}.{what}.") })
    }

    fn add(&self, values: &BTreeMap<String, String>, texts: &Texts, tags: &mut Tags) {
        let Self { from: _, keys, tag, prefix } = self;
        let mut add = |name: &str, value: &str| {
            if !name.is_empty() && !value.is_empty() {
                tags.push((texts.share(name), texts.share(value)));
            }
        };
        match keys {
            Keys::One(key) => {
                if let Some(value) = values.get(key) {
                    add(&tag.clone().unwrap_or_else(|| format!("{prefix}{key}")), value);
                }
            }
            Keys::Matching(regex) => {
                for (key, value) in values {
                    let Some(groups) = regex.captures(key) else { continue };
                    let name = match tag {
                        Some(tag) => {
                            let mut name = String::new();
                            groups.expand(tag, &mut name);
                            name
                        }
                        None => format!("{prefix}{key}"),
                    };
                    add(&name, value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_becomes_an_attribute() {
        check(rule(Some("team"), None, None), &[("k8s.pod.label.team", "shop")]);
        check(rule(Some("team"), None, Some("shop.owner")), &[("shop.owner", "shop")]);
        check(rule(Some("none"), None, None), &[]);
        check(Rule { from: From::Node, ..rule(Some("team"), None, None) }, &[]);
    }

    /// As the Collector's `k8sattributes` does it.
    #[test]
    fn keys_that_match_become_attributes_named_by_their_groups() {
        let both = [("shop.tier", "web"), ("shop.zone", "a")];
        check(rule(None, Some("shop/(.*)"), Some("shop.$1")), &both);
        check(rule(None, Some("shop/t.*"), None), &[("k8s.pod.label.shop/tier", "web")]);
        check(rule(None, Some("tier"), Some("shop.$1")), &[]);
    }

    #[test]
    fn a_rule_has_one_kind_of_key_and_a_name_that_can_be_selected() {
        for (rule, expected) in [
            (rule(Some("a"), None, Some("team")), "not \"team\""),
            (rule(None, Some("(.*)"), Some("$1")), "not \"$1\""),
            (rule(None, None, None), "one of `key` and `key_regex`"),
            (rule(Some("a"), Some("b"), None), "one of `key` and `key_regex`"),
            (rule(Some(""), None, None), "one of `key` and `key_regex`"),
            (rule(None, Some("("), None), "unclosed group"),
        ] {
            let extract = Extract { labels: vec![rule], ..Extract::default() };
            let (path, error) = Extraction::new(&extract).unwrap_err();
            assert_eq!(path, "extract.labels.0");
            assert!(error.contains(expected), "{error}");
        }
    }

    fn rule(key: Option<&str>, key_regex: Option<&str>, tag_name: Option<&str>) -> Rule {
        let [key, key_regex, tag_name] = [key, key_regex, tag_name].map(|it| it.map(str::to_owned));
        Rule { key, key_regex, tag_name, from: From::Pod }
    }

    #[track_caller]
    fn check(rule: Rule, expected: &[(&str, &str)]) {
        let labels = [("shop/tier", "web"), ("shop/zone", "a"), ("team", "shop"), ("empty", "")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let metadata = ObjectMeta { labels: Some(labels.into()), ..ObjectMeta::default() };
        let extraction = Extraction::new(&Extract { labels: vec![rule], ..Extract::default() }).unwrap();
        let tags = extraction.of_pod(&metadata, &Texts::default());
        let tags: Vec<_> = tags.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(tags, expected);
    }
}
