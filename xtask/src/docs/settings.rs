//! The table of a component's settings, from the doc comments of its `Config`.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use syn::{
    Attribute, Expr, ExprLit, Fields, GenericArgument, Item, ItemEnum, ItemStruct, Lit, LitStr, Meta,
    PathArguments, Token, Type, Visibility,
};

use super::defaults::{self, Default};

/// Renders the settings that `Config` declares: the first text is that of `config.rs`, the others those of the files
/// that its types may come from.
pub(super) fn table(texts: &[String]) -> anyhow::Result<String> {
    let source = Source::read(texts)?;
    let mut rows = Vec::new();
    source.rows("Config", "", None, &mut rows)?;
    if rows.is_empty() {
        return Ok("There are none.\n".to_owned());
    }
    let lines = rows.into_iter().map(|it| {
        let Row { path, kind, default, meaning } = it;
        format!("| `{path}` | {kind} | {default} | {} |\n", meaning.replace('|', "\\|"))
    });
    let head = "| Setting | Type | Default | Meaning |\n| --- | --- | --- | --- |\n";
    Ok(head.to_owned() + &lines.collect::<String>())
}

struct Row {
    path: String,
    kind: String,
    default: String,
    meaning: String,
}

/// The items of a file that say something about settings.
pub(super) struct Source {
    structs: BTreeMap<String, ItemStruct>,
    enums: BTreeMap<String, ItemEnum>,
    /// Values of constants, and bodies of functions and of `Default` that are one expression.
    pub(super) values: BTreeMap<String, Expr>,
}

impl Source {
    fn read(texts: &[String]) -> anyhow::Result<Self> {
        let mut this = Self { structs: BTreeMap::new(), enums: BTreeMap::new(), values: BTreeMap::new() };
        for text in texts {
            for item in syn::parse_file(text)?.items {
                this.add(item);
            }
        }
        Ok(this)
    }

    /// Keeps an item unless a former text has one of that name.
    fn add(&mut self, item: Item) {
        match item {
            Item::Struct(item) => {
                self.structs.entry(item.ident.to_string()).or_insert(item);
            }
            Item::Enum(item) => {
                self.enums.entry(item.ident.to_string()).or_insert(item);
            }
            Item::Const(item) => {
                self.values.entry(item.ident.to_string()).or_insert(*item.expr);
            }
            Item::Fn(item) => {
                if let Some(value) = defaults::result(&item.block) {
                    self.values.entry(item.sig.ident.to_string()).or_insert_with(|| value.clone());
                }
            }
            Item::Impl(item) => {
                let is_default = item.trait_.as_ref().is_some_and(|(path, _)| path.is_ident("Default"));
                if let (true, Some(name), Some(value)) =
                    (is_default, type_name(&item.self_ty), defaults::of_impl(&item))
                {
                    self.values.entry(defaults::key(&name)).or_insert_with(|| value.clone());
                }
            }
            _ => {}
        }
    }

    /// Appends a row per setting of the struct `name`, whose value is `default` if it has one.
    fn rows(
        &self,
        name: &str,
        prefix: &str,
        default: Option<&Expr>,
        rows: &mut Vec<Row>,
    ) -> anyhow::Result<()> {
        let item = self.structs.get(name).with_context(|| format!("there is no `struct {name}`"))?;
        let Fields::Named(fields) = &item.fields else { return Ok(()) };
        let default = default.or_else(|| self.values.get(&defaults::key(name)));
        for field in &fields.named {
            let ident = field.ident.as_ref().context("a setting has no name")?.to_string();
            if matches!(field.vis, Visibility::Inherited) {
                continue;
            }
            let path = format!("{prefix}{}", serde(&field.attrs, "rename").unwrap_or_else(|| ident.clone()));
            let named = || format!("setting `{path}`");
            let own = serde(&field.attrs, "default").and_then(|it| self.values.get(&it));
            let default = default.and_then(|it| defaults::field(it, &ident)).or(own);
            if let Some(inner) = self.section(&field.ty) {
                let default = default.filter(|it| matches!(it, Expr::Struct(_)));
                self.rows(&inner, &format!("{path}."), default, rows)?;
                continue;
            }
            let mut meaning = docs(&field.attrs);
            if meaning.is_empty() {
                bail!("{} has no doc comment", named());
            }
            if let Some(words) = type_name(innermost(&field.ty)).and_then(|it| self.enums.get(&it)) {
                meaning += &meanings(words);
            }
            let default = match default {
                Some(expr) => match defaults::text(self, expr) {
                    Ok(Default::Value(value)) => format!("`{value}`"),
                    Ok(Default::Unset) => "not set".to_owned(),
                    // What is computed is described by whoever wrote it.
                    Err(_) if meaning.contains("default") => "see there".to_owned(),
                    Err(error) => return Err(error.context(named())),
                },
                None if derives_default(&item.attrs) || serde_flag(&field.attrs, "default") => {
                    let value = type_name(&field.ty).and_then(|it| self.derived_default(&it));
                    value.map_or_else(|| "not set".to_owned(), |it| format!("`{it}`"))
                }
                None => "required".to_owned(),
            };
            let entry = self.entry(&field.ty);
            let kind = match entry {
                Some(_) => "list of maps".to_owned(),
                None => self.kind(&field.ty).with_context(named)?,
            };
            rows.push(Row { path: path.clone(), kind, default, meaning });
            if let Some(entry) = entry {
                self.rows(&entry, &format!("{path}[]."), None, rows)?;
            }
        }
        Ok(())
    }

    /// The struct whose fields the entries of a list have, if they are maps.
    fn entry(&self, ty: &Type) -> Option<String> {
        let is_list = matches!(type_name(ty)?.as_str(), "Vec" | "BTreeSet");
        let name = type_name(first_argument(ty).filter(|_| is_list)?)?;
        let attributes = &self.structs.get(&name)?.attrs;
        // A type of its own is written as the type that it is read from.
        let is_written_as_it_is = ["from", "try_from"].iter().all(|it| serde(attributes, it).is_none());
        (is_written_as_it_is && self.is_section(&name)).then_some(name)
    }

    /// The struct whose fields a section has, also of one that may be left out.
    fn section(&self, ty: &Type) -> Option<String> {
        let name = type_name(ty)?;
        let inner = if name == "Option" { type_name(first_argument(ty)?)? } else { name };
        self.is_section(&inner).then_some(inner)
    }

    fn is_section(&self, name: &str) -> bool {
        self.structs.get(name).is_some_and(|it| matches!(it.fields, Fields::Named(_)))
    }

    /// The name of a variant in the configuration.
    pub(super) fn word(&self, enumeration: &str, variant: &str) -> Option<String> {
        let item = self.enums.get(enumeration)?;
        item.variants.iter().find(|it| it.ident == variant).map(|it| word(item, it))
    }

    /// What `Default::default` of a type gives that derives it.
    pub(super) fn derived_default(&self, name: &str) -> Option<String> {
        if let Some(item) = self.enums.get(name) {
            let is_default = |it: &&syn::Variant| it.attrs.iter().any(|it| it.path().is_ident("default"));
            return item.variants.iter().find(is_default).map(|it| word(item, it));
        }
        Some(match name {
            "BTreeMap" | "HashMap" => "{}".to_owned(),
            "Vec" | "BTreeSet" => "[]".to_owned(),
            "bool" => "false".to_owned(),
            _ => self.derived_default(&type_name(inside(self.structs.get(name)?)?)?)?,
        })
    }

    /// What a user may write for a type.
    fn kind(&self, ty: &Type) -> anyhow::Result<String> {
        let name = type_name(ty).context("its type has no name")?;
        Ok(match name.as_str() {
            "Option" | "Serde" => self.kind(argument(ty)?)?,
            "BTreeMap" | "HashMap" => "map".to_owned(),
            "Vec" | "BTreeSet" => match self.kind(argument(ty)?)? {
                words if words.ends_with('`') => format!("list of {words}"),
                word => format!("list of {word}s"),
            },
            "Duration" => "duration".to_owned(),
            "SocketAddr" => "address:port".to_owned(),
            "PathBuf" => "path".to_owned(),
            "String" | "Arc" | "Secret" => "text".to_owned(),
            "bool" => "`true` or `false`".to_owned(),
            "f64" | "u8" | "u16" | "u32" | "u64" | "usize" => "number".to_owned(),
            "NonZeroU16" | "NonZeroU32" | "NonZeroU64" | "NonZeroUsize" => "number above 0".to_owned(),
            other => match self.enums.get(other) {
                Some(item) => {
                    let words = item.variants.iter().map(|it| format!("`{}`", word(item, it)));
                    words.collect::<Vec<_>>().join(", ")
                }
                None => {
                    let unknown = || format!("type `{other}` has no words yet");
                    let item = self.structs.get(other).with_context(unknown)?;
                    // A type of its own is written as the type that it is read from.
                    match serde(&item.attrs, "try_from").or_else(|| serde(&item.attrs, "from")) {
                        Some(wire) => self.kind(&syn::parse_str(&wire)?)?,
                        None => self.kind(inside(item).with_context(unknown)?)?,
                    }
                }
            },
        })
    }
}

fn derives_default(attributes: &[Attribute]) -> bool {
    let derives = attributes.iter().filter(|it| it.path().is_ident("derive"));
    derives.filter_map(|it| it.meta.require_list().ok()).any(|it| it.tokens.to_string().contains("Default"))
}

/// What each word of an enumeration means, for behind the setting's own meaning.
fn meanings(item: &ItemEnum) -> String {
    let meanings = item.variants.iter().map(|it| format!(" `{}`: {}", word(item, it), docs(&it.attrs)));
    meanings.collect()
}

fn word(item: &ItemEnum, variant: &syn::Variant) -> String {
    if let Some(renamed) = serde(&variant.attrs, "rename") {
        return renamed;
    }
    let name = variant.ident.to_string();
    match serde(&item.attrs, "rename_all").as_deref() {
        Some("lowercase") => name.to_lowercase(),
        Some("snake_case") => separated(&name, '_'),
        Some("kebab-case") => separated(&name, '-'),
        _ => name,
    }
}

fn separated(name: &str, separator: char) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(separator);
        }
        words.extend(letter.to_lowercase());
    }
    words
}

/// The doc comment as one line.
fn docs(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|it| match &it.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) => Some(line.value()),
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The value of `#[serde(key = "value")]`.
fn serde(attributes: &[Attribute], key: &str) -> Option<String> {
    let mut found = None;
    each_serde(attributes, |name, value| {
        if name == key {
            found = value;
        }
    });
    found
}

fn serde_flag(attributes: &[Attribute], key: &str) -> bool {
    let mut found = false;
    each_serde(attributes, |name, _| found |= name == key);
    found
}

fn each_serde(attributes: &[Attribute], mut visit: impl FnMut(String, Option<String>)) {
    for attribute in attributes.iter().filter(|it| it.path().is_ident("serde")) {
        let result = attribute.parse_nested_meta(|meta| {
            let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
            let value = if meta.input.peek(Token![=]) {
                Some(meta.value()?.parse::<LitStr>()?.value())
            } else {
                None
            };
            visit(name, value);
            Ok(())
        });
        // The compiler has accepted the attribute: what is left over here is a form without a value of interest.
        drop(result);
    }
}

/// The type that a struct of one unnamed field wraps.
fn inside(item: &ItemStruct) -> Option<&Type> {
    match &item.fields {
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => fields.unnamed.first().map(|it| &it.ty),
        _ => None,
    }
}

pub(super) fn type_name(ty: &Type) -> Option<String> {
    let Type::Path(path) = ty else { return None };
    Some(path.path.segments.last()?.ident.to_string())
}

/// The one type in angle brackets.
fn argument(ty: &Type) -> anyhow::Result<&Type> {
    first_argument(ty).context("its type lacks an argument")
}

fn first_argument(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let PathArguments::AngleBracketed(arguments) = &path.path.segments.last()?.arguments else { return None };
    arguments.args.iter().find_map(|it| match it {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

fn innermost(ty: &Type) -> &Type {
    first_argument(ty).map_or(ty, innermost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_what_one_would_write_in_the_file() {
        check(
            r#"
            const PORT: u16 = 9464;
            pub struct Config {
                /// Address to serve on.
                ///
                /// Local | remote.
                pub endpoint: SocketAddr,
                /// Pause.
                #[serde(with = "humantime_serde")]
                pub interval: Duration,
                /// Most series.
                pub max_series: NonZeroUsize,
                /// Most bytes.
                pub max_bytes: u64,
                /// A file.
                pub path: Option<PathBuf>,
            }
            impl Default for Config {
                fn default() -> Self {
                    Self {
                        endpoint: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
                        interval: Duration::from_millis(1_500),
                        max_series: NonZeroUsize::new(20_000).expect("20 000 is not zero"),
                        max_bytes: 16 * 1024 * 1024,
                        path: None,
                    }
                }
            }"#,
            "\
| `endpoint` | address:port | `127.0.0.1:9464` | Address to serve on. Local \\| remote. |
| `interval` | duration | `1500ms` | Pause. |
| `max_series` | number above 0 | `20000` | Most series. |
| `max_bytes` | number | `16777216` | Most bytes. |
| `path` | path | not set | A file. |
",
        );
    }

    #[test]
    fn words_of_an_enumeration_are_listed_with_their_meaning() {
        check(
            r#"
            pub struct Config {
                /// When to redraw.
                pub redraw: Redraw,
            }
            #[serde(rename_all = "snake_case")]
            pub enum Redraw {
                /// On a terminal.
                #[default]
                Auto,
                /// Never.
                NotAtAll,
            }
            impl Default for Config { fn default() -> Self { Self { redraw: Redraw::NotAtAll } } }"#,
            "| `redraw` | `auto`, `not_at_all` | `not_at_all` | When to redraw. `auto`: On a terminal. `not_at_all`: Never. |\n",
        );
    }

    #[test]
    fn a_type_of_its_own_is_written_as_what_it_is_read_from() {
        check(
            r#"
            pub struct Config {
                /// Upper bounds; powers of two by default.
                pub bounds: Bounds,
            }
            #[serde(try_from = "Vec<Serde<Duration>>")]
            pub struct Bounds(Vec<Duration>);
            impl Default for Config { fn default() -> Self { Self { bounds: Bounds::powers(2) } } }"#,
            "| `bounds` | list of durations | see there | Upper bounds; powers of two by default. |\n",
        );
    }

    #[test]
    fn derived_defaults_are_shown() {
        check(
            r#"
            pub struct Config {
                /// Names by port.
                pub names: Names,
                /// What to do.
                pub mode: Mode,
            }
            pub struct Names(BTreeMap<u16, String>);
            #[serde(rename_all = "lowercase")]
            pub enum Mode {
                /// Stop.
                Stop,
                /// Go.
                #[default]
                Go,
            }
            impl Default for Config {
                fn default() -> Self { Self { names: Names::default(), mode: Mode::default() } }
            }"#,
            "\
| `names` | map | `{}` | Names by port. |
| `mode` | `stop`, `go` | `go` | What to do. `stop`: Stop. `go`: Go. |
",
        );
    }

    #[test]
    fn a_default_that_is_neither_shown_nor_described_is_refused() {
        let source = r#"
            pub struct Config {
                /// Upper bounds.
                pub bounds: Vec<u64>,
            }
            impl Default for Config { fn default() -> Self { Self { bounds: powers(2) } } }"#;
        let error = table(&[source.to_owned()]).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "setting `bounds`: cannot render powers as a default; \
             describe it in the doc comment or teach it to xtask/src/docs/defaults.rs"
        );
    }

    #[test]
    fn a_section_inside_has_dots() {
        check(
            r#"
            pub struct Config { pub rotation: Rotation }
            impl Default for Config { fn default() -> Self { Self { rotation: Rotation::default() } } }
            pub struct Rotation {
                /// Most files.
                pub files: u32,
            }
            impl Default for Rotation { fn default() -> Self { Self { files: 3 } } }"#,
            "| `rotation.files` | number | `3` | Most files. |\n",
        );
    }

    #[test]
    fn a_setting_without_a_default_is_required() {
        check(
            r#"
            pub struct Config {
                /// Where to write.
                pub path: PathBuf,
                /// How fast.
                #[serde(default = "default_speed")]
                pub speed: f64,
            }
            fn default_speed() -> f64 { 1.0 }"#,
            "| `path` | path | required | Where to write. |\n| `speed` | number | `1.0` | How fast. |\n",
        );
    }

    #[test]
    fn a_setting_without_docs_is_refused() {
        let error = table(&["pub struct Config { pub path: PathBuf }".to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), "setting `path` has no doc comment");
    }

    #[test]
    fn no_settings_are_no_table() {
        assert_eq!(table(&["pub struct Config {}".to_owned()]).unwrap(), "There are none.\n");
    }

    #[track_caller]
    fn check(source: &str, rows: &str) {
        let head = "| Setting | Type | Default | Meaning |\n| --- | --- | --- | --- |\n";
        assert_eq!(table(&[source.to_owned()]).unwrap(), format!("{head}{rows}"));
    }
}
