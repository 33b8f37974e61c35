//! Faults that stand in the way of a call, before it has done anything or after: a table.

use crate::envelope::Complaint;
use crate::provider::End;
use crate::provider::fault::ProviderFault as Fault;
use crate::provider::faults::Measure;
use crate::provider::mischief::Mischief;

/// How a call ends that meets an obstacle.
#[derive(Debug, Clone, Copy)]
enum How {
    Reset,
    Hang,
    /// The status is the measure.
    Status,
    /// 200, and an error for a body.
    Error200,
    /// 200, and no JSON for a body.
    Garbled,
    Missing,
    Refused,
    Quota,
}

/// By the name of the call.
type Obstacle = (&'static str, Fault, How);

/// The call does nothing.
const BEFORE: [Obstacle; 14] = [
    ("upload", Fault::UploadFailed, How::Status),
    ("upload", Fault::UploadError200, How::Error200),
    ("create", Fault::CreateLost, How::Reset),
    ("create", Fault::CreateFailed, How::Status),
    ("create", Fault::CreateError200, How::Error200),
    ("create", Fault::CreateQuota, How::Quota),
    ("retrieve", Fault::PollDropped, How::Reset),
    ("retrieve", Fault::PollFailed, How::Status),
    ("retrieve", Fault::PollError200, How::Error200),
    ("retrieve", Fault::PollMissing, How::Missing),
    ("list", Fault::ListNone, How::Missing),
    ("list", Fault::ListFailed, How::Status),
    ("cancel", Fault::CancelRefused, How::Refused),
    ("content", Fault::ContentFailed, How::Status),
];

/// The call has done what it was for.
const AFTER: [Obstacle; 5] = [
    ("upload", Fault::UploadDropped, How::Reset),
    ("create", Fault::CreateDropped, How::Reset),
    ("create", Fault::CreateHung, How::Hang),
    ("create", Fault::CreateMasked, How::Status),
    ("create", Fault::CreateGarbled, How::Garbled),
];

pub(crate) fn before(call: &str, mischief: &mut Mischief) -> Option<End> {
    meet(&BEFORE, call, mischief)
}

pub(crate) fn after(call: &str, mischief: &mut Mischief) -> Option<End> {
    meet(&AFTER, call, mischief)
}

fn meet(obstacles: &[Obstacle], call: &str, mischief: &mut Mischief) -> Option<End> {
    let mut own = obstacles.iter().filter(|(name, ..)| *name == call);
    own.find_map(|(_, fault, how)| Some(how.end(&mischief.strikes(*fault)?)))
}

impl How {
    fn end(self, measure: &Measure) -> End {
        let status = measure.number() as u16;
        match self {
            Self::Reset => End::Reset,
            Self::Hang => End::Hang,
            // As a gateway answers, which knows nothing of the API behind it.
            Self::Status if status == 502 => End::Plain(bad_gateway()),
            Self::Status => End::Complaint(Complaint::simulated(status)),
            Self::Error200 => End::Json(Complaint::simulated(500).to_json()),
            Self::Garbled => End::Json(b"<html><body>OK</body></html>".to_vec()),
            Self::Missing => End::Complaint(Complaint::simulated(404)),
            Self::Refused => End::Complaint(Complaint::simulated(409)),
            Self::Quota => End::Complaint(Complaint::quota()),
        }
    }
}

pub(crate) fn bad_gateway() -> Complaint {
    Complaint {
        message: "<html><body>502 Bad Gateway</body></html>".into(),
        ..Complaint::simulated(502)
    }
}
