//! Specs that were read: each once for every generation of its resource, and not for every pass and every reply of the API server.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::lifecycle::desired::{Desired, InvalidSpec};

/// How much the specs may take that are kept, in bytes: a few thousand of the usual size, or a dozen of the largest. Another one is read
/// anew, which takes less than a millisecond.
const MOST: usize = 2 << 20;

/// What a small one takes.
const LEAST: usize = 1 << 10;

type Read = Result<Desired, InvalidSpec>;

/// The specs, by the resource's uid.
#[derive(Default)]
pub(super) struct Specs(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    specs: HashMap<String, (i64, usize, Read)>,
    size: usize,
}

impl Inner {
    fn remove(&mut self, uid: &str) {
        if let Some((_, size, _)) = self.specs.remove(uid) {
            self.size -= size;
        }
    }
}

impl Specs {
    /// The spec of this generation, which `read` reads if it wasn't yet. A generation that isn't known belongs to no object that the API
    /// server has.
    pub(super) fn of(&self, uid: &str, generation: Option<i64>, read: impl FnOnce() -> Read) -> Read {
        let Some(generation) = generation else { return read() };
        if let Some((kept, _, spec)) = self.lock().specs.get(uid)
            && *kept == generation
        {
            return spec.clone();
        }
        let spec = read();
        let size = spec.as_ref().map_or(LEAST, size);
        let mut inner = self.lock();
        inner.remove(uid);
        // Any of them: an order that a tenant knows could be used against the others.
        while inner.size + size > MOST
            && let Some(uid) = inner.specs.keys().next().cloned()
        {
            inner.remove(&uid);
        }
        inner.specs.insert(uid.to_owned(), (generation, size, spec.clone()));
        inner.size += size;
        spec
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// About as many bytes as a spec takes.
fn size(desired: &Desired) -> usize {
    let labels = desired.labels.iter().map(|(key, text)| key.len() + text.len());
    let annotations = desired.annotations.iter().map(|(key, template)| key.len() + template.size());
    let data = desired.data.iter().map(|(key, template)| key.len() + template.size());
    LEAST + labels.chain(annotations).chain(data).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::resources::{SecretSpec, SecretTemplate, SpecParts};

    fn desired(length: usize) -> Desired {
        let annotations = [("a".to_owned(), "x".repeat(length))].into();
        let template = SecretTemplate { annotations, ..SecretTemplate::default() };
        let secret = SecretSpec { template: Some(template), ..SecretSpec::default() };
        Desired::parse(&SpecParts { secret: Some(&secret), ..SpecParts::default() }, "shop", "checkout")
            .unwrap()
    }

    #[test]
    fn a_spec_is_read_once_for_each_generation() {
        let (specs, reads) = (Specs::default(), Cell::new(0));
        let read = |uid, generation, due: usize| {
            let invalid = InvalidSpec { field: format!("{uid}{generation:?}"), problem: String::new() };
            let read = specs.of(uid, generation, || {
                reads.set(reads.get() + 1);
                Err(invalid.clone())
            });
            assert_eq!((read, reads.get()), (Err(invalid), due));
        };
        read("a", Some(1), 1);
        read("a", Some(1), 1);
        read("b", Some(1), 2);
        read("a", Some(2), 3);
        read("a", Some(2), 3);
        read("b", Some(1), 3);
        read("a", None, 4);
        read("a", None, 5);
    }

    #[test]
    fn whatever_specs_there_are_they_take_so_much_and_no_more() {
        let specs = Specs::default();
        for nr in 0..100 {
            let read = specs.of(&nr.to_string(), Some(1), || Ok(desired(50_000)));
            assert!(read.unwrap().annotations["a"].size() >= 50_000);
            let inner = specs.lock();
            assert_eq!(inner.size, inner.specs.values().map(|(_, size, _)| size).sum::<usize>());
            assert!(inner.size <= MOST && inner.specs.contains_key(&nr.to_string()));
        }
        assert!(specs.lock().specs.len() > 30);
    }
}
