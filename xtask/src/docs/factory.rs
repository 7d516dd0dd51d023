//! What a component's factory says of it.

use anyhow::{Context, bail};
use syn::{
    Expr, ExprCall, ExprMethodCall, Lit,
    visit::{self, Visit},
};

/// Renders what is declared in the text of `factory.rs`.
pub(super) fn table(source: &str) -> anyhow::Result<String> {
    let file = syn::parse_file(source)?;
    let mut found = Found::default();
    found.visit_file(&file);
    let Found { kind, id, signals, stability } = found;
    let (kind, id) = kind.zip(id).context("no call such as `Factory::exporter(\"debug\", ...)`")?;
    let role = match kind.as_str() {
        "receiver" => format!("emits {}", words(&signals, 0)?),
        "processor" => format!("changes {}", words(&signals, 0)?),
        "connector" => format!("{} to {}", words(&signals, 0)?, words(&signals, 1)?),
        "exporter" => format!("takes {}", words(&signals, 0)?),
        _ => bail!("`Factory::{kind}` is not known"),
    };
    let stability = stability.unwrap_or_else(|| "alpha".to_owned());
    Ok(format!(
        "| | |\n| --- | --- |\n| Id | `{id}` |\n| Kind | {kind} |\n| Signals | {role} |\n| Stability | {stability} |\n"
    ))
}

#[derive(Default)]
struct Found {
    kind: Option<String>,
    id: Option<String>,
    /// One list per argument that is a list of signals.
    signals: Vec<Vec<String>>,
    stability: Option<String>,
}

impl<'ast> Visit<'ast> for Found {
    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if let Expr::Path(path) = &*call.func
            && let [.., owner, function] = &path.path.segments.iter().collect::<Vec<_>>()[..]
            && owner.ident == "Factory"
            && let Some(Expr::Lit(id)) = call.args.first()
            && let Lit::Str(id) = &id.lit
        {
            self.kind = Some(function.ident.to_string());
            self.id = Some(id.value());
            self.signals = call.args.iter().filter_map(signals).collect();
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        if call.method == "with_stability" {
            self.stability = call.args.first().and_then(last_word);
        }
        visit::visit_expr_method_call(self, call);
    }
}

/// Signals of an argument such as `&[Signal::Flows]` or `&Signal::ALL`.
fn signals(argument: &Expr) -> Option<Vec<String>> {
    let Expr::Reference(reference) = argument else { return None };
    match &*reference.expr {
        Expr::Array(array) => array.elems.iter().map(last_word).collect(),
        all @ Expr::Path(_) if last_word(all)? == "all" => Some(vec!["every signal".to_owned()]),
        _ => None,
    }
}

/// The last part of a path, in lower case.
fn last_word(expr: &Expr) -> Option<String> {
    let Expr::Path(path) = expr else { return None };
    Some(path.path.segments.last()?.ident.to_string().to_lowercase())
}

fn words(signals: &[Vec<String>], idx: usize) -> anyhow::Result<String> {
    Ok(signals.get(idx).context("the signals are not written as `&[Signal::...]`")?.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connector_has_two_signals() {
        check(
            r#"pub fn factory() -> Factory {
                Factory::connector("links", &[Signal::Flows], &[Signal::Metrics], create)
                    .with_summary("counts")
                    .with_stability(Stability::Beta)
            }"#,
            "| Id | `links` |\n| Kind | connector |\n| Signals | flows to metrics |\n| Stability | beta |\n",
        );
    }

    #[test]
    fn stability_is_alpha_unless_declared() {
        check(
            r#"fn factory() -> Factory { component::Factory::exporter("debug", &Signal::ALL, create) }"#,
            "| Id | `debug` |\n| Kind | exporter |\n| Signals | takes every signal |\n| Stability | alpha |\n",
        );
    }

    #[test]
    fn a_file_without_a_factory_is_refused() {
        let error = table("fn factory() {}").unwrap_err();
        assert_eq!(error.to_string(), "no call such as `Factory::exporter(\"debug\", ...)`");
    }

    #[track_caller]
    fn check(source: &str, rows: &str) {
        assert_eq!(table(source).unwrap(), format!("| | |\n| --- | --- |\n{rows}"));
    }
}
