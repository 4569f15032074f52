//! From the plan's words to the emulator's, and to the proxy's before the API server.

use std::time::Duration;

use keeptrusts_emulator::{
    Effect, Envelope, Fault, ListDefect, Lists, Marker, Operation, Paging, RetryAfter, Stage,
};
use keeptrusts_harness::{Match, Rule};
use serde_json::json;

use crate::plan::{Block, Mishap, Oddity, Trouble};

/// More than the operator reads of an answer.
const HUGE: u64 = 16 << 20;

/// How long a throttled client is asked to wait, in seconds.
const THROTTLE: u64 = 2;

/// Whether it holds calls.
pub(crate) const fn holds(trouble: Trouble) -> bool {
    use Trouble::{AnswerLate, AnswerLostLate, Late, LostLate};
    matches!(trouble, Late | LostLate | AnswerLate | AnswerLostLate)
}

/// Whether what a fault holds is lost when it ends.
pub(crate) const fn loses(trouble: Trouble) -> bool {
    matches!(trouble, Trouble::LostLate | Trouble::AnswerLostLate)
}

/// The fault of a mishap.
pub(crate) fn fault(mishap: &Mishap) -> Fault {
    let mut fault = Fault::new(effect(mishap.trouble)).times(mishap.times);
    fault.operation = match (mishap.trouble, mishap.operation) {
        // Any 2xx to whoami says that the value lives: of a dead one that is a lie, and lies aren't among the faults.
        (Trouble::Nonsense, None | Some(Operation::Whoami)) => Some(Operation::List),
        (_, operation) => operation,
    };
    fault
}

fn effect(trouble: Trouble) -> Effect {
    use Stage::{After, Before};
    match trouble {
        Trouble::SlowBefore(by) => Effect::latency(Duration::from_millis(by)),
        Trouble::SlowAfter(milliseconds) => Effect::Latency { milliseconds, stage: After },
        Trouble::Late | Trouble::LostLate => Effect::hold(Before),
        Trouble::AnswerLate | Trouble::AnswerLostLate => Effect::hold(After),
        Trouble::Failed(status) | Trouble::Refused(status) => Effect::status(status, Before),
        Trouble::FailedAfter(status) => Effect::status(status, After),
        Trouble::Throttled { date: true } => Effect::throttle(RetryAfter::Date(THROTTLE)),
        Trouble::Throttled { date: false } => Effect::throttle(RetryAfter::Seconds(THROTTLE)),
        Trouble::Page(status) => page(status, Before),
        Trouble::PageAfter(status) => page(status, After),
        Trouble::Cut => Effect::cut(Before),
        Trouble::CutAfter => Effect::cut(After),
        Trouble::CutBody => Effect::CutBody,
        Trouble::Nonsense => Effect::answer("application/json", r#"{"hello": "world"}"#),
        Trouble::Redirect => Effect::Redirect { location: "/v1/tokens".into(), status: 307, stage: Before },
        Trouble::Huge => Effect::Huge { bytes: HUGE, status: 200, stage: After },
        Trouble::NoValue => Effect::behave(json!({"answers": {"value": false}})),
        Trouble::NoId => Effect::behave(json!({"answers": {"id": false}})),
        Trouble::Terse => Effect::behave(json!({"answers": {"details": false}})),
        Trouble::NewId => Effect::behave(json!({"tokens": {"id_on_rotate": "new"}})),
    }
}

fn page(status: u16, stage: Stage) -> Effect {
    Effect::Status { status, stage, message: None, envelope: Some(Envelope::Html), retry_after: None }
}

/// What a proxy does to an operator's requests as long as they are blocked.
pub(crate) fn rule(block: Block) -> Rule {
    let about_the_lease = || Rule::on(Match::path_contains("/leases")).always();
    match block {
        Block::LeaseCut => about_the_lease().cut_before(),
        Block::LeaseAnswerCut => about_the_lease().cut_after(),
        Block::LeaseLate => about_the_lease().hold_before(),
        Block::LeaseConflict => about_the_lease().conflict(),
        Block::CutOff => Rule::on(Match::any()).always().cut_before(),
    }
}

/// How lists are while they are odd.
pub(crate) fn lists(oddity: Oddity) -> Lists {
    let whole = Lists::default();
    let defect = |defect, defect_after| Lists { defect, defect_after, ..Lists::default() };
    match oddity {
        Oddity::Old(lag_milliseconds) => Lists { lag_milliseconds, ..whole },
        Oddity::Paged => Lists { page_size: Some(3), paging: Paging::Link, ..whole },
        Oddity::ShowRevoked => Lists { revoked: true, marker: Marker::Status, ..whole },
        Oddity::NoMore => defect(ListDefect::ClaimsMore, 2),
        Oddity::Circle => Lists { page_size: Some(2), ..defect(ListDefect::RepeatsCursor, 4) },
        Oddity::HalfPage => Lists { page_size: Some(2), ..defect(ListDefect::BrokenPage, 3) },
        Oddity::Empty => defect(ListDefect::Empty, 0),
        Oddity::Short => defect(ListDefect::Short, 5),
    }
}
