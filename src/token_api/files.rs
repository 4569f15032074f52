//! The files of a connection: the operator's credential and the private authorities. Both may be replaced at any time.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// More than any token or bundle of private authorities needs; a device or a log file in its place must not fill memory.
const MAX_FILE: u64 = 1 << 20;

/// Reads a file of bounded size, into memory that is wiped.
pub(super) fn read_bounded(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    let read = File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if read as u64 > MAX_FILE {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "it is larger than a mebibyte"));
    }
    Ok(bytes)
}

/// The operator's own credential.
#[derive(Clone, Debug)]
pub(super) struct Credential {
    secret: SecretString,
    header: HeaderValue,
}

/// Why a text is no credential. Holds nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableCredential {
    /// There is nothing in it.
    #[error("is empty")]
    Empty,
    /// It has characters that no header can carry.
    #[error("has several lines, spaces or characters other than visible ASCII")]
    Characters,
}

impl Credential {
    /// Reads a credential; white space around it, which editors add, doesn't count.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, UnusableCredential> {
        let bytes = bytes.trim_ascii();
        if bytes.is_empty() {
            return Err(UnusableCredential::Empty);
        }
        let visible = bytes.iter().all(u8::is_ascii_graphic);
        let text = std::str::from_utf8(bytes).ok().filter(|_| visible);
        let secret = SecretString::from(text.ok_or(UnusableCredential::Characters)?);
        let header = bearer(&secret).ok_or(UnusableCredential::Characters)?;
        Ok(Self { secret, header })
    }

    /// The credential itself, to be taken out of texts.
    pub(super) fn expose(&self) -> &str {
        self.secret.expose_secret()
    }

    /// The header that carries it; marked as sensitive, so that nothing below prints it.
    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }
}

/// The `Authorization` header for a token; nothing if no header can carry it.
pub(super) fn bearer(token: &SecretString) -> Option<HeaderValue> {
    let text = Zeroizing::new(format!("Bearer {}", token.expose_secret()));
    let mut header = HeaderValue::from_str(&text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_a_credential_does_not_count() {
        let credential = Credential::parse(b" \n kt_live_canary\r\n").unwrap();
        assert_eq!(credential.expose(), "kt_live_canary");
        assert_eq!(credential.header(), "Bearer kt_live_canary");
        assert!(!format!("{credential:?}").contains("canary"), "{credential:?}");
    }

    #[test]
    fn what_no_header_can_carry_is_no_credential() {
        for (text, error) in [
            ("", UnusableCredential::Empty),
            (" \n", UnusableCredential::Empty),
            ("two lines\nhere", UnusableCredential::Characters),
            ("caf\u{e9}", UnusableCredential::Characters),
        ] {
            assert_eq!(Credential::parse(text.as_bytes()).unwrap_err(), error, "{text:?}");
        }
    }

    #[test]
    fn a_file_that_never_ends_is_refused() {
        let error = read_bounded(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
    }
}
