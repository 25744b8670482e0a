//! Noise schedules on the command line: `aquatint schedule`, and runs that are trained with each of them.

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn aquatint(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_aquatint")).args(arguments).output().unwrap()
}

#[track_caller]
fn ok(arguments: &[&str]) -> String {
    let output = aquatint(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn fails(arguments: &[&str], words: &[&str]) {
    let output = aquatint(arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("aquatint: ") && words.iter().all(|word| last.contains(word)), "{words:?} in {text}");
}

fn json_of(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

const SMALL: &str = r#"
[unet]
sample_size = 8
in_channels = 1
out_channels = 1
block_out_channels = [4]
down_block_types = ["DownBlock2D"]
up_block_types = ["UpBlock2D"]
layers_per_block = 1
norm_num_groups = 2
mid_block_type = "null"
"#;

const NAMES: [&str; 8] = ["linear", "scaled-linear", "cosine", "sigmoid", "laplace", "exp", "const", "jsd"];

#[test]
fn schedules_are_printed_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let plot = folder.path().join("schedules.png");
    let betas = folder.path().join("betas.txt");
    fs::write(&betas, "0.1\n0.2\n0.5\n").unwrap();
    let file = format!("file:{}", betas.display());
    let table = ok(&["schedule", "linear", "cosine", &file, "--plot", text(&plot)]);
    for words in ["linear, 1000 timesteps", "cosine, 1000", "betas.txt, 3 timesteps", "posterior variance", "log-SNR"] {
        assert!(table.contains(words), "{words}: {table}");
    }
    assert!(image::open(&plot).unwrap().width() > 1000);

    let names: Vec<&str> = ["schedule", "--json", "--timesteps", "20"].into_iter().chain(NAMES).collect();
    let all: Value = serde_json::from_str(&ok(&names)).unwrap();
    for (found, name) in all.as_array().unwrap().iter().zip(NAMES) {
        assert_eq!((found["name"].as_str(), found["timesteps"].as_u64()), (Some(name), Some(20)));
        let number = |key: &str, t: usize| found[key][t].as_f64().unwrap();
        for t in 0..19 {
            let (beta, signal) = (number("betas", t + 1), number("alphas_cumprod", t));
            assert!((number("alphas_cumprod", t + 1) - signal * (1.0 - beta)).abs() < 1e-12, "{name}");
            assert!((number("snr", t) - signal / (1.0 - signal)).abs() < 1e-9 * number("snr", t), "{name}");
            assert!((number("log_snr", t) - number("snr", t).ln()).abs() < 1e-12, "{name}");
        }
    }
    let rescaled: Value = serde_json::from_str(&ok(&["schedule", &file, "--zero-snr", "--json"])).unwrap();
    assert_eq!((&rescaled[0]["snr"][2], &rescaled[0]["log_snr"][2]), (&Value::from(0.0), &Value::Null));
    let constant: Value =
        serde_json::from_str(&ok(&["schedule", "const", "--beta-end", "0.25", "--timesteps", "4", "--json"])).unwrap();
    assert_eq!(constant[0]["betas"], serde_json::json!([0.25, 0.25, 0.25, 0.25]));

    fails(&["schedule", "wavy"], &["wavy", "linear", "jsd", "file:BETAS"]);
    fails(&["schedule", "file:/no/such"], &["/no/such"]);
    fails(&["schedule", "linear", "--timesteps", "0"], &["num_train_timesteps", "0"]);
    fails(&["schedule", "linear", "--timesteps", "100000"], &["linear", "alphas_cumprod"]);
    fs::write(&betas, "0.1\n1.5\n").unwrap();
    fails(&["schedule", &file], &["betas.txt", "1.5"]);
    assert_eq!(aquatint(&["train", "--out", "x", "--schedule", "wavy"]).status.code(), Some(2));
}

/// Every schedule trains, is kept in the run's folder as diffusers can read it, and continues; `aquatint schedule` finds
/// the same noise in the folder.
#[test]
fn runs_keep_their_noise() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("small.toml");
    fs::write(&config, SMALL).unwrap();
    let betas = folder.path().join("betas.json");
    let list: Vec<f64> = (1..=60).map(|t| 0.4 * f64::from(t) / 60.0).collect();
    fs::write(&betas, serde_json::to_string(&list).unwrap()).unwrap();
    let file = format!("file:{}", betas.display());
    for (flags, is_spelled_out) in [
        (vec!["--schedule", "sigmoid"], false),
        (vec!["--schedule", "quad"], false),
        (vec!["--schedule", "exp"], true),
        (vec!["--schedule", "const"], true),
        (vec!["--schedule", "jsd"], true),
        (vec!["--schedule", &file], true),
        (vec!["--schedule", "cosine", "--zero-snr"], false),
    ] {
        let out = folder.path().join(flags[1..].join("-").replace(['/', ':'], "-"));
        let base = ["train", "--data", "digits", "--config", text(&config), "--batch", "2", "--out", text(&out)];
        let train = |more: &[&str]| ok(&[&base[..], &["--device", "cpu"], &flags, more].concat());
        train(&["--steps", "1"]);
        train(&["--steps", "2", "--resume"]);
        let scheduler = json_of(&out.join("scheduler/scheduler_config.json"));
        assert_eq!(scheduler["trained_betas"].is_array(), is_spelled_out, "{flags:?}");
        assert_eq!(scheduler["rescale_betas_zero_snr"] == true, flags.contains(&"--zero-snr"));
        let toml = fs::read_to_string(out.join("config.toml")).unwrap();
        match flags[1] {
            "const" | "jsd" | "exp" => assert!(toml.contains(&format!("beta_schedule = \"{}\"", flags[1])), "{toml}"),
            name if name.starts_with("file:") => assert!(toml.contains("trained_betas"), "{toml}"),
            _ => {}
        }
        let named = [&["schedule", "--json"][..], &flags[1..]].concat();
        let read = |text: String| serde_json::from_str::<Value>(&text).unwrap()[0]["alphas_cumprod"].clone();
        let (named, saved) = (read(ok(&named)), read(ok(&["schedule", text(&out), "--json"])));
        let pairs = named.as_array().unwrap().iter().zip(saved.as_array().unwrap());
        let close = |a: &Value, b: &Value| (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-12;
        assert!(named.as_array().unwrap().len() == saved.as_array().unwrap().len());
        assert!(pairs.into_iter().all(|(a, b)| close(a, b)), "{flags:?}");
        let other = ["train", "--resume", "--device", "cpu", "--out", text(&out), "--schedule", "laplace"];
        fails(&other, &["--schedule is laplace", "the run was started with"]);
    }
    let out = folder.path().join("sigmoid");
    fails(&["train", "--resume", "--device", "cpu", "--out", text(&out), "--zero-snr"], &["--zero-snr"]);
}

/// Continuous time: trains, continues to the same bits as without a stop, draws, and is told of.
#[test]
fn runs_in_continuous_time() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("small.toml");
    for (name, class) in [
        ("vp", "ScoreSdeVpScheduler"),
        ("sub-vp", "ScoreSdeVpScheduler"),
        ("ve", "ScoreSdeVeScheduler"),
        ("ncsn", "ScoreSdeVeScheduler"),
        ("edm", "EDMEulerScheduler"),
    ] {
        let embedding = if ["ve", "ncsn"].contains(&name) { "time_embedding_type = \"fourier\"\n" } else { "" };
        let weighting = if ["ve", "ncsn"].contains(&name) { "[training]\nweighting = \"snr\"\n" } else { "" };
        fs::write(&config, format!("{SMALL}{embedding}{weighting}")).unwrap();
        let (out, whole) = (folder.path().join(name), folder.path().join(format!("{name}-whole")));
        let train = |out: &Path, more: &[&str]| {
            let base = ["train", "--data", "digits", "--config", text(&config), "--batch", "2", "--device", "cpu"];
            ok(&[&base[..], &["--schedule", name, "--out", text(out)], more].concat());
        };
        train(&out, &["--steps", "1"]);
        train(&out, &["--steps", "3", "--resume"]);
        train(&whole, &["--steps", "3"]);
        let weights = |out: &Path| fs::read(out.join("unet/diffusion_pytorch_model.safetensors")).unwrap();
        assert!(weights(&out) == weights(&whole), "{name}: the same bits");
        let scheduler = json_of(&out.join("scheduler/scheduler_config.json"));
        assert_eq!(scheduler["_class_name"], class);
        assert_eq!(scheduler["sub_vp"] == true, name == "sub-vp");
        assert_eq!(
            out.join("model_index.json").is_file(),
            matches!(name, "ve" | "ncsn"),
            "{name}: what a pipeline of diffusers draws with"
        );
        assert_eq!(scheduler["num_noise_levels"] == 232, name == "ncsn");
        assert!(ok(&["info", text(&out)]).contains(class), "{name}");
        let drawn = folder.path().join(format!("{name}-drawn"));
        ok(&["sample", text(&out), "-n", "2", "--steps", "3", "--device", "cpu", "--out", text(&drawn)]);
        assert!(drawn.join("sheet.png").is_file());
        let other = ["sample", text(&out), "-n", "2", "--sampler", "ddim", "--device", "cpu", "--out", text(&drawn)];
        fails(&other, &[class, "DDIMScheduler"]);
        fails(&["train", "--resume", "--device", "cpu", "--out", text(&out), "--schedule", "linear"], &["--schedule"]);
    }
}
