//! How far a shard is: a pure machine, whose steps the ledger keeps.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::class::Class;

/// How far a shard is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing of it was sent.
    #[default]
    Planned,
    /// An upload was begun. It costs nothing; a copy that is left over does no harm.
    Uploading,
    /// Its file is at the provider.
    Uploaded {
        /// The file.
        file: String,
    },
    /// A create was begun and its outcome is not known: there may be a batch that costs money.
    Creating {
        /// The file.
        file: String,
        /// When it was begun, in unix seconds.
        at: i64,
    },
    /// The provider has its batch.
    Open {
        /// The file.
        file: String,
        /// The batch.
        batch: String,
        /// Since when, in unix seconds.
        since: i64,
    },
    /// The batch has ended.
    Ended {
        /// The file.
        file: String,
        /// The batch.
        batch: String,
        /// How it ended.
        end: End,
    },
    /// What the provider had of it is in the job's folder.
    Fetched {
        /// The file.
        file: String,
        /// The batch.
        batch: String,
        /// How it ended.
        end: End,
        /// The files as they came.
        raw: Vec<RawFile>,
    },
    /// Each of its lines has its class.
    Joined {
        /// The file.
        file: String,
        /// The batch.
        batch: String,
        /// How it ended.
        end: End,
        /// The files as they came.
        raw: Vec<RawFile>,
        /// What came of its lines.
        joined: Joined,
    },
    /// Too large for the provider, or refused by it before anything was bought: its lines go into
    /// another round.
    Dissolved,
    /// Whether there is a batch, or whether it will ever end, cannot be found out; a person must decide.
    Stuck {
        /// The file.
        file: String,
        /// When the create was begun or had its answer, in unix seconds.
        at: i64,
        /// Why.
        why: String,
    },
}

/// How a batch ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The provider's word, in our spelling.
    pub status: String,
    /// The file of answers.
    pub output_file: Option<String>,
    /// The file of failures.
    pub error_file: Option<String>,
    /// What the provider says of the batch as a whole.
    pub message: Option<String>,
    /// What it says of single lines: the number in the shard, a code, a sentence.
    #[serde(default)]
    pub faults: Vec<(u64, String, String)>,
    /// Lines that it says were answered or have failed.
    #[serde(default)]
    pub counted: u64,
    /// When that was learned, in unix seconds.
    #[serde(default)]
    pub at: Option<i64>,
}

impl End {
    /// What the provider says of a batch that failed as a whole.
    #[must_use]
    pub fn failed_for(&self) -> Option<&str> {
        let has_failed = self.status == "failed";
        self.message.as_deref().filter(|_| has_failed)
    }
}

/// A file of the provider's in the job's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawFile {
    /// What is in it.
    pub kind: RawKind,
    /// Its length.
    pub bytes: u64,
    /// xxh3-128 of its bytes, in hex.
    pub xxh3: String,
}

/// What is in a file of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RawKind {
    /// Answers, as the provider wrote them.
    Output,
    /// Failures, as the provider wrote them.
    Errors,
    /// What the provider said of single lines when it refused the whole file, as lines of ours.
    Faults,
}

impl RawKind {
    /// The middle of its name in the job's folder.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Output => "output",
            Self::Errors => "errors",
            Self::Faults => "faults",
        }
    }
}

/// What came of the lines of a shard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// Lines by class.
    pub classes: BTreeMap<Class, u64>,
    /// Results beyond the first of a line.
    pub repeated: u64,
    /// Results that belong to no line.
    pub unknown: u64,
    /// Some of their names.
    pub unknown_ids: Vec<String>,
    /// Lines of the provider's files that are no results.
    pub unreadable: u64,
    /// Tokens that the answers say they took in.
    pub input_tokens: u64,
    /// Tokens that they say they put out.
    pub output_tokens: u64,
}

impl Joined {
    /// Lines of this class.
    #[must_use]
    pub fn count(&self, class: Class) -> u64 {
        self.classes.get(&class).copied().unwrap_or(0)
    }

    /// Lines with an answer.
    #[must_use]
    pub fn answered(&self) -> u64 {
        let answered = self.classes.iter().filter(|(class, _)| class.is_answer());
        answered.map(|(_, lines)| lines).sum()
    }
}

/// A step of a shard. Each is in the ledger, durable, before anything is done that follows from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// An upload begins.
    Upload,
    /// The file is there.
    Uploaded {
        /// The file.
        file: String,
    },
    /// A create begins.
    Create {
        /// Now, in unix seconds.
        at: i64,
    },
    /// The answer to the create names the batch.
    Created {
        /// The batch.
        batch: String,
        /// Now, in unix seconds.
        at: i64,
    },
    /// The answer to the create says that there is no batch, or two looks do.
    NotCreated {
        /// How that is known.
        why: String,
    },
    /// The batch was found although the answer to its create was lost.
    Adopted {
        /// The batch.
        batch: String,
        /// Now, in unix seconds.
        at: i64,
    },
    /// It cannot be found out whether there is a batch, or it will not end.
    Stuck {
        /// Why.
        why: String,
    },
    /// The file is gone at the provider.
    FileGone,
    /// The batch was over a limit of the provider's and has failed before anything ran; its file is
    /// still there.
    Full {
        /// What it said.
        why: String,
    },
    /// The lines go into another round; nothing of the shard was bought.
    Dissolved {
        /// Why.
        why: String,
    },
    /// The batch has ended.
    Ended {
        /// How.
        end: End,
    },
    /// After the end the provider names other files than at first.
    EndedAnew {
        /// How.
        end: End,
    },
    /// The files are in the job's folder.
    Fetched {
        /// As they came.
        raw: Vec<RawFile>,
    },
    /// The lines have their classes.
    Joined {
        /// What came of them.
        joined: Joined,
    },
}

/// A step that cannot follow on the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impossible {
    state: &'static str,
    step: String,
}

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` cannot follow on `{}`", self.step, self.state)
    }
}

impl State {
    /// The state after a step.
    ///
    /// # Errors
    ///
    /// The step cannot follow on this state.
    pub fn after(self, step: &Step) -> Result<Self, Impossible> {
        Ok(match (self, step.clone()) {
            // Again after a stop in the middle.
            (Self::Planned | Self::Uploading, Step::Upload) => Self::Uploading,
            (Self::Uploading, Step::Uploaded { file }) => Self::Uploaded { file },
            (Self::Uploaded { file }, Step::Create { at }) => Self::Creating { file, at },
            (Self::Uploaded { .. } | Self::Planned, Step::Dissolved { .. }) => Self::Dissolved,
            (
                Self::Creating { file, .. },
                Step::Created { batch, at } | Step::Adopted { batch, at },
            )
            | (Self::Stuck { file, .. }, Step::Adopted { batch, at }) => Self::Open {
                file,
                batch,
                since: at,
            },
            (Self::Creating { file, .. } | Self::Stuck { file, .. }, Step::NotCreated { .. }) => {
                Self::Uploaded { file }
            }
            (
                Self::Creating { file, at }
                | Self::Open {
                    file, since: at, ..
                },
                Step::Stuck { why },
            ) => Self::Stuck { file, at, why },
            (Self::Uploaded { .. } | Self::Creating { .. }, Step::FileGone) => Self::Planned,
            (Self::Open { file, .. }, Step::Full { .. }) => Self::Uploaded { file },
            (Self::Open { file, batch, .. }, Step::Ended { end })
            | (Self::Ended { file, batch, .. }, Step::EndedAnew { end }) => {
                Self::Ended { file, batch, end }
            }
            (Self::Ended { file, batch, end }, Step::Fetched { raw }) => Self::Fetched {
                file,
                batch,
                end,
                raw,
            },
            (
                Self::Fetched {
                    file,
                    batch,
                    end,
                    raw,
                },
                Step::Joined { joined },
            ) => Self::Joined {
                file,
                batch,
                end,
                raw,
                joined,
            },
            (state, step) => {
                return Err(Impossible {
                    state: state.name(),
                    step: step.name(),
                });
            }
        })
    }

    /// Nothing more is to be done with it, or can be without a person.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        match self {
            Self::Joined { .. } | Self::Dissolved | Self::Stuck { .. } => true,
            Self::Planned
            | Self::Uploading
            | Self::Uploaded { .. }
            | Self::Creating { .. }
            | Self::Open { .. }
            | Self::Ended { .. }
            | Self::Fetched { .. } => false,
        }
    }

    /// Whether the provider counts its tokens, as far as is known.
    #[must_use]
    pub fn is_enqueued(&self) -> bool {
        matches!(
            self,
            Self::Creating { .. } | Self::Open { .. } | Self::Stuck { .. }
        )
    }

    /// Whether there may be a batch of it at the provider, or was.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        match self {
            Self::Planned | Self::Uploading | Self::Uploaded { .. } | Self::Dissolved => false,
            Self::Creating { .. }
            | Self::Open { .. }
            | Self::Ended { .. }
            | Self::Fetched { .. }
            | Self::Joined { .. }
            | Self::Stuck { .. } => true,
        }
    }

    /// Its batch, once there is one.
    #[must_use]
    pub fn batch(&self) -> Option<&str> {
        match self {
            Self::Open { batch, .. }
            | Self::Ended { batch, .. }
            | Self::Fetched { batch, .. }
            | Self::Joined { batch, .. } => Some(batch),
            Self::Planned
            | Self::Uploading
            | Self::Uploaded { .. }
            | Self::Creating { .. }
            | Self::Dissolved
            | Self::Stuck { .. } => None,
        }
    }

    /// One word for it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Uploading => "uploading",
            Self::Uploaded { .. } => "uploaded",
            Self::Creating { .. } => "creating",
            Self::Open { .. } => "open",
            Self::Ended { .. } => "ended",
            Self::Fetched { .. } => "fetched",
            Self::Joined { .. } => "joined",
            Self::Dissolved => "dissolved",
            Self::Stuck { .. } => "stuck",
        }
    }
}

impl Step {
    fn name(&self) -> String {
        let value = serde_json::to_value(self).expect("steps are plain data");
        value["step"].as_str().unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end() -> End {
        End {
            status: "completed".into(),
            ..End::default()
        }
    }

    fn states() -> Vec<State> {
        let (file, batch) = ("f".to_owned(), "b".to_owned());
        vec![
            State::Planned,
            State::Uploading,
            State::Uploaded { file: file.clone() },
            State::Creating {
                file: file.clone(),
                at: 1,
            },
            State::Open {
                file: file.clone(),
                batch: batch.clone(),
                since: 2,
            },
            State::Ended {
                file: file.clone(),
                batch: batch.clone(),
                end: end(),
            },
            State::Fetched {
                file: file.clone(),
                batch: batch.clone(),
                end: end(),
                raw: vec![],
            },
            State::Joined {
                file: file.clone(),
                batch,
                end: end(),
                raw: vec![],
                joined: Joined::default(),
            },
            State::Dissolved,
            State::Stuck {
                file,
                at: 1,
                why: "w".into(),
            },
        ]
    }

    fn steps() -> Vec<Step> {
        let why = || "w".to_owned();
        vec![
            Step::Upload,
            Step::Uploaded { file: "f".into() },
            Step::Create { at: 1 },
            Step::Created {
                batch: "b".into(),
                at: 2,
            },
            Step::NotCreated { why: why() },
            Step::Adopted {
                batch: "b".into(),
                at: 2,
            },
            Step::Stuck { why: why() },
            Step::FileGone,
            Step::Full { why: why() },
            Step::Dissolved { why: why() },
            Step::Ended { end: end() },
            Step::EndedAnew { end: end() },
            Step::Fetched { raw: vec![] },
            Step::Joined {
                joined: Joined::default(),
            },
        ]
    }

    /// Each state in the order of `states`, with the steps that may follow and where they lead.
    const MAY_FOLLOW: [(&str, &str); 10] = [
        ("planned", "upload>uploading dissolved>dissolved"),
        ("uploading", "upload>uploading uploaded>uploaded"),
        (
            "uploaded",
            "create>creating file_gone>planned dissolved>dissolved",
        ),
        (
            "creating",
            "created>open not_created>uploaded adopted>open stuck>stuck file_gone>planned",
        ),
        ("open", "stuck>stuck full>uploaded ended>ended"),
        ("ended", "ended_anew>ended fetched>fetched"),
        ("fetched", "joined>joined"),
        ("joined", ""),
        ("dissolved", ""),
        ("stuck", "not_created>uploaded adopted>open"),
    ];

    #[test]
    fn every_step_follows_only_where_it_may() {
        for (state, (name, expected)) in states().into_iter().zip(MAY_FOLLOW) {
            assert_eq!(state.name(), name);
            let allowed: Vec<String> = steps()
                .iter()
                .filter_map(|step| {
                    let after = state.clone().after(step).ok()?;
                    Some(format!("{}>{}", step.name(), after.name()))
                })
                .collect();
            assert_eq!(allowed.join(" "), expected, "after {name}");
        }
    }

    #[test]
    fn what_a_shard_knows_is_kept_from_step_to_step() {
        let walk = [
            Step::Upload,
            Step::Uploaded { file: "f".into() },
            Step::Create { at: 5 },
            Step::Created {
                batch: "b".into(),
                at: 6,
            },
        ];
        let open = walk.iter().try_fold(State::Planned, State::after).unwrap();
        let expected = State::Open {
            file: "f".into(),
            batch: "b".into(),
            since: 6,
        };
        assert_eq!(open, expected);
        let full = open.after(&Step::Full { why: "w".into() }).unwrap();
        assert_eq!(full, State::Uploaded { file: "f".into() });
    }

    #[test]
    fn an_impossible_step_says_what_it_is() {
        let error = State::Planned.after(&Step::Create { at: 1 }).unwrap_err();
        assert_eq!(error.to_string(), "`create` cannot follow on `planned`");
    }

    #[test]
    fn steps_are_read_back_as_they_were_written() {
        for step in steps() {
            let json = serde_json::to_string(&step).unwrap();
            assert_eq!(serde_json::from_str::<Step>(&json).unwrap(), step, "{json}");
        }
    }
}
