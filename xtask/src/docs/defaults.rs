//! Default values as one would write them in the configuration.

use anyhow::{Context, bail};
use syn::{BinOp, Block, Expr, ImplItem, ItemImpl, Lit, Member, Stmt};

use super::settings::Source;

/// What a setting is when nothing is written.
pub(super) enum Default {
    /// As one would write it.
    Value(String),
    /// Nothing.
    Unset,
}

/// Under which name a [`Source`] keeps the default value of a struct.
pub(super) fn key(struct_name: &str) -> String {
    format!("{struct_name}::default")
}

/// The value that `Default::default` returns.
pub(super) fn of_impl(item: &ItemImpl) -> Option<&Expr> {
    item.items.iter().find_map(|it| match it {
        ImplItem::Fn(function) if function.sig.ident == "default" => result(&function.block),
        _ => None,
    })
}

/// The expression at the end of a block.
pub(super) fn result(block: &Block) -> Option<&Expr> {
    match block.stmts.last()? {
        Stmt::Expr(expr, None) => Some(expr),
        _ => None,
    }
}

/// The value of a field in `Self { field: value, .. }`.
pub(super) fn field<'a>(value: &'a Expr, name: &str) -> Option<&'a Expr> {
    let Expr::Struct(value) = value else { return None };
    let field = value.fields.iter().find(|it| matches!(&it.member, Member::Named(ident) if ident == name))?;
    Some(&field.expr)
}

/// Renders an expression.
pub(super) fn text(source: &Source, expr: &Expr) -> anyhow::Result<Default> {
    Ok(match expr {
        Expr::Path(path) if path.path.is_ident("None") => Default::Unset,
        _ => Default::Value(value(source, expr)?),
    })
}

fn value(source: &Source, expr: &Expr) -> anyhow::Result<String> {
    match expr {
        Expr::Lit(lit) => literal(&lit.lit),
        Expr::Paren(paren) => value(source, &paren.expr),
        Expr::Reference(reference) => value(source, &reference.expr),
        Expr::Binary(_) => number(source, expr).map(|it| it.to_string()),
        Expr::Path(path) => named(source, &path.path),
        Expr::Call(call) => called(source, call),
        Expr::Array(array) => list(source, array.elems.iter()),
        Expr::MethodCall(call) => match call.method.to_string().as_str() {
            // What follows the value only turns it into the field's type.
            "expect" | "into" | "to_owned" | "to_string" | "to_vec" => value(source, &call.receiver),
            other => unknown(&format!(".{other}()")),
        },
        Expr::Macro(call) if call.mac.path.is_ident("vec") => {
            let elements = call
                .mac
                .parse_body_with(syn::punctuated::Punctuated::<Expr, syn::Token![,]>::parse_terminated)?;
            list(source, elements.iter())
        }
        _ => unknown("an expression of this form"),
    }
}

fn literal(literal: &Lit) -> anyhow::Result<String> {
    match literal {
        Lit::Int(it) => Ok(it.base10_digits().to_owned()),
        Lit::Float(it) => Ok(it.base10_digits().to_owned()),
        Lit::Bool(it) => Ok(it.value.to_string()),
        Lit::Str(it) => Ok(it.value()),
        _ => unknown("a literal of this kind"),
    }
}

fn named(source: &Source, path: &syn::Path) -> anyhow::Result<String> {
    let words: Vec<String> = path.segments.iter().map(|it| it.ident.to_string()).collect();
    match &words[..] {
        [name] | [_, name] if source.values.contains_key(name) => value(source, &source.values[name]),
        [.., kind, name] if kind.starts_with("NonZero") && name == "MIN" => Ok("1".to_owned()),
        [.., address, name] if address.starts_with("Ipv") => known_address(address, name),
        [.., enumeration, variant] => {
            source.word(enumeration, variant).with_context(|| format!("`{}` is not known", words.join("::")))
        }
        _ => unknown(&words.join("::")),
    }
}

fn called(source: &Source, call: &syn::ExprCall) -> anyhow::Result<String> {
    let Expr::Path(function) = &*call.func else { return unknown("a call of this form") };
    let words: Vec<String> = function.path.segments.iter().map(|it| it.ident.to_string()).collect();
    let arguments: Vec<&Expr> = call.args.iter().collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match (&words[..], &arguments[..]) {
        ([.., "Duration", unit], [n]) => {
            let n = number(source, n)?;
            match *unit {
                "from_millis" => Ok(format!("{n}ms")),
                "from_secs" => Ok(format!("{n}s")),
                "from_mins" => Ok(format!("{n}m")),
                "from_hours" => Ok(format!("{n}h")),
                _ => unknown(&format!("Duration::{unit}")),
            }
        }
        ([.., "SocketAddr", "from" | "new"], [Expr::Tuple(pair)]) if pair.elems.len() == 2 => {
            Ok(format!("{}:{}", value(source, &pair.elems[0])?, value(source, &pair.elems[1])?))
        }
        ([.., "Vec" | "BTreeSet", "new"], []) => Ok("[]".to_owned()),
        ([.., "Vec" | "BTreeSet", "from"], [list]) => value(source, list),
        ([.., name, "default"], []) => match source.values.get(&key(name)) {
            Some(expr) => value(source, expr),
            None => source.derived_default(name).map_or_else(|| unknown(&words.join("::")), Ok),
        },
        ([name], []) if source.values.contains_key(*name) => value(source, &source.values[*name]),
        (["Some"] | [.., "new" | "from"], [inner]) => value(source, inner),
        _ => unknown(&words.join("::")),
    }
}

fn list<'a>(source: &Source, elements: impl Iterator<Item = &'a Expr>) -> anyhow::Result<String> {
    let elements: Vec<_> = elements.map(|it| value(source, it)).collect::<Result<_, _>>()?;
    Ok(format!("[{}]", elements.join(", ")))
}

/// Evaluates sizes such as `64 * 1024` and `1 << 20`.
fn number(source: &Source, expr: &Expr) -> anyhow::Result<u64> {
    let Expr::Binary(binary) = expr else {
        return value(source, expr)?.parse().context("this is not a whole number");
    };
    let (left, right) = (number(source, &binary.left)?, number(source, &binary.right)?);
    let result = match binary.op {
        BinOp::Mul(_) => left.checked_mul(right),
        BinOp::Add(_) => left.checked_add(right),
        BinOp::Shl(_) => u32::try_from(right).ok().and_then(|it| left.checked_shl(it)),
        _ => return unknown("this operator"),
    };
    result.context("the number is too large")
}

fn known_address(family: &str, name: &str) -> anyhow::Result<String> {
    match (family, name) {
        ("Ipv4Addr", "LOCALHOST") => Ok("127.0.0.1".to_owned()),
        ("Ipv4Addr", "UNSPECIFIED") => Ok("0.0.0.0".to_owned()),
        ("Ipv6Addr", "LOCALHOST") => Ok("[::1]".to_owned()),
        ("Ipv6Addr", "UNSPECIFIED") => Ok("[::]".to_owned()),
        _ => unknown(&format!("{family}::{name}")),
    }
}

fn unknown<T>(what: &str) -> anyhow::Result<T> {
    bail!(
        "cannot render {what} as a default; describe it in the doc comment or teach it to xtask/src/docs/defaults.rs"
    )
}
