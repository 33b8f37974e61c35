//! Which faults a provider has, how they are spelt, and their measures.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::provider::fault::{KNOWN, Known, ProviderFault, Takes};
use crate::setting::{BadSetting, bytes, span, spelt_in_serde};

/// How often a fault comes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum When {
    /// The first so many times that it could.
    First(u64),
    /// This share of the times that it could.
    Share(f64),
    Always,
}

/// How large a fault is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Measure {
    None,
    Span(Duration),
    Number(u64),
    Share(f64),
    Word(String),
}

const STAGES: [&str; 3] = ["validating", "in_progress", "finalizing"];

impl Measure {
    pub(crate) fn span(&self) -> Duration {
        match self {
            Self::Span(span) => *span,
            Self::None | Self::Number(_) | Self::Share(_) | Self::Word(_) => Duration::ZERO,
        }
    }

    pub(crate) fn number(&self) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::None | Self::Span(_) | Self::Share(_) | Self::Word(_) => 0,
        }
    }

    pub(crate) fn share(&self) -> f64 {
        match self {
            Self::Share(share) => *share,
            Self::None | Self::Span(_) | Self::Number(_) | Self::Word(_) => 0.0,
        }
    }

    pub(crate) fn word(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::None | Self::Span(_) | Self::Number(_) | Self::Share(_) => "",
        }
    }

    fn read(takes: Takes, text: &str) -> Option<Self> {
        match takes {
            Takes::Nothing => None,
            Takes::Span => span(text).ok().map(Self::Span),
            Takes::Bytes => bytes(text).ok().map(Self::Number),
            Takes::Number => text.parse().ok().map(Self::Number),
            Takes::Share => share(text).map(Self::Share),
            Takes::Status => {
                let status = text.parse().ok()?;
                (400..600).contains(&status).then_some(Self::Number(status))
            }
            Takes::Stage => STAGES.contains(&text).then(|| Self::Word(text.into())),
            Takes::Word => When::read(text).is_none().then(|| Self::Word(text.into())),
        }
    }
}

impl When {
    fn read(text: &str) -> Option<Self> {
        if text == "always" {
            return Some(Self::Always);
        }
        match text.strip_prefix('x') {
            Some(times) => times.parse().ok().filter(|n| *n > 0).map(Self::First),
            None => share(text).map(Self::Share),
        }
    }
}

fn share(text: &str) -> Option<f64> {
    let share = text.parse::<f64>().ok()?;
    (0.0..=1.0).contains(&share).then_some(share)
}

/// One fault, with its measure and how often it comes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Trouble {
    pub(crate) fault: ProviderFault,
    pub(crate) measure: Measure,
    pub(crate) when: When,
    spelt: String,
}

impl FromStr for Trouble {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let known = KNOWN
            .iter()
            .find(|known| known.name == name)
            .ok_or_else(|| unknown(name))?;
        let mut parts = parts.peekable();
        let given = parts
            .peek()
            .and_then(|part| Measure::read(known.takes, part));
        if given.is_some() {
            parts.next();
        }
        let when = match parts.next() {
            None => known.when,
            Some(part) => When::read(part).ok_or_else(|| bad_part(known, part))?,
        };
        if let Some(more) = parts.next() {
            return Err(bad_part(known, more));
        }
        Ok(Self {
            fault: known.fault,
            measure: given
                .or_else(|| Measure::read(known.takes, known.usual))
                .unwrap_or(Measure::None),
            when,
            spelt: text.to_owned(),
        })
    }
}

fn unknown(name: &str) -> BadSetting {
    let names: Vec<_> = KNOWN.iter().map(|known| known.name).collect();
    let names = names.join(", ");
    BadSetting::new(format!(
        "`{name}` is no fault of a provider; there are {names}"
    ))
}

fn bad_part(known: &Known, part: &str) -> BadSetting {
    let name = known.name;
    let example = match known.usual {
        "" => name.to_owned(),
        usual => format!("{name}:{usual}"),
    };
    BadSetting::new(format!(
        "`{part}` does not suit `{name}`; write {example}, and behind it x3 (the first three times), \
         0.1 (a share) or always"
    ))
}

/// The faults of a provider, spelt `create-dropped,line-missing:0.01,cut:10mb,poll-failed:503:x5`:
/// each with its measure, if it has one, and how often it comes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProviderFaults(Vec<Trouble>);

impl ProviderFaults {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Trouble> {
        self.0.iter()
    }

    pub(crate) fn find(&self, fault: ProviderFault) -> Option<&Trouble> {
        self.0.iter().find(|trouble| trouble.fault == fault)
    }
}

impl FromStr for ProviderFaults {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        let mut all = Self::default();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let trouble: Trouble = part.parse()?;
            if all.find(trouble.fault).is_some() {
                let name = trouble.fault.name();
                return Err(BadSetting::new(format!("`{name}` is there twice")));
            }
            all.0.push(trouble);
        }
        Ok(all)
    }
}

impl fmt::Display for ProviderFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, trouble) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{}", trouble.spelt)?;
        }
        Ok(())
    }
}

spelt_in_serde!(ProviderFaults);

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(text: &str) -> (Measure, When) {
        let trouble: Trouble = text.parse().unwrap();
        (trouble.measure, trouble.when)
    }

    #[test]
    fn measure_and_frequency_are_told_apart() {
        let number = Measure::Number;
        assert_eq!(trouble("create-dropped"), (Measure::None, When::First(1)));
        assert_eq!(
            trouble("create-dropped:0.1"),
            (Measure::None, When::Share(0.1))
        );
        assert_eq!(trouble("cut:10mb"), (number(10_000_000), When::Always));
        assert_eq!(trouble("cut:x2"), (number(1_000_000), When::First(2)));
        assert_eq!(trouble("poll-failed:503:x5"), (number(503), When::First(5)));
        assert_eq!(
            trouble("expires:0.5:always"),
            (Measure::Share(0.5), When::Always)
        );
        assert_eq!(
            trouble("end-unknown:gone:x1"),
            (Measure::Word("gone".into()), When::First(1))
        );
        assert_eq!(
            trouble("end-unknown:x1"),
            (Measure::Word("done".into()), When::First(1))
        );
    }

    #[test]
    fn every_usual_measure_can_be_read() {
        for known in KNOWN {
            let usual = Measure::read(known.takes, known.usual);
            assert_eq!(
                usual.is_some(),
                known.takes != Takes::Nothing,
                "{}",
                known.name
            );
        }
    }

    #[test]
    fn lists_read_back_and_bad_ones_are_refused() {
        let text = "create-dropped:x2,line-missing:0.01,cut:10mb";
        assert_eq!(text.parse::<ProviderFaults>().unwrap().to_string(), text);
        for text in [
            "nope",
            "cut:soon",
            "crlf:1mb",
            "crlf,crlf",
            "cut:1mb:x2:x3",
            "stuck:x0",
            "stuck:done",
        ] {
            assert!(text.parse::<ProviderFaults>().is_err(), "{text}");
        }
    }
}
