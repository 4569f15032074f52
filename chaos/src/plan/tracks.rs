//! What happens on each track, and how often.

use std::time::Duration;

use keeptrusts_emulator::Operation;

use super::action::{Act, Action, Block, Mishap, Moment, Oddity, Trouble};
use super::{Recipe, Timed, has_workload, keeps_old, namespace_of, retains};
use crate::dice::{Deck, Dice};

/// Before it everything is left in peace: keys are minted.
const QUIET: Duration = Duration::from_secs(4);

/// After a control plane's trouble: what lost its connection is there again.
const CONTROL_PLANE_GAP: (u64, u64) = (12_000, 30_000);

/// The longest that an operator is frozen.
const LONG_FREEZE: (u64, u64) = (20_000, 30_000);

/// From a call that makes a value until all is committed it takes some tens of milliseconds.
const OPERATION: (u64, u64) = (0, 80);

/// After a blow to an operator, in milliseconds. Where one leads, every blow to it leaves a gap of some seconds in which nobody does: without
/// longer rests there would be little but gaps.
const BLOW_GAP: (u64, u64) = (1_000, 7_000);
const ELECTED_BLOW_GAP: (u64, u64) = (3_000, 21_000);

/// An operator is killed, or frozen, every eight seconds or so; every sixteen where one leads.
pub(super) fn operator(recipe: &Recipe, operator: usize, all: &mut Vec<Timed>) {
    #[derive(Clone, Copy)]
    enum Card {
        KillAndStart,
        KillAndWait,
        Freeze,
        FreezeLong,
    }
    let mut dice = Dice::new(recipe.seed, &format!("operator {operator}"));
    // A third of a short run isn't spent with a frozen operator: there only one of two is frozen for so long.
    let long = usize::from(recipe.duration > Duration::from_mins(3) || operator + 1 == recipe.operators);
    let mut deck = Deck::new(&[
        (6, Card::KillAndStart),
        (2, Card::KillAndWait),
        (2, Card::Freeze),
        (long, Card::FreezeLong),
    ]);
    let gap = if recipe.leader_election { ELECTED_BLOW_GAP } else { BLOW_GAP };
    let mut at = QUIET + dice.millis(0, 6_000);
    loop {
        let moment = moment(70, &mut dice);
        let (action, lasts) = match deck.deal(&mut dice) {
            Card::KillAndStart => {
                (Action::KillOperator { operator, moment, down: Duration::ZERO }, Duration::ZERO)
            }
            Card::KillAndWait => {
                let down = dice.millis(500, 8_000);
                (Action::KillOperator { operator, moment, down }, down)
            }
            Card::Freeze => {
                let lasts = dice.millis(500, 6_000);
                (Action::FreezeOperator { operator, moment, lasts }, lasts)
            }
            Card::FreezeLong => {
                let lasts = dice.millis(LONG_FREEZE.0, LONG_FREEZE.1);
                (Action::FreezeOperator { operator, moment, lasts }, lasts)
            }
        };
        let end = at + moment.latest() + lasts;
        if end > recipe.duration {
            return;
        }
        all.push(Timed { at, action });
        at = end + dice.millis(gap.0, gap.1);
    }
}

/// The moment of a blow; so many in a hundred fall into an operation.
fn moment(percent: usize, dice: &mut Dice) -> Moment {
    let after = dice.millis(OPERATION.0, OPERATION.1);
    if dice.chance(percent) { Moment::Mint(after) } else { Moment::Now }
}

/// The API server or etcd: each in its turn.
pub(super) fn control_plane(recipe: &Recipe, all: &mut Vec<Timed>) {
    let mut dice = Dice::new(recipe.seed, "control plane");
    let mut deck = Deck::new(&[(1, 0), (1, 1), (1, 2)]);
    let mut at = QUIET + dice.millis(4_000, 15_000);
    let mut etcd = dice.chance(50);
    loop {
        // In turns, so that both are in the shortest plan.
        etcd = !etcd;
        let (action, lasts) = if etcd {
            let lasts = dice.millis(1_000, 7_000);
            (Action::FreezeEtcd { lasts }, lasts)
        } else {
            let down = match deck.deal(&mut dice) {
                0 => Duration::ZERO,
                1 => dice.millis(0, 3_000),
                _ => dice.millis(3_000, 8_000),
            };
            let moment = moment(50, &mut dice);
            let killed = dice.chance(60);
            (Action::RestartApiServer { killed, moment, down }, moment.latest() + down)
        };
        if at + lasts > recipe.duration {
            return;
        }
        all.push(Timed { at, action });
        at += lasts + dice.millis(CONTROL_PLANE_GAP.0, CONTROL_PLANE_GAP.1);
    }
}

/// One operator's way to the API server: its Lease, or everything. Half of the blocks are longer than a renewal is tried for.
pub(super) fn way(recipe: &Recipe, operator: usize, all: &mut Vec<Timed>) {
    let mut dice = Dice::new(recipe.seed, &format!("way of operator {operator}"));
    let mut deck = Deck::new(&[
        (2, Block::LeaseCut),
        (1, Block::LeaseAnswerCut),
        (1, Block::LeaseLate),
        (1, Block::LeaseConflict),
        (1, Block::CutOff),
    ]);
    let mut at = QUIET;
    loop {
        at += dice.millis(6_000, 22_000);
        let lasts = dice.millis(500, 6_000);
        if at + lasts > recipe.duration {
            return;
        }
        let block = deck.deal(&mut dice);
        all.push(Timed { at, action: Action::Block { operator, block, lasts } });
        at += lasts;
    }
}

/// Pods become ready at once, or hang for longer than a rollout may take.
pub(super) fn pods(recipe: &Recipe, all: &mut Vec<Timed>) {
    let mut dice = Dice::new(recipe.seed, "pods");
    let mut at = QUIET;
    loop {
        at += dice.millis(2_000, 12_000);
        let lasts = dice.millis(500, 12_000);
        if at + lasts > recipe.duration {
            return;
        }
        all.push(Timed { at, action: Action::HoldPods { lasts } });
        at += lasts;
    }
}

/// Single calls of the token API.
pub(super) fn calls(recipe: &Recipe, all: &mut Vec<Timed>) {
    use Operation::{Create, List, Revoke, Rotate, Whoami};
    use Trouble as T;
    let mut dice = Dice::new(recipe.seed, "calls");
    let mut troubles = Deck::new(&[
        (2, T::SlowBefore(0)),
        (2, T::SlowAfter(0)),
        (3, T::Late),
        (1, T::LostLate),
        (2, T::AnswerLate),
        (1, T::AnswerLostLate),
        (2, T::Failed(0)),
        (3, T::FailedAfter(0)),
        (1, T::Refused(0)),
        (1, T::Throttled { date: false }),
        (1, T::Page(0)),
        (1, T::PageAfter(0)),
        (2, T::Cut),
        (4, T::CutAfter),
        (2, T::CutBody),
        (1, T::Nonsense),
        (1, T::Redirect),
        (1, T::Huge),
        (1, T::NoValue),
        (1, T::NoId),
        (1, T::Terse),
        (1, T::NewId),
    ]);
    // `None` is any call at all.
    let operations = [
        (7, Some(Create)),
        (5, Some(Rotate)),
        (4, Some(Revoke)),
        (2, Some(List)),
        (1, Some(Whoami)),
        (1, None),
    ];
    let mut operations = Deck::new(&operations);
    let mut at = QUIET;
    loop {
        at += dice.millis(300, 2_400);
        let lasts = dice.millis(800, 11_000);
        if at >= recipe.duration {
            return;
        }
        let drawn = operations.deal(&mut dice);
        let trouble = sharpened(troubles.deal(&mut dice), &mut dice);
        let operation = fit(trouble, drawn);
        let times = if dice.chance(70) { 1 } else { 3 };
        all.push(Timed { at, action: Action::Fault(Mishap { trouble, operation, times, lasts }) });
    }
}

/// Fills in the numbers of a trouble.
fn sharpened(trouble: Trouble, dice: &mut Dice) -> Trouble {
    /// Nobody knows what was done: errors of servers, and others that a client may not take for a refusal.
    const UNKNOWN: [u16; 8] = [500, 502, 503, 504, 408, 409, 425, 499];
    let mut millis = || u64::try_from(dice.millis(100, 3_000).as_millis()).unwrap_or_default();
    match trouble {
        Trouble::SlowBefore(_) => Trouble::SlowBefore(millis()),
        Trouble::SlowAfter(_) => Trouble::SlowAfter(millis()),
        Trouble::Failed(_) => Trouble::Failed(*dice.pick(&UNKNOWN)),
        Trouble::FailedAfter(_) => Trouble::FailedAfter(*dice.pick(&UNKNOWN)),
        Trouble::Refused(_) => Trouble::Refused(*dice.pick(&[400, 401, 403, 422])),
        Trouble::Throttled { .. } => Trouble::Throttled { date: dice.chance(50) },
        Trouble::Page(_) => Trouble::Page(*dice.pick(&[200, 403, 404, 429, 502])),
        Trouble::PageAfter(_) => Trouble::PageAfter(*dice.pick(&[200, 400, 403, 404, 502])),
        other => other,
    }
}

/// The calls that a trouble may strike. The API may be slow, broken and behind broken proxies, but where its documentation says what
/// an answer means, it means that: a fault never says "refused" of what was done, "gone" of what lives, or "dead" of a value that works.
fn fit(trouble: Trouble, drawn: Option<Operation>) -> Option<Operation> {
    let minting = match drawn {
        Some(Operation::Create | Operation::Rotate) => drawn,
        _ => Some(Operation::Create),
    };
    match trouble {
        Trouble::NewId => Some(Operation::Rotate),
        Trouble::NoValue | Trouble::NoId | Trouble::Terse => minting,
        Trouble::Refused(_) if matches!(drawn, Some(Operation::Whoami) | None) => minting,
        _ => drawn,
    }
}

/// What lists show.
pub(super) fn lists(recipe: &Recipe, all: &mut Vec<Timed>) {
    let mut dice = Dice::new(recipe.seed, "lists");
    let mut deck = Deck::new(&[
        (2, Oddity::Old(0)),
        (1, Oddity::Paged),
        (1, Oddity::ShowRevoked),
        (1, Oddity::NoMore),
        (1, Oddity::Circle),
        (1, Oddity::HalfPage),
        (1, Oddity::Empty),
        (1, Oddity::Short),
    ]);
    let mut at = QUIET;
    loop {
        at += dice.millis(2_000, 7_000);
        let oddity = match deck.deal(&mut dice) {
            Oddity::Old(_) => Oddity::Old(*dice.pick(&[200, 500, 900])),
            other => other,
        };
        // A list that lies about being whole does so for one or two lists.
        let lasts = match oddity {
            Oddity::Empty | Oddity::Short => dice.millis(300, 900),
            _ => dice.millis(1_000, 6_000),
        };
        if at + lasts > recipe.duration {
            return;
        }
        all.push(Timed { at, action: Action::Lists { oddity, lasts } });
        at += lasts;
    }
}

/// What people do. Each key is touched every fifteen seconds or so, however many there are.
pub(super) fn people(recipe: &Recipe, all: &mut Vec<Timed>) {
    let mut dice = Dice::new(recipe.seed, "people");
    // `None` is the deletion of a namespace.
    let mut deck = Deck::new(&[
        (3, Some(Act::DeleteSecret)),
        (2, Some(Act::EditValue)),
        (2, Some(Act::AnnotateSecret)),
        (2, Some(Act::StripLabel)),
        (2, Some(Act::WipeStatus)),
        (3, Some(Act::EditTemplate)),
        (1, Some(Act::EditDescription)),
        (6, Some(Act::Rotate)),
        (2, Some(Act::RotateInAHurry)),
        (2, Some(Act::RotateNow)),
        (2, Some(Act::Schedule)),
        (2, Some(Act::Expire)),
        (2, Some(Act::PauseWorkload)),
        (3, Some(Act::Delete { foreground: false })),
        (1, Some(Act::Delete { foreground: true })),
        (2, Some(Act::Retain)),
        (2, Some(Act::RevokeInConsole)),
        (2, Some(Act::RotateInConsole)),
        (1, None),
    ]);
    let pace = 15_000 / u64::try_from(recipe.keys).unwrap_or(1).max(1);
    let mut at = QUIET;
    loop {
        at += dice.millis(pace / 3, pace * 5 / 3);
        if at >= recipe.duration {
            return;
        }
        let action = match deck.deal(&mut dice) {
            Some(act) => Action::Person { key: target(act, recipe, &mut dice), act },
            None => Action::DeleteNamespace { namespace: doomed(recipe, &mut dice) },
        };
        all.push(Timed { at, action });
    }
}

fn target(act: Act, recipe: &Recipe, dice: &mut Dice) -> usize {
    let fits: Vec<usize> = (0..recipe.keys).filter(|key| fits(act, *key, recipe)).collect();
    *dice.pick(&fits)
}

/// Whether somebody may do this to a key. What may take a value from a pod by right isn't done to those that keep it: a rotation at once,
/// and the loss of status and Secret together, for nothing then remembers a rollout.
fn fits(act: Act, key: usize, recipe: &Recipe) -> bool {
    let odd = !key.is_multiple_of(2);
    match act {
        Act::Retain => retains(namespace_of(key, recipe.namespaces)),
        Act::PauseWorkload => has_workload(key),
        Act::RotateNow => !keeps_old(key),
        Act::DeleteSecret => !keeps_old(key) || odd,
        Act::WipeStatus => !keeps_old(key) || !odd,
        _ => true,
    }
}

fn doomed(recipe: &Recipe, dice: &mut Dice) -> usize {
    let fits: Vec<usize> = (0..recipe.namespaces).filter(|namespace| !retains(*namespace)).collect();
    *dice.pick(&fits)
}
