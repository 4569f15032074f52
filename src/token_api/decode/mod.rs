//! The tolerant decoder: everything that the API's documentation leaves open about the shape of answers (O1 to O18) is
//! settled here, and nowhere else.

mod envelope;
mod page;
mod token;

#[cfg(test)]
mod fixtures;

pub(super) use envelope::Told;
pub(super) use page::{Next, Page, page};
pub(super) use token::{Answer, answer, gives_away};
