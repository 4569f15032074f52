//! The options of the program, and what `--help` says of them.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use keeptrusts_emulator::{Behaviour, Options};
use secrecy::SecretString;

const ABOUT: &str = "The Keeptrusts token API as a small program, for demos, tests and development";

const LONG_ABOUT: &str = "\
The Keeptrusts token API as a small program, for demos, tests and anyone who develops against the API.

It keeps tokens like the real one: a value is shown once, when its token is created or rotated, and can never be read again. \
Nothing that it issues works anywhere else. What the API's documentation leaves open is a setting, and what can go wrong on the \
way is a fault; both can be changed while it runs.";

const MORE: &str = r#"THE API (with `Authorization: Bearer CREDENTIAL`)
  POST   /v1/tokens               create: {"name", "token_type": "access"|"gateway", "team_id",
                                  "description", "bindings": {"gateway_id"}, "expires_at"}
  GET    /v1/tokens?type=gateway  list
  DELETE /v1/tokens/{id}          revoke
  POST   /v1/tokens/{id}/rotate   rotate: the old value dies at once
  GET    /v1/whoami               check the credential, or a value: 2xx alive, 401 dead
  /v1/gateway-keys                the same for gateway tokens alone; values begin with kt_gk_

ADMIN ENDPOINTS (no credential, and only for callers on this machine; --no-admin switches them off)
  GET, PUT, PATCH /admin/behaviour        how the API behaves, as one JSON document
  GET, POST, DELETE /admin/faults         what goes wrong, and for which calls
  DELETE /admin/faults/{id}               takes one away; what it holds is delivered
  POST /admin/faults/{id}/release         delivers what it holds; {"deliver": false} loses it
  GET  /admin/tokens                      every token ever made, without values
  POST /admin/tokens                      somebody else creates one
  POST /admin/tokens/{id}/revoke          somebody else revokes one
  POST /admin/tokens/{id}/rotate          somebody else rotates one
  GET  /admin/calls?since=N               what was called, with counts; no values, no credential
  POST /admin/check                       {"value"}: whether it works
  POST /admin/credential                  {"credential"}: accepts this one instead
  POST /admin/reset                       back to the start, without tokens
  GET  /admin/healthz                     200 when it serves

FAULTS are objects with an "effect". Optional are the "operation" that they strike (create,
rotate, revoke, list, whoami), how many "times", and a part of a name or id to "match":
  {"effect": "latency", "milliseconds": 800}
  {"effect": "status", "status": 503, "stage": "after", "operation": "create", "times": 1}
  {"effect": "status", "status": 429, "retry_after": {"seconds": 5}}     or {"date": 5}
  {"effect": "cut", "stage": "after", "match": "checkout"}               no answer at all
  {"effect": "cut_body"}                                                 half an answer
  {"effect": "hold"}                                                     until it is released
  {"effect": "answer", "status": 200, "content_type": "text/html", "body": "<h1>Hello"}
  {"effect": "redirect", "location": "http://127.0.0.1:9/"}
  {"effect": "huge", "bytes": 100000000}
  {"effect": "limit", "per_second": 20}                                  429 to what is beyond it
  {"effect": "behave", "behaviour": {"answers": {"value": false}}}       any setting, for some calls
"stage" is "before" (nothing was done) or "after" (what was asked has been done, and the
client doesn't learn of it).

EXAMPLE
  keeptrusts-emulator --credential demo &
  curl -s -H 'Authorization: Bearer demo' -d '{"name": "checkout", "token_type": "access"}' \
      http://127.0.0.1:8080/v1/tokens
  curl -s -d '{"effect": "cut", "stage": "after", "operation": "create", "times": 1}' \
      http://127.0.0.1:8080/admin/faults
  curl -s http://127.0.0.1:8080/admin/calls

OUTPUT
  One line on standard output says where it listens: `listening on http://127.0.0.1:PORT`. If no
  credential was given, a second line shows the one that was made: `credential kt_live_...`.
  Every call is logged on standard error. RUST_LOG sets how much is logged."#;

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "keeptrusts-emulator", version, about = ABOUT, long_about = LONG_ABOUT, after_long_help = MORE)]
pub(crate) struct Cli {
    /// Where to listen. Port 0 is any free one. Don't open it to a network: values travel in the clear.
    #[arg(
        long,
        env = "KEEPTRUSTS_EMULATOR_ADDRESS",
        default_value = "127.0.0.1:8080",
        value_name = "IP:PORT"
    )]
    address: SocketAddr,

    /// The credential that calls must bring. Other users of this machine may see it: prefer a file.
    #[arg(
        long,
        env = "KEEPTRUSTS_EMULATOR_CREDENTIAL",
        hide_env_values = true,
        conflicts_with = "credential_file"
    )]
    credential: Option<SecretString>,

    /// A file with the credential.
    #[arg(long, value_name = "FILE")]
    credential_file: Option<PathBuf>,

    /// Keeps the tokens over a restart; values are kept as hashes. The credential isn't kept.
    #[arg(long, value_name = "FILE")]
    state_file: Option<PathBuf>,

    /// How to behave at first: a JSON document as `GET /admin/behaviour` shows it; what isn't in it has its default.
    #[arg(long, value_name = "FILE")]
    behaviour_file: Option<PathBuf>,

    /// Switches the admin endpoints off.
    #[arg(long)]
    no_admin: bool,
}

impl Cli {
    /// Reads the files that the command line names.
    pub(crate) fn options(self) -> Result<Options> {
        let Self { address, credential, credential_file, state_file, behaviour_file, no_admin } = self;
        let credential = match credential_file {
            Some(file) => {
                let text =
                    std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
                if text.trim().is_empty() {
                    bail!("{} holds no credential", file.display());
                }
                Some(SecretString::from(text.trim()))
            }
            None => credential,
        };
        let behaviour = match behaviour_file {
            Some(file) => {
                let text = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
                serde_json::from_slice(&text).with_context(|| format!("in {}", file.display()))?
            }
            None => Behaviour::default(),
        };
        Ok(Options { address, credential, state_file, admin: !no_admin, behaviour })
    }
}
