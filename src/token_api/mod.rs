//! The token API: its HTTP client, its tolerant decoder, its limits, and the inventory that all keys share.
//!
//! Nothing here knows Kubernetes, and nothing here decides: an answer is put into one of a few classes, and whether a
//! call certainly changed nothing is said apart from what went wrong. A value leaves this module inside a
//! [`Minted`] and in no other way.

mod call;
mod client;
mod connection;
mod decode;
#[cfg(any(test, feature = "fuzzing"))]
mod decoder_check;
mod doubt;
mod error;
mod files;
mod inventory;
mod limits;
mod list;
mod mint;
mod scrub;
mod settings;
#[cfg(test)]
mod tests;
mod turns;

pub use client::{Client, CreateRequest, ListedToken, Minted, begins_with};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use decoder_check::decoder_check;
pub use error::{CallError, Class, MintError};
pub use files::UnusableCredential;
pub use inventory::Inventory;
pub use limits::Permit;
pub use settings::{Settings, SettingsError};
pub(crate) use turns::on_behalf_of;
