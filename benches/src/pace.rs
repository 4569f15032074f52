//! How fast the machine is. On hardware that is shared the same work takes a quarter longer in one minute than in the next, which no
//! count of processor time shows.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::statistics::percentile;

/// How long is waited between two pieces of work: they take a hundredth of a core or two.
const PAUSE: Duration = Duration::from_millis(100);

/// So many objects are read and written for one piece of work: about a millisecond's.
const OBJECTS: usize = 200;

/// The same piece of work, again and again.
pub(crate) struct Pace {
    /// Dropped when it is over.
    going_on: Sender<()>,
    working: JoinHandle<Vec<f64>>,
}

impl Pace {
    /// Begins to measure.
    pub(crate) fn begin() -> Self {
        let (going_on, over) = mpsc::channel();
        let working = thread::spawn(move || {
            let text = text();
            let mut took = vec![milliseconds(&text)];
            while over.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                took.push(milliseconds(&text));
            }
            took
        });
        Self { going_on, working }
    }

    /// The processor time that half of all pieces took no longer than, in milliseconds.
    pub(crate) fn end(self) -> Result<f64> {
        drop(self.going_on);
        let took =
            self.working.join().map_err(|_| anyhow!("the measuring of the machine's pace panicked"))?;
        Ok(percentile(took, 50.0))
    }
}

/// What all programs here do most: JSON is read and written.
fn text() -> String {
    let object = |number| json!({"metadata": {"name": format!("key-{number}"), "labels": {"number": number}}, "spec": {}, "status": {"conditions": []}});
    (0..OBJECTS).map(object).collect::<Value>().to_string()
}

fn milliseconds(text: &str) -> f64 {
    let spent = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
    };
    let before = spent();
    std::hint::black_box(serde_json::from_str::<Value>(text).map(|value| value.to_string()).is_ok());
    spent().saturating_sub(before).as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_work_takes_some_time_and_less_than_the_pause() {
        let took = Pace::begin().end().unwrap();
        assert!(took > 0.0 && took < 100.0, "{took} ms");
    }
}
