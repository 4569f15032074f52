//! Queues that namespaces share by taking turns; within a namespace, first in, first out. No I/O here.

use std::collections::VecDeque;
use std::sync::Arc;

/// The waiting items, by namespace. Items of no namespace have a line of their own, with an empty name.
#[derive(Debug)]
pub(crate) struct Lines<T> {
    /// In the order of their turns. None is empty.
    lines: VecDeque<(Arc<str>, VecDeque<T>)>,
    waiting: usize,
}

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Self { lines: VecDeque::new(), waiting: 0 }
    }
}

impl<T> Lines<T> {
    /// Joins the line of a namespace.
    pub(crate) fn join(&mut self, namespace: &str, one: T) {
        match self.lines.iter_mut().find(|(of, _)| &**of == namespace) {
            Some((_, line)) => line.push_back(one),
            None => self.lines.push_back((namespace.into(), VecDeque::from([one]))),
        }
        self.waiting += 1;
    }

    /// The next; after it come the other namespaces.
    pub(crate) fn next(&mut self) -> Option<T> {
        let (namespace, mut line) = self.lines.pop_front()?;
        let next = line.pop_front()?;
        if !line.is_empty() {
            self.lines.push_back((namespace, line));
        }
        self.waiting -= 1;
        Some(next)
    }

    /// Joins the line of a namespace, where at most `most` may wait in all. Returns true if an item was dropped: the last of the longest
    /// line, which may be this one. So a namespace that floods the lines keeps no other namespace out.
    pub(crate) fn join_within(&mut self, most: usize, namespace: &str, one: T) -> bool {
        self.join(namespace, one);
        if self.waiting <= most {
            return false;
        }
        // Of several the last one to have its turn.
        let longest = (0..self.lines.len()).max_by_key(|line| self.lines[*line].1.len()).unwrap_or_default();
        if let Some((_, line)) = self.lines.get_mut(longest) {
            line.pop_back();
            if line.is_empty() {
                self.lines.remove(longest);
            }
            self.waiting -= 1;
        }
        true
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut lines: Lines<String>) -> Vec<String> {
        std::iter::from_fn(|| lines.next()).collect()
    }

    #[test]
    fn namespaces_take_turns_and_one_that_floods_keeps_nobody_out() {
        for (most, joining, left) in [
            (9, &["a1", "a2", "a3", "b1", "c1", "b2"][..], &["a1", "b1", "c1", "a2", "b2", "a3"][..]),
            (3, &["a1", "a2", "a3", "a4", "b1"], &["a1", "b1", "a2"]),
            (3, &["a1", "a2", "b1", "b2", "c1"], &["a1", "b1", "c1"]),
            (2, &["a1", "b1", "c1"], &["a1", "b1"]),
            (0, &["a1"], &[]),
        ] {
            let mut lines = Lines::default();
            let gone =
                joining.iter().filter(|one| lines.join_within(most, &one[..1], (**one).to_owned())).count();
            assert_eq!((lines.waiting(), gone), (left.len(), joining.len() - left.len()), "{joining:?}");
            assert_eq!(all(lines), left, "{joining:?}");
        }
    }
}
