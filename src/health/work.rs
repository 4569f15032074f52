//! What is under way, so that a process in which something is stuck can be told from one that holds a value.
//!
//! Every call has a deadline and every wait a limit, so that nothing is ever stuck. This is for the day when that is wrong.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock;
use crate::lifecycle::time::Monotonic;

/// No step takes longer. The longest is a list of tokens, page by page, each as slow as a call may be.
const LONGEST_STEP: Duration = Duration::from_hours(1);

/// A value is written within minutes or given up. A process that holds one isn't to be killed, and for so long it is believed that it
/// will come to an end.
const LONGEST_OPERATION: Duration = Duration::from_mins(70);

#[derive(Clone, Copy)]
struct Step {
    since: Monotonic,
    /// When the operation began in whose course it is, with a value or a call on its way.
    operation: Option<Monotonic>,
}

/// The steps that are under way.
#[derive(Default)]
pub struct Work(Mutex<Steps>);

#[derive(Default)]
struct Steps {
    under_way: HashMap<u64, Step>,
    next: u64,
}

/// A step is under way until this is dropped.
pub struct UnderWay<'a> {
    work: &'a Work,
    number: u64,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.work.lock().under_way.remove(&self.number);
    }
}

impl Work {
    fn lock(&self) -> MutexGuard<'_, Steps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step begins, in the course of an operation that began then, if there is one.
    #[must_use]
    pub fn begin(&self, operation: Option<Monotonic>) -> UnderWay<'_> {
        let mut steps = self.lock();
        let number = steps.next;
        steps.next += 1;
        steps.under_way.insert(number, Step { since: clock::monotonic(), operation });
        UnderWay { work: self, number }
    }

    /// For how long a step has been stuck, if one is and a restart loses nothing.
    #[must_use]
    pub fn stuck(&self) -> Option<Duration> {
        stuck(self.lock().under_way.values().copied(), clock::monotonic())
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.lock();
        let operations = steps.under_way.values().filter(|step| step.operation.is_some()).count();
        write!(f, "{} steps under way, {operations} of them of operations", steps.under_way.len())
    }
}

fn stuck(steps: impl Iterator<Item = Step> + Clone, now: Monotonic) -> Option<Duration> {
    let ends_well = |step: Step| step.operation.is_some_and(|since| now.since(since) <= LONGEST_OPERATION);
    if steps.clone().any(ends_well) {
        return None;
    }
    steps.map(|step| now.since(step.since)).filter(|took| *took > LONGEST_STEP).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(minutes: u64) -> Monotonic {
        Monotonic(Duration::from_mins(minutes))
    }

    #[test]
    fn a_step_that_takes_too_long_is_stuck_but_no_value_is_given_up_for_it() {
        let step =
            |since: u64, operation: Option<u64>| Step { since: at(since), operation: operation.map(at) };
        let minutes = |minutes: u64| Some(Duration::from_mins(minutes));
        for (steps, now, expected, why) in [
            (vec![], 500, None, "idle"),
            (vec![step(100, None), step(150, None)], 160, None, "slow, but within the limit"),
            (vec![step(100, None), step(150, None)], 161, minutes(61), "one is stuck"),
            (vec![step(100, None), step(150, Some(149))], 161, None, "another one holds a value"),
            (vec![step(100, None), step(150, Some(91))], 162, minutes(62), "its value will never be written"),
            (vec![step(100, Some(91))], 161, None, "so long a value may take"),
            (vec![step(100, Some(90))], 161, minutes(61), "longer it can't"),
        ] {
            assert_eq!(stuck(steps.into_iter(), at(now)), expected, "{why}");
        }
    }

    #[test]
    fn what_is_over_is_not_under_way() {
        let work = Work::default();
        let one = work.begin(None);
        let two = work.begin(Some(clock::monotonic()));
        assert_eq!(work.to_string(), "2 steps under way, 1 of them of operations");
        drop((one, two));
        assert_eq!(work.to_string(), "0 steps under way, 0 of them of operations");
        assert_eq!(work.stuck(), None);
    }
}
