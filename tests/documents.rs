//! What the documents point at is there.

use std::fs;
use std::path::Path;

/// Every `[`name`](path)` of a document: the path's file exists, and the name is its own or stands in it.
fn check_links(document: &str) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join(document)).unwrap();
    let folder = root.join(document).parent().unwrap().to_path_buf();
    let mut links = 0;
    for part in text.split("[`").skip(1) {
        let Some((name, rest)) = part.split_once("`](") else { continue };
        let (path, _) = rest.split_once(')').unwrap();
        let target = folder.join(path);
        let source = fs::read_to_string(&target).unwrap_or_else(|_| panic!("{document}: {path}: no such file"));
        let is_file = target.file_name().is_some_and(|file| file == name);
        let word = name.rsplit("::").next().unwrap();
        let stands_there = source.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word);
        assert!(is_file || stands_there, "{document}: {path} has no {name}");
        links += 1;
    }
    links
}

#[test]
fn every_equation_of_the_theory_points_at_what_computes_it() {
    assert!(check_links("docs/theory.md") > 30);
}
