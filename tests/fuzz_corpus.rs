//! The inputs that fuzzing has kept, replayed: see fuzz/README.md.

#[path = "../fuzz/targets/checks.rs"]
mod checks;

use std::fs;
use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut replayed = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        println!("{}", path.display());
        check(&bytes);
        replayed += 1;
    }
    assert!(replayed > 0, "{} holds no inputs", folder.display());
}

#[test]
fn safetensors() {
    replay("safetensors", checks::safetensors);
}

#[test]
fn torch() {
    replay("torch", checks::torch);
}

#[test]
fn pickle() {
    replay("pickle", checks::pickle);
}

#[test]
fn shard_index() {
    replay("shard_index", checks::shard_index);
}

#[test]
fn config() {
    replay("config", checks::config);
}

#[test]
fn openai() {
    replay("openai", checks::openai);
}
