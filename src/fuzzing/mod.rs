//! What must hold of any input, however bad: the checks that the fuzz targets in `fuzz/` and ordinary tests share.
//!
//! Each check takes bytes, reads them as the input that its module describes, and panics if something that must hold
//! doesn't. The inputs are texts, so that those in `fuzz/corpus` can be read and written by hand. The module is there in
//! tests and for the fuzz targets alone.

#[cfg(test)]
mod corpus;
mod durations;
mod name_tag;
mod secret_rendering;

pub use durations::check as durations;
pub use name_tag::check as name_tag;
pub use secret_rendering::check as secret_rendering;

/// Checks one answer of the token API; its input is described where the decoder is.
///
/// # Panics
/// If something that must hold doesn't.
pub fn decoder(input: &[u8]) {
    crate::token_api::decoder_check(input);
}
