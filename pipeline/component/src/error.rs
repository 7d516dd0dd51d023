use std::{error::Error, fmt};

/// Any error, from a component to the engine, which can do nothing with it but tell it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Displays an error followed by its causes, separated by `: `.
///
/// `Display` of an error never repeats its source; this is what logs and the command line use.
#[derive(Clone, Copy, Debug)]
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}
