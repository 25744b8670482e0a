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
        // Of pure noise, where some of these end, v says what there is to say.
        let train = |more: &[&str]| ok(&[&base[..], &["--device", "cpu", "--prediction", "v"], &flags, more].concat());
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
    let out = folder.path().join("none");
    for flags in [&["--schedule", "jsd"][..], &["--zero-snr"], &["--zero-snr", "--prediction", "score"]] {
        let base = ["train", "--data", "digits", "--config", text(&config), "--out", text(&out), "--device", "cpu"];
        fails(&[&base[..], flags].concat(), &["timestep 999", "pure noise", "v_prediction"]);
        assert!(!out.exists());
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
        fails(&other, &[class, "ddim"]);
        // Without its name, it is not taken for another.
        let file = out.join("scheduler/scheduler_config.json");
        let named = fs::read_to_string(&file).unwrap();
        fs::write(&file, named.replace("_class_name", "_no_name")).unwrap();
        fails(&other, &["_class_name is missing", "alone"]);
        fs::write(&file, named).unwrap();
        fails(&["train", "--resume", "--device", "cpu", "--out", text(&out), "--schedule", "linear"], &["--schedule"]);
    }
}

/// Flags, with what a run that they start says of itself; or with what is said of why there is none.
#[test]
fn flags_go_together_or_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let of_variances = ["--objective", "hybrid", "--variance", "learned-range", "--timestep-sampler", "log-normal"];
    for (number, (file, flags, runs, words)) in [
        ("", &["--schedule", "vp"][..], true, &["weighting = \"none\"", "timestep_sampler = \"uniform\""][..]),
        ("", &["--schedule", "vp", "--prediction", "v"], true, &["prediction_type = \"v_prediction\""]),
        ("", &["--schedule", "sub-vp", "--timestep-sampler", "stratified"], true, &["sub_vp = true", "\"stratified\""]),
        ("", &["--schedule", "ve"], true, &["weighting = \"snr\"", "sigma_max = 7.2"]),
        ("", &["--schedule", "ve", "--weighting", "none"], true, &["weighting = \"none\""]),
        ("", &["--schedule", "ve", "--prediction", "epsilon"], true, &["weighting = \"none\"", "\"epsilon\""]),
        ("", &["--schedule", "ncsn"], true, &["weighting = \"snr\"", "num_noise_levels = 232"]),
        ("", &["--schedule", "edm"], true, &["timestep_sampler = \"log_normal\""]),
        ("", &["--schedule", "edm", "--timestep-sampler", "uniform"], true, &["timestep_sampler = \"uniform\""]),
        ("", &["--schedule", "edm", "--prediction", "v"], true, &["prediction_type = \"v_prediction\""]),
        ("", &["--prediction", "score"], true, &["weighting = \"snr\""]),
        ("", &["--prediction", "score", "--objective", "vlb"], true, &["weighting = \"none\""]),
        ("[scheduler]\n_class_name = \"ScoreSdeVeScheduler\"\n", &[], true, &["weighting = \"snr\"", "1348"]),
        (
            "[scheduler]\nprediction_type = \"v_prediction\"\nbeta_max = 10.0\n",
            &["--schedule", "vp"],
            true,
            &["ScoreSdeVpScheduler", "prediction_type = \"v_prediction\"", "beta_max = 10.0"],
        ),
        ("", &[], true, &["weighting = \"none\"", "timestep_sampler = \"uniform\"", "\"epsilon\""]),
        ("", &["--schedule", "edm", "--prediction", "sample"], false, &["--prediction", "sample", "EDMEulerScheduler"]),
        ("", &["--schedule", "edm", "--prediction", "score"], false, &["--prediction", "score", "EDMEulerScheduler"]),
        ("", &["--schedule", "edm", "--timestep-sampler", "stratified"], false, &["timestep_sampler", "log_normal"]),
        ("", &["--schedule", "ve", "--timestep-sampler", "importance"], false, &["timestep_sampler", "importance"]),
        ("", &["--schedule", "vp", "--timestep-sampler", "log-normal"], false, &["timestep_sampler", "log_normal"]),
        ("", &["--schedule", "vp", "--variance", "learned-range"], false, &["--variance", "ScoreSdeVpScheduler"]),
        ("", &["--schedule", "vp", "--zero-snr"], false, &["--zero-snr", "rescale_betas_zero_snr", "ScoreSdeVp"]),
        ("", &["--schedule", "ve", "--objective", "vlb"], false, &["objective is \"vlb\"", "ScoreSdeVeScheduler"]),
        ("", &["--schedule", "ve", "--weighting", "kl"], false, &["weighting is \"kl\""]),
        ("", &["--objective", "vlb", "--timestep-sampler", "log-normal"], false, &["log_normal", "vlb"]),
        ("", &of_variances, false, &["log_normal", "hybrid"]),
        ("[training]\nlog_normal_mean = 900.0\n", &["--schedule", "edm"], false, &["log_normal_mean", "900"]),
        ("time_embedding_type = \"fourier\"\n", &["--schedule", "edm"], false, &["time_embedding_type", "EDMEuler"]),
        (
            "[scheduler]\n_class_name = \"ScoreSdeVpScheduler\"\nrescale_betas_zero_snr = true\n",
            &[],
            false,
            &["rescale_betas_zero_snr", "ScoreSdeVpScheduler"],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let config = folder.path().join(format!("{number}.toml"));
        fs::write(&config, format!("{SMALL}{file}")).unwrap();
        let out = folder.path().join(number.to_string());
        let base = ["train", "--data", "digits", "--config", text(&config), "--batch", "2", "--device", "cpu"];
        let train = [&base[..], &["--out", text(&out)], flags].concat();
        let first = [&train[..], &["--steps", "1"]].concat();
        if !runs {
            fails(&first, words);
            assert!(!out.exists(), "{flags:?}");
            continue;
        }
        ok(&first);
        ok(&[&train[..], &["--steps", "2", "--resume"]].concat());
        let toml = fs::read_to_string(out.join("config.toml")).unwrap();
        assert!(words.iter().all(|word| toml.contains(word)), "{flags:?}: {words:?} in {toml}");
        let drawn = folder.path().join(format!("{number}-drawn"));
        ok(&["sample", text(&out), "-n", "1", "--steps", "2", "--device", "cpu", "--out", text(&drawn)]);
    }

    // The flag alone, as a run is continued, and another one.
    let [vp, sub_vp, ve, eps] = [0, 2, 3, 14].map(|number: usize| folder.path().join(number.to_string()));
    let resume = |out: &Path, name: &'static str| -> Vec<String> {
        ["train", "--resume", "--device", "cpu", "--schedule", name, "--out", text(out)].map(String::from).to_vec()
    };
    let words = |all: &[String], check: &dyn Fn(&[&str])| check(&all.iter().map(String::as_str).collect::<Vec<_>>());
    words(&resume(&vp, "vp"), &|all| drop(ok(all)));
    words(&resume(&sub_vp, "vp"), &|all| fails(all, &["--schedule is vp", "sub-vp"]));
    words(&resume(&ve, "edm"), &|all| fails(all, &["--schedule is edm", "started with ve"]));
    // A model goes on with the noise that it knows.
    let further = folder.path().join("further");
    let from = |model: &Path, more: &[&str], check: &dyn Fn(&[&str])| {
        let base = ["train", "--from", text(model), "--data", "digits", "--device", "cpu", "--batch", "2"];
        check(&[&base[..], &["--steps", "1", "--out", text(&further)], more].concat());
    };
    from(&eps, &["--schedule", "edm"], &|all| fails(all, &["--from", "DDPMScheduler", "edm (EDMEulerScheduler)"]));
    from(&vp, &["--schedule", "linear"], &|all| fails(all, &["--from", "vp (ScoreSdeVpScheduler)", "linear"]));
    from(&ve, &[], &|all| drop(ok(all)));
    assert!(fs::read_to_string(further.join("config.toml")).unwrap().contains("weighting = \"snr\""));
}
