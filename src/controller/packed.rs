//! What is kept of every key and rarely read, small: JSON, compressed against a sample of what most of it looks like.

use serde::Serialize;
use serde::de::{DeserializeOwned, Error as _};

/// What most of it looks like, last what there is most of. Whatever isn't alike takes more room, and nothing else.
const SAMPLE: &[u8] = include_bytes!("packed/sample.txt");

/// Something as JSON, compressed.
#[derive(Clone)]
pub(super) struct Packed(Box<[u8]>);

impl Packed {
    /// # Errors
    /// If it can't be written as JSON.
    pub(super) fn of(value: &impl Serialize) -> serde_json::Result<Self> {
        Ok(Self::of_json(&serde_json::to_vec(value)?))
    }

    /// What is JSON already.
    pub(super) fn of_json(json: &[u8]) -> Self {
        Self(lz4_flex::block::compress_prepend_size_with_dict(json, SAMPLE).into_boxed_slice())
    }

    /// The JSON.
    ///
    /// # Errors
    /// Never: only what was packed here is unpacked.
    pub(super) fn json(&self) -> serde_json::Result<Vec<u8>> {
        lz4_flex::block::decompress_size_prepended_with_dict(&self.0, SAMPLE)
            .map_err(serde_json::Error::custom)
    }

    /// # Errors
    /// If it isn't what is asked for.
    pub(super) fn read<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.json()?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let long = "äöü€".repeat(30_000);
        for value in [json!(null), json!({}), json!({"a": [1, 2.5, "\u{0}\"", long]}), json!("The Secret")] {
            assert_eq!(Packed::of(&value).unwrap().read::<Value>().unwrap(), value);
        }
        assert!(Packed::of(&json!("a")).unwrap().read::<u8>().is_err());
    }

    #[test]
    fn a_key_like_most_takes_a_third() {
        let time = "2026-11-26T09:28:54Z";
        let key = json!({
            "metadata": {"finalizers": ["keys.keeptrusts.com/tokens"]},
            "spec": {"rotation": {"grace": "1d", "strategy": "Overlap"}, "token": {"description": "Checkout"}},
            "status": {
                "conditions": [{
                    "lastTransitionTime": time,
                    "message": "The Secret holds a living value.",
                    "observedGeneration": 1,
                    "reason": "Ready",
                    "status": "True",
                    "type": "Ready",
                }],
                "history": [
                    {"event": "Minted", "generation": 0, "prefix": "kt_live_7w2K", "reason": "Created", "time": time},
                ],
                "lastRotation": {
                    "generation": 0, "operation": "b6rxc5jczxuz5pih", "reason": "Created", "time": time,
                },
                "observedGeneration": 1,
                "observedRotationGeneration": 0,
                "secret": {"key": "api-key", "name": "checkout", "resourceVersion": "502"},
                "token": {
                    "createdAt": time,
                    "id": "tok_OTDJMD05EqnMP784",
                    "name": "checkout-kt1-p2tb2m3wr3pqqypksvqdryistt6zb6rxc5jczxuz5pih",
                    "prefix": "kt_live_7w2K",
                },
            },
        });
        let (packed, json) = (Packed::of(&key).unwrap().0.len(), key.to_string().len());
        assert!(packed * 3 < json, "{packed} of {json} bytes");
    }
}
