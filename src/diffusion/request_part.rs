//! Parts of a request, for those who draw it batch by batch.

use super::{Aim, Known, Request};
use crate::error::{Error, Result};
use std::ops::Range;

impl Request {
    /// The request of some of its pictures, by their numbers within it: with their noise, classes and aims, so that they
    /// come out as if all were drawn. A picture has `elements` numbers.
    ///
    /// # Errors
    /// [`Input`](Error::Input) if there are not as many pictures, or not as much of something as pictures.
    pub fn part(&self, pictures: Range<usize>, elements: usize) -> Result<Self> {
        let count = self.count;
        let wrong = |what: &str, found: usize| Error::input(format!("{found} {what} for {count} pictures"));
        if pictures.end > count || pictures.is_empty() {
            return Err(Error::input(format!("pictures {pictures:?} of {count}")));
        }
        let classes = |classes: &[u32]| match classes.len() == count {
            true => Ok(classes[pictures.clone()].to_vec()),
            false => Err(wrong("classes", classes.len())),
        };
        // Of all pictures, once for every draw.
        let noise = |noise: &Vec<f32>| {
            let draw = count * elements;
            if draw == 0 || !noise.len().is_multiple_of(draw) {
                return Err(wrong("numbers of noise", noise.len()));
            }
            let part = pictures.start * elements..pictures.end * elements;
            Ok(noise.chunks_exact(draw).flat_map(|noise| &noise[part.clone()]).copied().collect())
        };
        let known = |known: &Known| {
            let pixels = known.mask.len() / count;
            if known.mask.len() != pixels * count {
                return Err(wrong("pixels of a mask", known.mask.len()));
            }
            let mask = known.mask[pictures.start * pixels..pictures.end * pixels].to_vec();
            Ok(Known { pictures: noise(&known.pictures)?, mask })
        };
        Ok(Self {
            count: pictures.len(),
            first_picture: self.first_picture.wrapping_add(pictures.start as u32),
            seed: self.seed,
            labels: self.labels.as_deref().map(classes).transpose()?,
            initial_noise: self.initial_noise.as_ref().map(noise).transpose()?,
            step_noise: self.step_noise.as_ref().map(noise).transpose()?,
            begin: self.begin.as_ref().map(noise).transpose()?,
            known: self.known.as_ref().map(known).transpose()?,
            aim: match &self.aim {
                Some(Aim::Classes(all)) => Some(Aim::Classes(classes(all)?)),
                other => other.clone(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_what_is_its_own() {
        let request = Request {
            count: 3,
            first_picture: 5,
            seed: 7,
            labels: Some(vec![4, 5, 6]),
            initial_noise: Some((0..6).map(|i| i as f32).collect()),
            step_noise: Some((0..12).map(|i| i as f32).collect()),
            aim: Some(Aim::Classes(vec![1, 2, 3])),
            begin: Some((10..16).map(|i| i as f32).collect()),
            known: Some(Known { pictures: vec![0.5; 6], mask: vec![0.0, 1.0, 0.0] }),
        };
        let part = request.part(1..3, 2).unwrap();
        assert_eq!((part.count, part.first_picture, part.seed), (2, 6, 7));
        assert_eq!((part.labels, part.aim), (Some(vec![5, 6]), Some(Aim::Classes(vec![2, 3]))));
        assert_eq!(part.initial_noise, Some(vec![2.0, 3.0, 4.0, 5.0]));
        assert_eq!(part.step_noise, Some(vec![2.0, 3.0, 4.0, 5.0, 8.0, 9.0, 10.0, 11.0]));
        assert_eq!(part.begin, Some(vec![12.0, 13.0, 14.0, 15.0]));
        assert_eq!(part.known.map(|known| (known.pictures.len(), known.mask)), Some((4, vec![1.0, 0.0])));
        for bad in [
            Request { labels: Some(vec![1]), ..request.clone() },
            Request { aim: Some(Aim::Classes(vec![1])), ..request.clone() },
            Request { step_noise: Some(vec![0.0; 13]), ..request.clone() },
        ] {
            assert!(bad.part(0..1, 2).unwrap_err().to_string().contains("for 3 pictures"));
        }
        assert!(request.part(2..4, 2).is_err());
    }
}
