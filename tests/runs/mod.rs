//! What tests of whole runs share.

#![allow(dead_code)]

use aquatint::data::{Dataset, Options};
use aquatint::training::TrainingState;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The digits that a run is trained on.
pub fn digits() -> Dataset {
    Dataset::open("digits:even", &Options::default()).unwrap()
}

/// Asserts that two runs ended in the same state.
pub fn assert_same_bits(found: &TrainingState, expected: &TrainingState) {
    let bits = |data: &[f32]| data.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(found.step, expected.step);
    assert_eq!(bits(&found.losses), bits(&expected.losses));
    assert_eq!(bits(&found.loss_scale), bits(&expected.loss_scale));
    for (name, data) in &expected.buffers {
        assert!(bits(&found.buffers[name]) == bits(data), "{name} differs");
    }
}

/// `aquatint train` of the digits on the host.
pub fn train(flags: &[&str], out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aquatint"));
    command.args(["train", "--data", "digits", "--device", "cpu", "--seed", "3", "--checkpoint-every", "2"]);
    command.args(flags).arg("--out").arg(out).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A run's program is killed at moments spread over the run, and resumed until it is through: it ends with the same bits as
/// without. `folder` gets the one that was `killed` and the `whole` one.
pub fn killed_ends_with_the_same_bits(flags: &[&str], folder: &Path) {
    let [whole, killed] = ["whole", "killed"].map(|name| folder.join(name));
    assert!(train(flags, &whole).status().unwrap().success());
    let mut kills = 0;
    for attempt in 0u64.. {
        assert!(attempt < 200, "the run never ends");
        let mut command = train(flags, &killed);
        if killed.join("training_state.safetensors").exists() {
            command.arg("--resume");
        }
        let mut child = command.spawn().unwrap();
        // Longer and longer, at no rhythm of the run's own.
        std::thread::sleep(Duration::from_millis(30 + attempt * 97));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "attempt {attempt} failed");
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 2, "killed {kills} times only");
    assert_same_bits(&TrainingState::read(&killed).unwrap(), &TrainingState::read(&whole).unwrap());
}
