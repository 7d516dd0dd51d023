use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bcrypt::HashParts;
use component::Secret;
use subtle::{Choice, ConstantTimeEq};
use tokio::{sync::Semaphore, task::spawn_blocking};

/// How much work a password may be: each step doubles it, and this takes seconds.
const MAX_COST: u32 = 15;
/// Passwords that are checked at a time: it is work, and whoever guesses should not get all of it.
const MAX_CHECKS: usize = 2;

/// Who may send, each with a password, in the form of the web server Apache.
pub(crate) struct Users {
    users: Vec<User>,
    checks: Semaphore,
}

struct User {
    name: String,
    password: Password,
}

enum Password {
    Plain(Secret),
    /// Encrypted, and what it was when it was right last, so that not every request costs the work.
    Bcrypt(String, Mutex<Option<Arc<[u8]>>>),
}

/// A line that names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {}, found {}", self.expected(), self.found())]
pub(crate) struct InvalidLine {
    number: usize,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    NoPassword,
    OtherEncryption,
    TooMuchWork,
}

impl InvalidLine {
    pub(crate) const fn expected(&self) -> &'static str {
        "`name:password` with a password that is plain or encrypted by bcrypt (`htpasswd -B`)"
    }

    pub(crate) fn found(&self) -> String {
        let Self { number, fault } = self;
        match fault {
            Fault::NoPassword => format!("no name or no password in line {number}"),
            Fault::OtherEncryption => format!("another encryption in line {number}"),
            Fault::TooMuchWork => format!("a cost above {MAX_COST} in line {number}"),
        }
    }
}

impl Users {
    /// Reads lines; those that are empty or begin with `#` say nothing.
    pub(crate) fn read(text: &str) -> Result<Self, InvalidLine> {
        let lines = (1..).zip(text.lines().map(str::trim));
        let users = lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(number, line)| User::read(line).map_err(|fault| InvalidLine { number, fault }));
        Ok(Self { users: users.collect::<Result<_, _>>()?, checks: Semaphore::new(MAX_CHECKS) })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Adds those of a second list, behind these.
    pub(crate) fn and(mut self, others: Self) -> Self {
        self.users.extend(others.users);
        self
    }

    /// Returns whether a name and a password belong together. Takes as long for a name that nobody has.
    pub(crate) async fn know(&self, name: &[u8], password: &[u8]) -> bool {
        let mut found = None;
        for user in &self.users {
            // The first of a name counts.
            if bool::from(user.name.as_bytes().ct_eq(name)) && found.is_none() {
                found = Some(user);
            }
        }
        let is_bcrypt = |it: &&User| matches!(it.password, Password::Bcrypt(..));
        match found {
            Some(User { password: Password::Plain(expected), .. }) => {
                expected.reveal().as_bytes().ct_eq(password).into()
            }
            Some(User { password: Password::Bcrypt(hash, last), .. }) => {
                self.decrypts(hash, last, password).await
            }
            None => {
                if let Some(User { password: Password::Bcrypt(hash, _), .. }) =
                    self.users.iter().find(is_bcrypt)
                {
                    self.decrypts(hash, &Mutex::default(), password).await;
                }
                false
            }
        }
    }

    async fn decrypts(&self, hash: &str, last: &Mutex<Option<Arc<[u8]>>>, password: &[u8]) -> bool {
        let known = last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_some_and(|it| it.ct_eq(password).into()) {
            return true;
        }
        let _turn = self.checks.acquire().await.expect("it is never closed");
        let (hash, password) = (hash.to_owned(), Arc::<[u8]>::from(password));
        let given = Arc::clone(&password);
        let checked = spawn_blocking(move || bcrypt::verify(&*given, &hash)).await;
        let is_right = matches!(checked, Ok(Ok(true)));
        if is_right {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(password);
        }
        is_right
    }
}

impl User {
    fn read(line: &str) -> Result<Self, Fault> {
        let (name, password) = line.split_once(':').ok_or(Fault::NoPassword)?;
        if name.is_empty() || password.is_empty() {
            return Err(Fault::NoPassword);
        }
        let password = match password.parse::<HashParts>() {
            Ok(parts) if parts.get_cost() > MAX_COST => return Err(Fault::TooMuchWork),
            Ok(_) => Password::Bcrypt(password.to_owned(), Mutex::default()),
            // What looks encrypted must not be taken for a password that everybody can read in the file.
            Err(_) if password.starts_with(['$', '{']) => return Err(Fault::OtherEncryption),
            Err(_) => Password::Plain(password.into()),
        };
        Ok(Self { name: name.to_owned(), password })
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.users.iter().map(|it| &it.name)).finish()
    }
}

/// Returns whether one of several texts is a given one, looking at each.
pub(crate) fn has(texts: &[Secret], given: &[u8]) -> bool {
    let found = texts.iter().map(|it| it.reveal().as_bytes().ct_eq(given));
    found.fold(Choice::from(0), |any, it| any | it).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the manual of Apache: `htpasswd -nbB myName myPassword`.
    const BCRYPT: &str = "myName:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC";

    #[tokio::test]
    async fn a_name_and_its_password_are_known() {
        let users = Users::read(&format!("# who\n\nplain:pass:word\n{BCRYPT}\nplain:other\n")).unwrap();
        for (name, password, expected) in [
            ("plain", "pass:word", true),
            ("plain", "pass", false),
            ("plain", "other", false),
            ("myName", "myPassword", true),
            ("myName", "mypassword", false),
            ("myName", "myPassword", true),
            ("nobody", "myPassword", false),
            ("", "", false),
        ] {
            assert_eq!(users.know(name.as_bytes(), password.as_bytes()).await, expected, "{name}:{password}");
        }
        assert_eq!(format!("{users:?}"), r#"["plain", "myName", "plain"]"#, "nothing of a password");
    }

    #[test]
    fn a_line_that_names_nobody_is_told_by_its_number() {
        for (text, expected) in [
            ("a", "no name or no password in line 1"),
            ("a:b\n:b", "no name or no password in line 2"),
            ("\n\na:", "no name or no password in line 3"),
            ("a:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=", "another encryption in line 1"),
            ("a:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/", "another encryption in line 1"),
            ("a:$2y$31$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC", "a cost above 15 in line 1"),
        ] {
            let error = Users::read(text).unwrap_err();
            assert_eq!(error.found(), expected, "{text}");
        }
    }
}
