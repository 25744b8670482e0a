//! Which pictures one run of `sample` draws: all of a job, or its shard of them, in batches that are the same for every shard.

use crate::error::{Error, Result};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// `--shard I/N`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shard {
    /// From 0 on.
    index: usize,
    of: usize,
}

impl Shard {
    /// What was typed.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let parts = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((index, of)) if (1..=of).contains(&index) => Ok(Self { index: index - 1, of }),
            _ => Err(Error::input(format!("--shard is {text}, expected I/N with 1 <= I <= N"))),
        }
    }

    /// Its pictures: whole batches, if there are as many as shards, else pictures.
    fn range(self, count: usize, batch: usize) -> Range<usize> {
        let unit = if count.div_ceil(batch) >= self.of { batch } else { 1 };
        let units = count.div_ceil(unit) as u128;
        let until = |shards: usize| (units * shards as u128 / self.of as u128) as usize * unit;
        until(self.index)..until(self.index + 1).min(count)
    }

    /// As it stands in the names of files.
    fn name(self) -> String {
        format!("-{}-of-{}", self.index + 1, self.of)
    }
}

/// A run's part of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    /// Pictures of all shards.
    pub(super) count: usize,
    /// Pictures that are drawn together, the first batch from picture 0 on.
    pub(super) batch: usize,
    /// The pictures of this run.
    pub(super) range: Range<usize>,
    shard: Option<Shard>,
}

impl Job {
    /// Shards are divided between batches of `undivided`, of which the batches are a part.
    pub(super) fn new(count: usize, [batch, undivided]: [usize; 2], shard: Option<Shard>) -> Self {
        let range = shard.map_or(0..count, |shard| shard.range(count, undivided));
        Self { count, batch, range, shard }
    }

    /// The batches that hold pictures of this run: what is drawn, and what is kept of it. A batch that two shards have a
    /// part of is drawn by both, since a part of it takes as long and could come out with other bits.
    pub(super) fn batches(&self) -> impl Iterator<Item = Batch> + '_ {
        let Range { start, end } = self.range.clone();
        (start / self.batch..end.div_ceil(self.batch)).filter(move |_| start < end).map(move |number| {
            let first = number * self.batch;
            let drawn = first..(first + self.batch).min(self.count);
            Batch { kept: drawn.start.max(start)..drawn.end.min(end), drawn }
        })
    }

    /// A file's name, with the shard's before its ending.
    pub(super) fn file(&self, path: &Path) -> PathBuf {
        let Some(shard) = self.shard else { return path.to_path_buf() };
        let mut name = path.file_stem().unwrap_or_default().to_os_string();
        name.push(shard.name());
        if let Some(ending) = path.extension() {
            name.push(".");
            name.push(ending);
        }
        path.with_file_name(name)
    }

    /// The PNG of a picture.
    pub(super) fn png(&self, picture: usize) -> String {
        let digits = (self.count - 1).to_string().len().max(4);
        format!("{picture:0digits$}.png")
    }

    /// The picture whose PNG is called so.
    pub(super) fn picture(&self, name: &str) -> Option<usize> {
        let picture = name.strip_suffix(".png")?.parse().ok()?;
        (picture < self.count && self.png(picture) == name).then_some(picture)
    }

    /// Whether it is all of it.
    pub(super) fn is_whole(&self) -> bool {
        self.shard.is_none()
    }

    /// Its pictures in words.
    pub(super) fn describe(&self) -> String {
        let Self { count, range, .. } = self;
        match self.shard {
            None => format!("{count} pictures"),
            Some(_) if range.is_empty() => format!("no pictures of {count}"),
            Some(_) => format!("pictures {} to {} of {count}", range.start, range.end - 1),
        }
    }
}

/// Pictures that are drawn together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// All of them.
    pub(super) drawn: Range<usize>,
    /// Those of this run.
    pub(super) kept: Range<usize>,
}

impl Batch {
    /// The numbers of those that are kept, of a picture's `elements` each.
    pub(super) fn kept_of<'a>(&self, drawn: &'a [f32], elements: usize) -> &'a [f32] {
        let first = self.kept.start - self.drawn.start;
        &drawn[first * elements..(first + self.kept.len()) * elements]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_all_pictures_once() {
        for count in [1, 2, 7, 64, 65, 1000] {
            for (undivided, batch) in [(1, 1), (3, 3), (64, 64), (64, 16)] {
                for of in [1, 2, 5, 9] {
                    let mut next = 0;
                    for index in 1..=of {
                        let shard = Shard::parse(&format!("{index}/{of}")).unwrap();
                        let job = Job::new(count, [batch, undivided], Some(shard));
                        assert_eq!(job.range.start, next.min(count));
                        next = job.range.end;
                        let kept: Vec<usize> = job.batches().flat_map(|batch| batch.kept).collect();
                        assert_eq!(kept, job.range.clone().collect::<Vec<_>>());
                        if count.div_ceil(undivided) >= of {
                            assert!(job.batches().all(|batch| batch.kept == batch.drawn), "{count} {undivided} {of}");
                        }
                    }
                    assert_eq!(next, count);
                }
            }
        }
    }

    #[test]
    fn batches_do_not_depend_on_the_shard() {
        let whole: Vec<_> = Job::new(10, [4, 4], None).batches().map(|batch| batch.drawn).collect();
        assert_eq!(whole, [0..4, 4..8, 8..10]);
        let second = Job::new(10, [4, 4], Some(Shard::parse("2/4").unwrap()));
        let batches: Vec<_> = second.batches().collect();
        assert_eq!(batches, [Batch { drawn: 0..4, kept: 2..4 }, Batch { drawn: 4..8, kept: 4..5 }]);
        assert_eq!(batches[0].kept_of(&[0.0, 1.0, 2.0, 3.0], 1), [2.0, 3.0]);
    }

    #[test]
    fn what_is_no_shard_is_named() {
        for text in ["5/4", "0/4", "1", "a/4", "1/0", "-1/2", "1/2/3", ""] {
            let error = Shard::parse(text).unwrap_err().to_string();
            assert_eq!(error, format!("--shard is {text}, expected I/N with 1 <= I <= N"));
        }
    }

    #[test]
    fn files_are_named_after_the_shard() {
        let job = |shard: Option<&str>| Job::new(20_000, [64, 64], shard.map(|text| Shard::parse(text).unwrap()));
        assert_eq!(job(None).file(Path::new("a/b.gif")), Path::new("a/b.gif"));
        assert_eq!(job(Some("2/8")).file(Path::new("a/b.gif")), Path::new("a/b-2-of-8.gif"));
        assert_eq!((job(None).png(7), Job::new(3, [3, 3], None).png(2)), ("00007.png".into(), "0002.png".into()));
        let found = ["00007.png", "0007.png", "20000.png", "+0007.png", "00007.PNG", "sheet.png"];
        assert_eq!(found.map(|name| job(None).picture(name)), [Some(7), None, None, None, None, None]);
        assert_eq!(job(Some("1/2")).describe(), "pictures 0 to 9983 of 20000");
    }
}
