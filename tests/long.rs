//! Long trainings: `make test-long`.

use std::path::Path;
use std::process::Command;

fn aquatint(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_aquatint")).args(arguments).output().unwrap();
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    println!("{out}{err}");
    assert!(output.status.success());
    out
}

/// The number after `word` in a text.
fn number_after(text: &str, word: &str) -> f64 {
    let rest = text.split(word).nth(1).unwrap_or_else(|| panic!("no {word:?} in {text}"));
    let number = rest.trim_start().split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap();
    number.trim_end_matches('.').parse().unwrap()
}

/// Precision and recall of the demo's digits against the held-out half. For scale: the training half itself 0.89 and
/// 0.89, a Gaussian fitted to each class 0.53 and 0.75, one Gaussian 0.08 and 0.80.
#[test]
#[ignore = "long: make test-long"]
fn the_demo_draws_digits_that_are_new_and_good() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let text = aquatint(&["demo", "--device", "cpu", "--out", out]);
    assert!(number_after(&text, "precision") >= 0.80, "{text}");
    assert!(number_after(&text, "recall") >= 0.70, "{text}");
    // Copies would lie much closer to the training half than real held-out digits do.
    let nearest = text.split("median distance").nth(1).unwrap_or_else(|| panic!("{text}"));
    assert!(number_after(nearest, "drawn") > 0.9 * number_after(nearest, "the held-out digits"), "{text}");
    assert!(Path::new(out).join("samples.png").is_file() && Path::new(out).join("samples.gif").is_file());
}

/// Ten steps of the 3.9M-parameter network for 32x32 pictures on the test's GPU device, which may be software.
#[test]
#[ignore = "long: make test-long"]
fn ten_steps_of_a_real_network_on_the_gpu() {
    let Ok(device) = std::env::var("AQUATINT_TEST_DEVICE") else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let arguments = ["train", "--data", "digits", "--image-size", "32", "--batch", "2", "--steps", "10"];
    aquatint(&[&arguments[..], &["--device", &device, "--out", out.to_str().unwrap()]].concat());
}
