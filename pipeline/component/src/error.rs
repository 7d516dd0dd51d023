use std::{error::Error, fmt};

/// Any error, from a component to the engine, which can do nothing with it but tell it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Displays an error followed by its causes, separated by `: `.
///
/// `Display` of an error never repeats its source; this is what logs and the command line use. Errors of other crates
/// may do so all the same: what has just been said is not said again.
#[derive(Clone, Copy, Debug)]
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !said.ends_with(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
            source = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_follow_each_other() {
        check(&["cannot listen on [::1]:1", "address in use"], "cannot listen on [::1]:1: address in use");
    }

    #[test]
    fn a_cause_that_was_told_already_is_not_told_again() {
        check(&["map error: no memory", "no memory", "12 of 16"], "map error: no memory: 12 of 16");
    }

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|it| it as _)
        }
    }

    #[track_caller]
    fn check(layers: &[&'static str], expected: &str) {
        let error = layers.iter().rev().fold(None, |cause, text| Some(Box::new(Layer(text, cause)))).unwrap();
        assert_eq!(ErrorChain(&*error).to_string(), expected);
    }
}
