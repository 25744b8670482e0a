//! Which timesteps a chain takes, where that is asked for and not left to the scheduler's `timestep_spacing`.

use crate::error::{Error, Result};
use std::str::FromStr;

/// A choice of timesteps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timesteps {
    /// Every (T / steps)-th from `steps_offset` on.
    Leading,
    /// Every (T / steps)-th from the last one down.
    Trailing,
    /// Evenly from the first to the last.
    Linspace,
    /// Squares of evenly spaced numbers up to 0.8 T, without fractions (Song et al. 2021, DDIM, appendix D.2): its table
    /// of CIFAR-10. Where two are the same, one is taken.
    Quadratic,
    /// The noise levels of Karras et al. 2022, eq. 5; for samplers that take whole timesteps, the nearest ones.
    Karras,
    /// OpenAI's `ddimN`: N with the same whole number between them, from the first on.
    Ddim(usize),
    /// OpenAI's `N` and `A,B,..`: so many in each of as many sections of the same length, the ones with the least noise
    /// first (Nichol & Dhariwal 2021). The first and the last of a section are taken, the others lie evenly between them.
    Sections(Vec<usize>),
    /// These, in falling order.
    List(Vec<usize>),
}

const EXPECTED: &str =
    "leading, trailing, linspace, quadratic, karras, ddimN, N, A,B,.. or list:T,T,.. with falling timesteps";

impl FromStr for Timesteps {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::input(format!("timesteps are {text:?}, expected {EXPECTED}"));
        let numbers = |list: &str| -> Result<Vec<usize>> {
            list.split(',').map(|number| number.trim().parse().map_err(|_| wrong())).collect()
        };
        Ok(match text {
            "leading" => Self::Leading,
            "trailing" => Self::Trailing,
            "linspace" => Self::Linspace,
            "quadratic" => Self::Quadratic,
            "karras" => Self::Karras,
            _ => match (text.strip_prefix("ddim"), text.strip_prefix("list:")) {
                (Some(count), _) => Self::Ddim(count.parse().map_err(|_| wrong())?),
                (_, Some(list)) => Self::List(numbers(list)?),
                _ => Self::Sections(numbers(text)?),
            },
        })
    }
}

impl Timesteps {
    /// The number of steps, where it is a part of the choice.
    pub fn steps(&self) -> Option<usize> {
        match self {
            Self::Ddim(count) => Some(*count),
            Self::Sections(counts) => Some(counts.iter().sum()),
            Self::List(list) => Some(list.len()),
            _ => None,
        }
    }

    /// The timesteps of `all` in falling order; `None` where a spacing or noise levels are chosen.
    pub(super) fn list(&self, all: usize, steps: usize) -> Result<Option<Vec<usize>>> {
        let rising = match self {
            Self::Leading | Self::Trailing | Self::Linspace | Self::Karras => return Ok(None),
            Self::Quadratic => quadratic(all, steps),
            Self::Ddim(count) => even_strides(all, *count)?,
            Self::Sections(counts) => sections(all, counts)?,
            Self::List(list) => {
                let falling = list.windows(2).all(|two| two[0] > two[1]);
                if list.is_empty() || !falling || list[0] >= all {
                    return Err(Error::input(format!(
                        "timesteps are {list:?}, expected a falling list of numbers below {all}"
                    )));
                }
                return Ok(Some(list.clone()));
            }
        };
        Ok(Some(rising.into_iter().rev().collect()))
    }
}

fn quadratic(all: usize, steps: usize) -> Vec<usize> {
    let (root, last) = ((0.8 * all as f64).sqrt(), (steps.max(2) - 1) as f64);
    // What rounding alone keeps below a whole number is that number.
    let square = |i: usize| ((root * i as f64 / last).powi(2) + 1e-9) as usize;
    let mut list: Vec<usize> = (0..steps).map(|i| square(i).min(all - 1)).collect();
    list.dedup();
    list
}

fn even_strides(all: usize, count: usize) -> Result<Vec<usize>> {
    let stride = (1..all.max(2)).find(|stride| all.div_ceil(*stride) == count).ok_or_else(|| {
        Error::input(format!(
            "timesteps are \"ddim{count}\", but no whole stride through {all} timesteps takes {count}"
        ))
    })?;
    Ok((0..all).step_by(stride).collect())
}

fn sections(all: usize, counts: &[usize]) -> Result<Vec<usize>> {
    let (size, longer) = (all / counts.len(), all % counts.len());
    let mut list = Vec::new();
    let mut first = 0;
    for (section, &count) in counts.iter().enumerate() {
        let size = size + usize::from(section < longer);
        if count == 0 || count > size {
            return Err(Error::input(format!(
                "timesteps ask for {count} in a section of {size} (of {all}), expected 1 to {size}"
            )));
        }
        let stride = if count > 1 { (size - 1) as f64 / (count - 1) as f64 } else { 1.0 };
        // Added up as OpenAI's code does, which decides ties.
        let mut place = 0.0_f64;
        for _ in 0..count {
            list.push(first + (place.round_ties_even() as usize).min(size - 1));
            place += stride;
        }
        first += size;
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str, all: usize, steps: usize) -> Vec<usize> {
        text.parse::<Timesteps>().unwrap().list(all, steps).unwrap().unwrap()
    }

    #[test]
    fn lists_are_those_of_the_published_codes() {
        assert_eq!(list("ddim25", 1000, 1)[..3], [960, 920, 880]);
        assert_eq!(list("ddim25", 1000, 1).len(), 25);
        // 1000 / 4 is 250, ends at both ends.
        assert_eq!(list("4", 1000, 1), [999, 666, 333, 0]);
        assert_eq!(list("3", 10, 1), [9, 4, 0], "4.5 is rounded to the even number");
        // 4 + 3 + 3 timesteps.
        assert_eq!(list("2,1,3", 10, 1), [9, 8, 7, 4, 3, 0]);
        assert_eq!(list("list:900, 500,3", 1000, 1), [900, 500, 3]);
        assert_eq!(list("quadratic", 1000, 10), [800, 632, 483, 355, 246, 158, 88, 39, 9, 0]);
        assert_eq!(list("quadratic", 1000, 100).len(), 96, "the first ones fall together");
        assert_eq!("karras".parse::<Timesteps>().unwrap().list(10, 3).unwrap(), None);
    }

    #[test]
    fn what_is_no_choice_is_refused() {
        for text in ["", "every", "ddim", "ddimx", "5,", "list:", "list:5;4", "-3"] {
            let message = text.parse::<Timesteps>().unwrap_err().to_string();
            assert!(message.contains("expected leading, trailing") && !message.contains('\n'), "{message}");
        }
        for (text, words) in [
            ("ddim600", &["ddim600", "1000"][..]),
            ("600,600", &["600", "500"]),
            ("0", &["0", "1 to 1000"]),
            ("list:5,5", &["falling"]),
            ("list:1000,5", &["below 1000"]),
        ] {
            let message = text.parse::<Timesteps>().unwrap().list(1000, 5).unwrap_err().to_string();
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
        }
    }
}
