//! What can go wrong, and what people do.

use std::time::Duration;

use keeptrusts_emulator::Operation;

/// One thing that happens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// An operator is killed (SIGKILL), and started again after a while.
    KillOperator {
        /// Which.
        operator: usize,
        /// When exactly.
        moment: Moment,
        /// How long it is down.
        down: Duration,
    },
    /// An operator is frozen (SIGSTOP) for a while.
    FreezeOperator {
        /// Which.
        operator: usize,
        /// When exactly.
        moment: Moment,
        /// How long.
        lasts: Duration,
    },
    /// The API server is killed (SIGKILL) or ended (SIGTERM), and started again.
    RestartApiServer {
        /// Whether it is killed.
        killed: bool,
        /// When exactly.
        moment: Moment,
        /// How long it is down before it is started.
        down: Duration,
    },
    /// etcd is frozen (SIGSTOP) for a while.
    FreezeEtcd {
        /// How long.
        lasts: Duration,
    },
    /// New pods don't become ready for a while: rollouts hang.
    HoldPods {
        /// How long.
        lasts: Duration,
    },
    /// An operator's way to the API server is blocked for a while, for some requests or for all.
    Block {
        /// Which operator's.
        operator: usize,
        /// How.
        block: Block,
        /// How long.
        lasts: Duration,
    },
    /// Something goes wrong at the token API.
    Fault(Mishap),
    /// The token API's lists are strange for a while.
    Lists {
        /// How.
        oddity: Oddity,
        /// How long.
        lasts: Duration,
    },
    /// Somebody does something to a key or its Secret.
    Person {
        /// Which key.
        key: usize,
        /// What.
        act: Act,
    },
    /// Somebody deletes a namespace, and makes it again with all its keys.
    DeleteNamespace {
        /// Which.
        namespace: usize,
    },
}

/// When a process is struck. Most of the time nothing is under way that a blow could harm, so many wait for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// At once.
    Now,
    /// So long after the next call that makes a value has come in; without one, at the end of [`WINDOW`].
    Mint(Duration),
}

/// How long a call is waited for.
pub(crate) const WINDOW: Duration = Duration::from_secs(4);

impl Moment {
    /// How long after its time a blow falls at the latest.
    pub(crate) fn latest(self) -> Duration {
        match self {
            Self::Now => Duration::ZERO,
            Self::Mint(after) => WINDOW + after,
        }
    }
}

/// What happens between one operator and the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Block {
    /// Requests about the Lease are cut; the API server never sees them.
    LeaseCut,
    /// They are carried out, and their answers cut.
    LeaseAnswerCut,
    /// They are held, and carried out when the block ends, whoever still waits for them.
    LeaseLate,
    /// They are answered as if somebody else had written the Lease.
    LeaseConflict,
    /// Every request is cut.
    CutOff,
}

/// A fault of the token API for some calls.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mishap {
    /// What happens.
    pub(crate) trouble: Trouble,
    /// To which calls; to all, if none.
    pub(crate) operation: Option<Operation>,
    /// To how many of them.
    pub(crate) times: u32,
    /// How long what it holds is held.
    pub(crate) lasts: Duration,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It is slow to be carried out, by so many milliseconds.
    SlowBefore(u64),
    /// It is carried out, and the answer is slow.
    SlowAfter(u64),
    /// It is held, and carried out later, whoever still waits for it.
    Late,
    /// It is held, and lost.
    LostLate,
    /// It is carried out, and its answer held.
    AnswerLate,
    /// It is carried out, and its answer held and lost.
    AnswerLostLate,
    /// A status of the API's own, that says nothing about what was done; before it was.
    Failed(u16),
    /// The same, after it was.
    FailedAfter(u16),
    /// A status of the API's own that says that nothing was done, which is so.
    Refused(u16),
    /// 429, with seconds or a date.
    Throttled {
        /// As a date.
        date: bool,
    },
    /// A page of a proxy's, with this status; before it was carried out.
    Page(u16),
    /// The same, after it was.
    PageAfter(u16),
    /// The connection is cut; nothing was done.
    Cut,
    /// The connection is cut; it was carried out.
    CutAfter,
    /// It is carried out, and the answer breaks off.
    CutBody,
    /// It is carried out, and the answer is JSON of no known form.
    Nonsense,
    /// A redirect to the same place.
    Redirect,
    /// It is carried out, and the answer has no end.
    Huge,
    /// It is carried out, and the answer doesn't tell the value.
    NoValue,
    /// It is carried out, and the answer doesn't tell the id.
    NoId,
    /// It is carried out, and the answer tells value and id alone.
    Terse,
    /// A rotation gives the token a new id.
    NewId,
}

/// What is strange about lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Oddity {
    /// They are so many milliseconds old, which is less than the operator is told to expect.
    Old(u64),
    /// They come in small pages.
    Paged,
    /// They show revoked tokens, marked.
    ShowRevoked,
    /// They end early, and the page that they promise doesn't come.
    NoMore,
    /// They promise the same page for ever.
    Circle,
    /// Half a page comes.
    HalfPage,
    /// They are empty and say that they are whole: a lie.
    Empty,
    /// They end early and say that they are whole: a lie.
    Short,
}

/// What somebody does to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Deletes its Secret.
    DeleteSecret,
    /// Writes another value into its Secret.
    EditValue,
    /// Writes an annotation onto its Secret.
    AnnotateSecret,
    /// Strips the label from its Secret by which the operator watches it.
    StripLabel,
    /// Empties its status.
    WipeStatus,
    /// Changes the Secret's template.
    EditTemplate,
    /// Changes the description.
    EditDescription,
    /// Raises the rotation generation.
    Rotate,
    /// Raises it several times in a second.
    RotateInAHurry,
    /// Asks for a rotation at once by annotation.
    RotateNow,
    /// Has it rotated on a schedule for a while.
    Schedule,
    /// Has its tokens expire for a while.
    Expire,
    /// Pauses the Deployment that uses it for a while.
    PauseWorkload,
    /// Deletes it, and makes it again when it is gone.
    Delete {
        /// In the foreground.
        foreground: bool,
    },
    /// Deletes it with `deletionPolicy: Retain`, and makes one of another name.
    Retain,
    /// Revokes its token in the console.
    RevokeInConsole,
    /// Rotates its token in the console.
    RotateInConsole,
}

impl Action {
    /// The name of its kind, for reports.
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::KillOperator { .. } => "operator killed".into(),
            Self::FreezeOperator { .. } => "operator frozen".into(),
            Self::RestartApiServer { .. } => "API server restarted".into(),
            Self::FreezeEtcd { .. } => "etcd frozen".into(),
            Self::HoldPods { .. } => "pods held up".into(),
            Self::Block { block, .. } => block.kind().into(),
            Self::Fault(mishap) => format!("fault: {}", mishap.trouble.kind()),
            Self::Lists { oddity, .. } => format!("lists: {}", oddity.kind()),
            Self::Person { act, .. } => act.kind().into(),
            Self::DeleteNamespace { .. } => "namespace deleted".into(),
        }
    }
}

impl Block {
    /// The name of its kind.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::LeaseCut => "Lease: cut",
            Self::LeaseAnswerCut => "Lease: answer cut",
            Self::LeaseLate => "Lease: late",
            Self::LeaseConflict => "Lease: conflict",
            Self::CutOff => "operator cut off",
        }
    }
}

impl Trouble {
    /// The name of its kind.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::SlowBefore(_) => "slow",
            Self::SlowAfter(_) => "slow answer",
            Self::Late => "held, carried out late",
            Self::LostLate => "held, lost",
            Self::AnswerLate => "answer held",
            Self::AnswerLostLate => "answer held, lost",
            Self::Failed(_) => "failed",
            Self::FailedAfter(_) => "failed after",
            Self::Refused(_) => "refused",
            Self::Throttled { .. } => "throttled",
            Self::Page(_) => "proxy's page",
            Self::PageAfter(_) => "proxy's page after",
            Self::Cut => "cut",
            Self::CutAfter => "cut after",
            Self::CutBody => "answer cut",
            Self::Nonsense => "nonsense",
            Self::Redirect => "redirect",
            Self::Huge => "huge",
            Self::NoValue => "no value told",
            Self::NoId => "no id told",
            Self::Terse => "terse answer",
            Self::NewId => "new id on rotation",
        }
    }
}

impl Oddity {
    /// The name of its kind.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::Old(_) => "old",
            Self::Paged => "paged",
            Self::ShowRevoked => "show revoked",
            Self::NoMore => "promised page missing",
            Self::Circle => "same page for ever",
            Self::HalfPage => "half a page",
            Self::Empty => "empty",
            Self::Short => "short",
        }
    }
}

impl Act {
    /// The name of its kind.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::DeleteSecret => "Secret deleted",
            Self::EditValue => "Secret's value edited",
            Self::AnnotateSecret => "Secret annotated",
            Self::StripLabel => "Secret's label stripped",
            Self::WipeStatus => "status wiped",
            Self::EditTemplate => "template edited",
            Self::EditDescription => "description edited",
            Self::Rotate => "rotation asked for",
            Self::RotateInAHurry => "rotations in a hurry",
            Self::RotateNow => "rotation at once asked for",
            Self::Schedule => "scheduled for a while",
            Self::Expire => "expiring for a while",
            Self::PauseWorkload => "workload paused for a while",
            Self::Delete { foreground: false } => "key deleted",
            Self::Delete { foreground: true } => "key deleted in the foreground",
            Self::Retain => "key deleted, retained",
            Self::RevokeInConsole => "token revoked in the console",
            Self::RotateInConsole => "token rotated in the console",
        }
    }
}
