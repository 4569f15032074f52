//! The Keeptrusts token API as a small program and library, for demos, tests and anyone who develops against the API.
//!
//! What the API's documentation says is a contract here; what it leaves open is a setting ([`Behaviour`]). What goes wrong in a
//! network, or in the API, is a [`Fault`] that is set while the emulator runs, by library call or by the admin endpoints.
//!
//! It is never linked into the operator.
//!
//! ```
//! # use keeptrusts_emulator::{Emulator, Effect, Fault, Operation, Options, Stage};
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let emulator = Emulator::start(Options::default()).await?;
//! emulator.behaviour(|it| it.lists.page_size = Some(10));
//! // The next create is carried out, but its answer never arrives.
//! emulator.add_fault(Fault::new(Effect::cut(Stage::After)).on(Operation::Create).times(1))?;
//! assert!(emulator.tokens().is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

mod admin;
mod admin_client;
mod api;
mod behaviour;
mod call;
mod effect;
mod emulator;
mod fault;
mod registry;
mod scrub;
mod server;
mod shared;
mod state_file;
mod store;
mod token;
mod value;

pub use admin::{Alive, CallPage, Release};
pub use admin_client::{AdminClient, AdminError};
pub use behaviour::{
    Answers, Behaviour, Envelope, ExpiryOnRotate, IdField, IdOnRotate, Idempotency, ListDefect, Lists,
    Marker, Names, Paging, Place, Shape, Statuses, TokenRules, ValueField,
};
pub use call::{AppliedFault, Call, Counts, CreateBody, Operation, Outcome};
pub use effect::{Effect, RetryAfter, Stage};
pub use emulator::{Emulator, Options, StartError};
pub use fault::{ActiveFault, Fault, InvalidFault};
pub use shared::ChangeError;
pub use store::Refusal;
pub use token::{Creator, NewToken, Token, TokenType};
