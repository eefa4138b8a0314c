//! The token of callers on TCP: 256 random bits in a file that only our user can read.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Random bytes of a token.
const N_BYTES: usize = 32;

/// What a caller on TCP must know, as hexadecimal digits.
#[derive(Clone)]
pub struct Token(String);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Others could have read it.
    #[error(
        "the token file `{path}` can be read by others (mode {mode:o}); delete it, and a new one is made"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Somebody wrote something else into it.
    #[error("the token file `{0}` holds no token; delete it, and a new one is made")]
    Malformed(PathBuf),
    /// The operating system has no random numbers.
    #[error("the operating system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// The file can't be read or written.
    #[error("can't read or write the token file `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl Token {
    /// The token of `path`, which is made where it does not exist.
    ///
    /// # Errors
    /// Others can read the file, it holds something else, or the operating system refuses.
    pub fn read_or_make(path: &Path) -> Result<Self, TokenError> {
        match Self::read(path) {
            Err(TokenError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Self::make(path)
            }
            read => read,
        }
    }

    /// The token of `path`.
    ///
    /// # Errors
    /// There is no such file, others can read it, it holds something else, or the operating system refuses.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let io = |source| TokenError::Io { path: path.to_owned(), source };
        let metadata = fs::metadata(path).map_err(io)?;
        if metadata.mode() & 0o077 != 0 {
            return Err(TokenError::Exposed { path: path.to_owned(), mode: metadata.mode() & 0o777 });
        }
        let text = fs::read_to_string(path).map_err(io)?;
        let digits = text.trim_end();
        if digits.len() != 2 * N_BYTES || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(TokenError::Malformed(path.to_owned()));
        }
        Ok(Self(digits.to_owned()))
    }

    fn make(path: &Path) -> Result<Self, TokenError> {
        let mut bytes = [0; N_BYTES];
        getrandom::fill(&mut bytes).map_err(TokenError::Random)?;
        let token = Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
        // Under another name first: nobody must find half a token.
        let unfinished = path.with_extension("new");
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
            writeln!(file, "{}", token.0)?;
            file.sync_all()?;
            fs::rename(&unfinished, path)
        };
        write().map_err(|source| TokenError::Io { path: path.to_owned(), source })?;
        Ok(token)
    }

    /// Whether `given` is the token. Takes as long for a wrong one as for the right one, so that a caller can't find
    /// it digit by digit.
    pub fn equals(&self, given: &[u8]) -> bool {
        if given.len() != self.0.len() {
            return false;
        }
        let different = self.0.bytes().zip(given).fold(0, |all, (ours, theirs)| all | (ours ^ theirs));
        std::hint::black_box(different) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}
