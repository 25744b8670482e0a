//! The class that each picture of a set is of: by its subfolder or label, or by a list.

use crate::data::Dataset;
use crate::error::{Error, Result};
use std::path::Path;

/// A data set's labels as a classifier numbers its classes; `None` without labels.
///
/// # Errors
/// [`Input`](Error::Input) naming a class that the classifier does not know.
pub(super) fn labels_by_name(dataset: &Dataset, class_names: &[String]) -> Result<Option<Vec<u32>>> {
    let Some(labels) = &dataset.labels else { return Ok(None) };
    let number = |name: &String| class_names.iter().position(|known| known == name);
    let numbers: Vec<Option<usize>> = dataset.class_names.iter().map(number).collect();
    let of_classifier = |&label: &u32| match numbers[label as usize] {
        Some(number) => Ok(number as u32),
        None => Err(unknown(&dataset.name, &dataset.class_names[label as usize], class_names)),
    };
    labels.iter().map(of_classifier).collect::<Result<_>>().map(Some)
}

/// The labels that `--labels` says for so many pictures: a file with a class on each line, or classes with commas
/// between them, which are taken in turn.
///
/// # Errors
/// [`Io`](Error::Io); [`Input`](Error::Input) naming a class that the classifier does not know, or another number of lines
/// than of pictures.
pub(super) fn labels_of_list(list: &str, count: usize, class_names: &[String]) -> Result<Vec<u32>> {
    let path = Path::new(list);
    let number = |name: &str| {
        let named = class_names.iter().position(|known| known == name);
        let numbered = || name.parse::<usize>().ok().filter(|&number| number < class_names.len());
        match named.or_else(numbered) {
            Some(number) => Ok(number as u32),
            None => Err(unknown(&format!("--labels {list}"), name, class_names)),
        }
    };
    if path.is_file() {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if lines.len() != count {
            let found = lines.len();
            return Err(Error::input(format!(
                "--labels {list}: {found} labels, expected {count}, one for each picture"
            )));
        }
        return lines.into_iter().map(number).collect();
    }
    let turn = list.split(',').map(|name| number(name.trim())).collect::<Result<Vec<u32>>>()?;
    Ok(turn.into_iter().cycle().take(count).collect())
}

fn unknown(source: &str, class: &str, class_names: &[String]) -> Error {
    const SHOWN: usize = 20;
    let mut known = class_names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if class_names.len() > SHOWN {
        known += &format!(" and {} more", class_names.len() - SHOWN);
    }
    Error::input(format!("{source}: class {class}, expected one of the classifier's: {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_go_by_names() {
        let names = ["cat", "dog", "7"].map(String::from);
        let open = |labels, names: &[&str]| {
            let names = names.iter().map(|name| name.to_string()).collect();
            Dataset::from_bytes("set", [1, 1, 1], vec![0; 3], labels, names).unwrap()
        };
        let set = open(Some(vec![1, 0, 1]), &["7", "cat"]);
        assert_eq!(labels_by_name(&set, &names).unwrap(), Some(vec![0, 2, 0]));
        assert_eq!(labels_by_name(&open(None, &[]), &names).unwrap(), None);
        let error = labels_by_name(&open(Some(vec![0, 0, 0]), &["cow"]), &names).unwrap_err().to_string();
        assert_eq!(error, "set: class cow, expected one of the classifier's: cat, dog, 7");
        // A class that no picture is of may be anything.
        assert!(labels_by_name(&open(Some(vec![0, 0, 0]), &["dog", "cow"]), &names).is_ok());
    }

    #[test]
    fn lists_are_taken_in_turn_and_files_are_as_long_as_the_pictures() {
        let names = ["cat", "dog", "7"].map(String::from);
        assert_eq!(labels_of_list("dog, 0", 5, &names).unwrap(), [1, 0, 1, 0, 1]);
        assert_eq!(labels_of_list("7", 2, &names).unwrap(), [2, 2]);
        let refused = |list: &str, count| labels_of_list(list, count, &names).unwrap_err().to_string();
        assert!(refused("3", 2).contains("--labels 3: class 3, expected one of the classifier's: cat, dog, 7"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.txt");
        std::fs::write(&path, "cat\n2\n\ndog\n").unwrap();
        let list = path.to_str().unwrap();
        assert_eq!(labels_of_list(list, 3, &names).unwrap(), [0, 2, 1]);
        assert!(refused(list, 4).contains("3 labels, expected 4"));
    }
}
