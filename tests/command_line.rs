//! What users can get wrong: one clear line that names the thing, exit code 1, and no half-written file.

#[path = "reference/tensor_file.rs"]
mod tensor_file;

use aquatint::checkpoint::write_tensors;
use aquatint::nn::NamedTensor;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;
use tensor_file::read_tensors;

fn aquatint(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_aquatint")).args(arguments).output().unwrap()
}

/// Asserts exit code 1 and one line on standard error that has all of `words` in it.
#[track_caller]
fn fails(arguments: &[&str], words: &[&str]) {
    let output = aquatint(arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("aquatint: ")).collect();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
    assert!(!text.contains("panicked"), "{arguments:?}: {text}");
    assert_eq!(errors.len(), 1, "{arguments:?}: {text}");
    assert_eq!(text.lines().last(), errors.first().copied(), "{arguments:?}: {text}");
    for word in words {
        assert!(errors[0].contains(word), "{arguments:?}: no {word:?} in {text}");
    }
}

/// A small model that a training run has left, made once.
fn model() -> &'static Path {
    static MODEL: OnceLock<TempDir> = OnceLock::new();
    let folder = MODEL.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let config = folder.path().join("small.toml");
        fs::write(&config, SMALL).unwrap();
        let arguments = ["train", "--data", "digits", "--device", "cpu", "--steps", "2", "--batch", "4", "--classes"];
        let output = aquatint(&[&arguments[..], &["--config", path(&config), "--out", path(&out)]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        folder
    });
    static RUN: OnceLock<std::path::PathBuf> = OnceLock::new();
    RUN.get_or_init(|| folder.path().join("run"))
}

const SMALL: &str = r#"
[unet]
sample_size = 8
in_channels = 1
out_channels = 1
block_out_channels = [8, 16]
down_block_types = ["DownBlock2D", "AttnDownBlock2D"]
up_block_types = ["AttnUpBlock2D", "UpBlock2D"]
layers_per_block = 1
norm_num_groups = 4
attention_head_dim = "null"
num_class_embeds = 10
"#;

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A copy of the model with one file changed.
fn spoilt(file: &str, spoil: impl FnOnce(Vec<u8>) -> Vec<u8>) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for part in ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json", WEIGHTS] {
        let to = copy.path().join(part);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(model().join(part), to).unwrap();
    }
    let target = copy.path().join(file);
    let spoilt = spoil(fs::read(&target).unwrap());
    fs::write(target, spoilt).unwrap();
    copy
}

const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";

fn sample_fails(folder: &TempDir, words: &[&str]) {
    let out = folder.path().join("drawn");
    fails(&["sample", path(folder.path()), "--out", path(&out), "--steps", "2", "--device", "cpu"], words);
    assert!(!out.exists(), "a failed command leaves nothing behind");
}

fn replace(from: &'static str, to: &'static str) -> impl FnOnce(Vec<u8>) -> Vec<u8> {
    move |bytes| {
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(from), "{text}");
        text.replace(from, to).into_bytes()
    }
}

#[test]
fn models_that_are_not_whole() {
    fails(&["sample", "/no/such/model", "--out", "/tmp/x"], &["/no/such/model", "does not exist"]);
    let empty = tempfile::tempdir().unwrap();
    sample_fails(&empty, &["not a diffusers model folder", "unet/config.json"]);
    sample_fails(&spoilt(WEIGHTS, |bytes| bytes[..bytes.len() / 2].to_vec()), &[WEIGHTS, "not a whole"]);
    sample_fails(&spoilt(WEIGHTS, |_| b"garbage".to_vec()), &[WEIGHTS, "not a whole"]);
    sample_fails(&spoilt("unet/config.json", |bytes| bytes[..40].to_vec()), &["config.json", "not JSON"]);
    sample_fails(&spoilt("scheduler/scheduler_config.json", |_| b"[]".to_vec()), &["scheduler_config.json", "object"]);
}

#[test]
fn configurations_that_do_not_fit() {
    let unet = |from, to| spoilt("unet/config.json", replace(from, to));
    sample_fails(&unet("AttnDownBlock2D", "KDownBlock2D"), &["KDownBlock2D", "config.json"]);
    sample_fails(&unet("\"dropout\": 0.0", "\"dropout\": 2.5"), &["dropout", "2.5"]);
    sample_fails(&unet("\"layers_per_block\": 1", "\"layers_per_block\": 0"), &["layers_per_block", "0"]);
    sample_fails(&unet("\"layers_per_block\": 1", "\"layers_per_block\": 3"), &["is missing"]);
    sample_fails(&unet("\"norm_num_groups\": 4", "\"norm_num_groups\": 3"), &["norm_num_groups", "8"]);
    sample_fails(&unet("\"sample_size\": 8", "\"sample_size\": 9"), &["9x9", "multiples of 2"]);
    sample_fails(&unet("\"sample_size\": 8", "\"sample_size\": 8, \"shape\": 3"), &["shape"]);
    let scheduler = |from, to| spoilt("scheduler/scheduler_config.json", replace(from, to));
    sample_fails(&scheduler("\"linear\"", "\"wavy\""), &["wavy"]);
    sample_fails(
        &scheduler("\"clip_sample\": true", "\"clip_smaple\": true"),
        &["clip_smaple", "scheduler_config.json"],
    );
    sample_fails(
        &scheduler("\"fixed_small\"", "\"learned_range\""),
        &["variance_type", "1 input and 1 output channels"],
    );
    sample_fails(&scheduler("\"DDPMScheduler\"", "\"PNDMScheduler\""), &["PNDMScheduler"]);
    sample_fails(&scheduler("\"num_train_timesteps\": 1000", "\"num_train_timesteps\": 0"), &["num_train_timesteps"]);
}

#[test]
fn samplers_that_do_not_fit() {
    let folder = spoilt("model_index.json", |bytes| bytes);
    let (out, noise) = (folder.path().join("drawn"), folder.path().join("noise.safetensors"));
    write_tensors(&noise, &[("noise".into(), vec![2, 3, 1, 8, 8], vec![0.0; 384])], &[]).unwrap();
    let sample = |flags: &[&str], words: &[&str]| {
        let always = ["sample", path(folder.path()), "--out", path(&out), "--device", "cpu", "-n", "2"];
        fails(&[&always, flags].concat(), words);
        assert!(!out.exists(), "a failed command leaves nothing behind");
    };
    sample(&["--sampler", "euler", "--eta", "0.5"], &["--eta", "euler"]);
    sample(&["--eta", "0"], &["--eta", "ddpm"]);
    sample(&["--sampler", "ddim", "--eta", "1.5"], &["eta", "1.5", "0 to 1"]);
    sample(&["--sampler", "ddim", "--eta", "-1"], &["eta", "-1", "0 to 1"]);
    sample(&["--sampler", "heun", "--steps", "1001"], &["1001", "1000"]);
    sample(&["--steps", "7", "--timesteps", "ddim5"], &["7", "5"]);
    sample(&["--timesteps", "list:5,9"], &["[5, 9]", "falling"]);
    sample(&["--s-churn", "3"], &["s_churn", "ddpm"]);
    sample(&["--sampler", "reverse-sde", "--snr", "0.1"], &["snr", "predictor-corrector", "reverse-sde"]);
    sample(&["--sampler", "predictor-corrector", "--snr", "1.5"], &["snr", "1.5"]);
    sample(&["--sampler", "langevin", "--langevin-epsilon", "9"], &["epsilon", "9"]);
    sample(&["--sampler", "rk45", "--steps", "9"], &["rk45", "--tolerance"]);
    sample(&["--sampler", "rk45", "--tolerance", "2"], &["--tolerance", "2"]);
    sample(&["--tolerance", "1e-3"], &["--tolerance", "rk45"]);
    sample(&["--step-noise", path(&noise), "--steps", "3"], &["[2, 3, 1, 8, 8]", "[3, 2, 1, 8, 8]", "noise"]);
    let exact = ["--sampler", "ddim", "--steps", "5", "--diffusers-exact"];
    let with_noise = ["--step-noise", path(&noise)];
    sample(&[&exact[..], &with_noise].concat(), &["[5, 2, 1, 8, 8]"]);
}

/// The folder's scheduler can be any of ours, as diffusers writes it, and every sampler draws from every one.
#[test]
fn every_sampler_draws_from_every_scheduler() {
    let minus_infinity = r#"{"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -Infinity}"#;
    for scheduler in ["{}", minus_infinity, r#"{"_class_name": "HeunDiscreteScheduler", "use_karras_sigmas": true}"#] {
        let folder = spoilt("scheduler/scheduler_config.json", |_| scheduler.into());
        for sampler in [
            None,
            Some("ddpm"),
            Some("ddim"),
            Some("dpmpp-2m"),
            Some("dpmpp-2m-sde"),
            Some("unipc"),
            Some("euler"),
            Some("heun"),
            Some("reverse-sde"),
            Some("stochastic-heun"),
            Some("predictor-corrector"),
        ] {
            let out = folder.path().join("drawn");
            let mut arguments = vec!["sample", path(folder.path()), "--out", path(&out), "--device", "cpu", "-n", "2"];
            arguments.extend(["--steps", "3", "--overwrite"]);
            sampler.iter().for_each(|sampler| arguments.extend(["--sampler", sampler]));
            let output = aquatint(&arguments);
            assert!(output.status.success(), "{scheduler} {sampler:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// A picture's noise is the one that it is drawn from again.
#[test]
fn inverted_pictures_are_drawn_again() {
    // An untrained network's x_0 lie far out: clipped, they do not lead back. Nor does it know what to make of noise that is
    // not of deviation 1, which it makes of pictures: a short way is gone.
    let scheduler = r#"{"_class_name": "DDPMScheduler", "clip_sample": false}"#;
    let folder = spoilt("scheduler/scheduler_config.json", |_| scheduler.into());
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str| files.path().join(name).to_str().unwrap().to_string();
    let (noise, drawn, out) = (file("noise.safetensors"), file("drawn.safetensors"), file("pictures"));
    let model = path(folder.path());
    let run = |arguments: &[&str]| {
        let output = aquatint(&[arguments, &["--device", "cpu"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let digits = aquatint::data::Dataset::open("digits", &aquatint::data::Options::default()).unwrap();
    // The whole way, which rk45 goes, is rough for such a network: tests/inversion.rs compares it for one that is not.
    for (flags, tolerance) in [
        (&["--sampler", "ddim", "--timesteps", "list:300,200,120,60,20,0"][..], Some(2e-3)),
        (&["--sampler", "rk45", "--tolerance", "1e-3"], None),
    ] {
        let invert = ["invert", model, "--data", "digits", "--pictures", "3", "--iterations", "20", "--out", &noise];
        run(&[&invert[..], flags].concat());
        let sample = ["sample", model, "--init-noise", &noise, "-n", "3", "--tensors", &drawn, "--out", &out];
        let classes: Vec<String> = digits.labels.as_ref().unwrap()[..3].iter().map(ToString::to_string).collect();
        run(&[&sample[..], flags, &["--class", &classes.join(","), "--overwrite"]].concat());
        let tensors = read_tensors(Path::new(&drawn)).unwrap().tensors;
        for (index, found) in tensors["sample"].1.chunks(64).enumerate() {
            for (found, byte) in found.iter().zip(digits.bytes(index)) {
                let expected = f32::from(*byte) / 127.5 - 1.0;
                let close = tolerance.map_or(found.is_finite(), |tolerance| (found - expected).abs() < tolerance);
                assert!(close, "{flags:?}, {index}: {found}, {expected}");
            }
        }
    }
    fails(&["invert", model, "--data", "digits", "--out", &noise, "--sampler", "heun"], &["heun", "ddim", "rk45"]);
    fails(&["invert", model, "--data", "digits", "--out", &noise, "--pictures", "0"], &["--pictures", "0"]);
}

/// Drawing from pictures: what is known of them is in the PNGs, byte by byte; and what does not go together.
#[test]
fn pictures_that_are_given() {
    use image::{GrayImage, Luma};
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let grey = |name: &str, sides: [u32; 2], of: fn(u32, u32) -> u8| {
        GrayImage::from_fn(sides[0], sides[1], |x, y| Luma([of(x, y)])).save(file(name)).unwrap();
        file(name)
    };
    let picture = grey("picture.png", [8, 8], |x, y| (x * 30 + y) as u8);
    let mask = grey("mask.png", [8, 8], |_, y| if y < 3 { 255 } else { 0 });
    let small = grey("small.png", [4, 4], |x, y| (40 * x + 30 * y) as u8);
    let odd = grey("odd.png", [3, 4], |_, _| 0);
    let model = path(model());
    let out = file("out");
    let sample = |flags: &[&str]| {
        let rest = ["sample", model, "-n", "3", "--steps", "5", "--device", "cpu", "--out", &out];
        [&rest[..], flags].concat().into_iter().map(String::from).collect::<Vec<_>>()
    };
    let drawn = |flags: &[&str]| -> Vec<GrayImage> {
        fs::remove_dir_all(&out).ok();
        let arguments = sample(flags);
        let output = aquatint(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(output.status.success(), "{flags:?}: {}", String::from_utf8_lossy(&output.stderr));
        (0..3).map(|i| image::open(Path::new(&out).join(format!("000{i}.png"))).unwrap().into_luma8()).collect()
    };
    let original = image::open(&picture).unwrap().into_luma8();
    for flags in [&[][..], &["--resample", "2"], &["--sampler", "heun", "--init", &picture, "--strength", "0.6"]] {
        for found in drawn(&[&["--inpaint", &picture, "--mask", &mask], flags].concat()) {
            let same = |y: u32| (0..8).all(|x| found.get_pixel(x, y) == original.get_pixel(x, y));
            assert!((3..8).all(same) && !(0..3).all(same), "{flags:?}");
        }
    }
    let mut inside = 0;
    for found in drawn(&["--upscale", &small, "--strength", "0.2", "--init", &picture]) {
        let expected = image::open(&small).unwrap().into_luma8();
        for (x, y, pixel) in expected.enumerate_pixels() {
            let all = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(i, j)| found.get_pixel(2 * x + i, 2 * y + j)[0]);
            let mean = all.iter().map(|&byte| f64::from(byte)).sum::<f64>() / 4.0;
            // Of an untrained network some are clamped.
            if !all.contains(&0) && !all.contains(&255) {
                inside += 1;
                assert!((mean - f64::from(pixel[0])).abs() < 1.0, "{all:?}");
            }
        }
    }
    assert!(inside > 0);
    drawn(&["--init", &picture]);
    let wrong = |flags: &[&str], words: &[&str]| {
        let arguments = sample(flags);
        fails(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), words);
    };
    wrong(&["--init", &picture, "--strength", "0"], &["strength is 0", "more than 0"]);
    wrong(&["--init", &picture, "--strength", "0.01"], &["strength 0.01 of 5 steps leaves none", "0.2"]);
    wrong(&["--init", "nothing.png"], &["nothing.png"]);
    wrong(&["--inpaint", &picture, "--mask", &small], &["small.png", "4 x 4", "8 x 8", "picture.png"]);
    wrong(&["--colorize", &picture], &["picture.png", "grey"]);
    wrong(&["--upscale", &odd], &["odd.png", "4 x 3", "8 x 8"]);
    wrong(&["--upscale", &picture], &["picture.png", "8 x 8"]);
    wrong(&["--resample", "3"], &["--resample", "--inpaint"]);
    wrong(&["--inpaint", &picture, "--mask", &mask, "--resample", "0"], &["0 times"]);
    wrong(&["--inpaint", &picture, "--mask", &mask, "--resample", "2", "--sampler", "unipc"], &["unipc"]);
    let rest = ["sample", model, "--device", "cpu", "--out", &out, "--init", &picture];
    fails(&[&rest[..], &["--sampler", "rk45"]].concat(), &["rk45"]);
    let rest = ["sample", model, "--device", "cpu", "--out", &out, "--upscale", &small, "--overwrite"];
    fails(&[&rest[..], &["--sampler", "rk45"]].concat(), &["rk45", "--upscale"]);
}

/// The ends are what the seeds draw alone; between two pictures the way leads from one to the other.
#[test]
fn interpolations() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let model = path(model());
    let run = |arguments: &[&str]| {
        let output = aquatint(&[arguments, &["--device", "cpu", "--sampler", "ddim", "--steps", "6"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let between = file("between");
    let ends = ["--from", "3", "--to", "8", "--class", "2"];
    run(&[&["interpolate", model, "-n", "4", "--out", &between][..], &ends].concat());
    for (seed, number) in [("3", 0), ("8", 3)] {
        let alone = file(seed);
        run(&["sample", model, "-n", "1", "--seed", seed, "--class", "2", "--batch", "4", "--out", &alone]);
        let [a, b] = [(&between, number), (&alone, 0)]
            .map(|(folder, i)| image::open(Path::new(folder).join(format!("000{i}.png"))).unwrap().into_luma8());
        assert!(a.pixels().zip(b.pixels()).all(|(a, b)| a[0].abs_diff(b[0]) <= 1), "seed {seed}");
    }
    let picture = Path::new(&between).join("0001.png");
    let ends = ["--from", path(&picture), "--to", "8", "--class", "2"];
    run(&[&["interpolate", model, "-n", "2", "--out", &file("mixed")][..], &ends].concat());
    let fails = |flags: &[&str], words: &[&str]| {
        let out: &[&str] = if flags.contains(&"--out") { &[] } else { &["--out", &between] };
        fails(&[&["interpolate", model, "--device", "cpu"][..], out, flags].concat(), words);
    };
    fails(&["--from", "1", "--to", "2", "--out", &file("3")], &["3/sampling.json", "another --out"]);
    fails(&["--from", "1", "--to", "2"], &["10 classes", "--class"]);
    fails(&["--from", "1", "--to", "2", "--class", "10"], &["class 10", "0 to 9"]);
    fails(&["--from", "1", "--to", "2", "--class", "1", "-n", "1"], &["-n is 1", "2 to"]);
    fails(&["--from", "1", "--to", "x.png", "--class", "1"], &["x.png"]);
    fails(&["--from", "1", "--to", "2", "--class", "1", "--sampler", "ddpm"], &["noise", "ddim"]);
}

#[test]
fn weights_that_do_not_fit() {
    let change = |change: fn(&mut Vec<NamedTensor>)| {
        let folder = spoilt(WEIGHTS, |bytes| bytes);
        let file = folder.path().join(WEIGHTS);
        let read = read_tensors(&file).unwrap().tensors;
        let mut tensors: Vec<_> = read.into_iter().map(|(name, (shape, data))| (name, shape, data)).collect();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        change(&mut tensors);
        write_tensors(&file, &tensors, &[]).unwrap();
        folder
    };
    sample_fails(&change(|tensors| drop(tensors.remove(0))), &["is missing"]);
    sample_fails(&change(|tensors| tensors[0].2[0] = f32::NAN), &["NaN", "finite"]);
    let huge = change(|tensors| tensors.iter_mut().for_each(|(_, _, data)| data.fill(3e38)));
    let out = huge.path().join("drawn");
    let arguments = ["sample", path(huge.path()), "--out", path(&out), "--steps", "2", "--device", "cpu"];
    fails(&arguments, &["not finite"]);
    sample_fails(&change(|tensors| tensors.push(("extra".into(), vec![1], vec![0.0]))), &["extra"]);
    sample_fails(&change(|tensors| tensors[0].1 = vec![1, tensors[0].2.len()]), &["shape", "expected"]);
}

#[test]
fn pictures_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let train = |data: &Path, words: &[&str]| {
        let out = folder.path().join("run");
        fails(&["train", "--data", path(data), "--out", path(&out), "--steps", "1", "--device", "cpu"], words);
        assert!(!out.exists());
    };
    train(Path::new("/no/such/data"), &["/no/such/data", "digits"]);
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    train(&empty, &["empty", "no "]);
    let png = folder.path().join("png");
    fs::create_dir(&png).unwrap();
    fs::write(png.join("a.png"), b"\x89PNG\r\n\x1a\nnot really").unwrap();
    train(&png, &["a.png"]);
    let idx = folder.path().join("x-idx3-ubyte");
    fs::write(&idx, [0, 0, 8, 3, 0, 0, 0, 9, 0, 0, 0, 4, 0, 0, 0, 4, 1, 2, 3]).unwrap();
    train(&idx, &["x-idx3-ubyte", "144"]);
}

#[test]
fn flags_that_make_no_sense() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let train = |flags: &[&str], words: &[&str]| {
        fails(&[&["train", "--data", "digits", "--device", "cpu", "--out", path(&out)][..], flags].concat(), words);
    };
    train(&["--batch", "0"], &["train_batch_size", "0"]);
    train(&["--steps", "0"], &["max_train_steps", "0"]);
    train(&["--lr", "NaN"], &["learning_rate", "NaN"]);
    train(&["--ema", "2"], &["ema_max_decay", "2"]);
    train(&["--clip", "inf"], &["max_grad_norm", "inf"]);
    train(&["--seed", "18446744073709551615"], &["seed", "18446744073709551615"]);
    train(&["--image-size", "0"], &["resolution", "0"]);
    train(&["--precision", "mixed"], &["precision is mixed", "GPU", "cpu"]);
    train(&["--resume"], &["training_state.safetensors"]);
    train(&["--batch", "1048576", "--steps", "1"], &["out of memory", "batch 1048576", "would fit"]);
    fails(&["train", "--out", path(&out)], &["--data"]);
    fails(&["train", "--data", "digits", "--out", path(&out), "--device", "gpu:nothing"], &["gpu:nothing"]);
    fails(&["train", "--data", "digits", "--out", path(&out), "--device", "tpu"], &["tpu", "expected auto"]);
    fails(&["check", "--filter", "nothing", "--device", "cpu"], &["nothing"]);
    assert!(!out.exists());
    assert_eq!(aquatint(&["train", "--no-such-flag"]).status.code(), Some(2), "misused flags are clap's");
    let config = folder.path().join("c.toml");
    for (text, words) in [
        ("[training]\nlerning_rate = 1", &["lerning_rate"][..]),
        ("[unett]\n", &["unett"]),
        ("not toml", &["not TOML"]),
        ("[scheduler]\nbeta_end = 7.0", &["beta_end", "7"]),
    ] {
        fs::write(&config, text).unwrap();
        train(&["--config", path(&config)], &[&["c.toml"], words].concat());
    }
}

#[test]
fn resuming_with_other_flags_is_refused() {
    let run = path(model());
    let resume = |flags: &[&str], words: &[&str]| {
        fails(&[&["train", "--out", run, "--resume", "--device", "cpu"][..], flags].concat(), words);
    };
    resume(&["--batch", "5"], &["--batch", "5", "4"]);
    resume(&["--lr", "0.5"], &["--lr"]);
    resume(&["--schedule", "cosine"], &["--schedule"]);
    resume(&["--steps", "1"], &["--steps 1", "2"]);
    fails(&["train", "--data", "digits", "--out", run, "--device", "cpu"], &["--resume"]);
}

/// The command that started a run continues it with `--resume`, also where the pictures were padded or flags lay over
/// a file; changed pictures or a changed configuration are noticed.
#[test]
fn the_command_that_started_a_run_continues_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let idx = file("x-idx3-ubyte");
    let header = [[0u8, 0, 8, 3], [0, 0, 0, 3], [0, 0, 0, 12], [0, 0, 0, 12]].concat();
    let pictures = |byte: u8| [header.clone(), vec![byte; 3 * 144]].concat();
    fs::write(&idx, pictures(7)).unwrap();
    let config = file("small.toml");
    let small = SMALL.replace("sample_size = 8\n", "").replace("num_class_embeds = 10\n", "");
    fs::write(&config, format!("[training]\npad_to_multiple = 8\n{small}")).unwrap();
    let out = file("run");
    let base = ["train", "--data", path(&idx), "--config", path(&config), "--batch", "2", "--seed", "4"];
    let rest = ["--device", "cpu", "--out", path(&out)];
    let ok = |flags: &[&str]| {
        let output = aquatint(&[&base[..], &rest, flags].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    ok(&["--steps", "2"]);
    let json = fs::read_to_string(out.join("unet/config.json")).unwrap();
    assert!(json.contains("\"sample_size\": 16"), "12 is padded to 16: {json}");
    ok(&["--steps", "3", "--resume"]);
    let resume = ["train", "--resume", "--steps", "4"];
    fs::write(&idx, pictures(8)).unwrap();
    fails(&[&resume[..], &rest].concat(), &["x-idx3-ubyte", "3 pictures"]);
    fs::write(&idx, pictures(7)).unwrap();
    let saved = fs::read_to_string(out.join("config.toml")).unwrap();
    fs::write(out.join("config.toml"), saved.replace("train_batch_size = 2", "train_batch_size = 3")).unwrap();
    fails(&[&resume[..], &rest].concat(), &["config.toml", "changed"]);
    fs::write(out.join("config.toml"), saved).unwrap();
    ok(&["--steps", "4", "--resume"]);
}

#[test]
fn outputs_do_not_replace_what_is_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let (input, out) = (folder.path().join("in.safetensors"), folder.path().join("drawn"));
    let base = ["sample", path(model()), "-n", "1", "--steps", "1", "--device", "cpu", "--out", path(&out)];
    fails(&[&base[..], &["--tensors", path(folder.path())]].concat(), &["no ordinary file"]);
    fs::write(&input, b"").unwrap();
    fails(&[&base[..], &["--init-noise", path(&input)]].concat(), &["in.safetensors", "not a whole"]);
    let many = ["sample", path(model()), "-n", "99999999999999", "--device", "cpu", "--out", path(&out)];
    fails(&many, &["-n", "99999999999999"]);
}

#[test]
fn sampling_and_predicting() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let out = file("drawn");
    let run = path(model());
    let base = ["sample", run, "-n", "3", "--device", "cpu", "--out", path(&out)];
    let ok = |flags: &[&str]| {
        let output = aquatint(&[&base[..], &["--steps", "2", "--overwrite"], flags].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let bad = |flags: &[&str], words: &[&str]| fails(&[&base[..], flags].concat(), words);
    let (first, again) = (file("first.safetensors"), file("again.safetensors"));
    ok(&["--seed", "4", "--class", "3", "--tensors", path(&first)]);
    ok(&["--seed", "4", "--class", "3,3,3", "--tensors", path(&again)]);
    let read = |path: &Path| read_tensors(path).unwrap().tensors["sample"].clone();
    assert_eq!(read(&first), read(&again), "the same seed draws the same pictures");
    assert_eq!(read(&first).0, [3, 1, 8, 8]);
    assert!(out.join("sheet.png").is_file() && out.join("0002.png").is_file());
    bad(&["--class", "10"], &["class 10", "0 to 9"]);
    bad(&["--class", "1,2"], &["2 classes", "3 pictures"]);
    bad(&["--steps", "1001"], &["1001", "1000"]);
    bad(&["--init-noise", path(&first)], &["no tensor noise", "sample"]);
    let noise = file("noise.safetensors");
    write_tensors(&noise, &[("noise".into(), vec![2, 1, 8, 8], vec![0.0; 128])], &[]).unwrap();
    bad(&["--init-noise", path(&noise)], &["noise", "[2, 1, 8, 8]", "[3, 1, 8, 8]"]);
    write_tensors(&noise, &[("noise".into(), vec![3, 1, 8, 8], vec![0.5; 192])], &[]).unwrap();
    ok(&["--init-noise", path(&noise)]);

    let (input, output) = (file("in.safetensors"), file("out.safetensors"));
    let predict = ["predict", run, "--input", path(&input), "--output", path(&output), "--device", "cpu"];
    let tensors = |t: f32, class: f32, shape: &[usize]| {
        let sample = ("sample".to_string(), shape.to_vec(), vec![0.5; shape.iter().product()]);
        let one = |name: &str, value: f32| (name.to_string(), vec![2], vec![value; 2]);
        write_tensors(&input, &[sample, one("timestep", t), one("class_labels", class)], &[]).unwrap();
    };
    for between in [998.5, 999.0] {
        tensors(between, 9.0, &[2, 1, 8, 8]);
        assert!(aquatint(&predict).status.success());
    }
    assert_eq!(read_tensors(&output).unwrap().tensors["output"].0, [2, 1, 8, 8]);
    for (t, class, shape, words) in [
        (16_777_216.0, 0.0, &[2, 1, 8, 8][..], &["timestep", "16777216"][..]),
        (-2e7, 0.0, &[2, 1, 8, 8], &["timestep", "-20000000"]),
        (0.0, 10.0, &[2, 1, 8, 8], &["class_labels", "10"]),
        (0.0, 0.0, &[2, 3, 8, 8], &["sample", "[2, 3, 8, 8]"]),
        (0.0, 0.0, &[2, 1, 8, 7], &["8x7"]),
    ] {
        tensors(t, class, shape);
        fails(&predict, words);
    }
}

#[cfg(unix)]
#[test]
fn a_folder_without_permission() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let locked = folder.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(locked.join("probe"), b"").is_ok() {
        eprintln!("skipped: root writes anywhere");
        return;
    }
    let out = locked.join("drawn");
    fails(&["sample", path(model()), "--out", path(&out), "--steps", "2", "--device", "cpu"], &["locked", "denied"]);
}

/// The model with labels, measured: the arguments after `eval MODEL --device cpu`.
fn evaluated(arguments: &[&str]) -> Vec<String> {
    let all = [&["eval", path(model()), "--device", "cpu"], arguments].concat();
    all.iter().map(|argument| (*argument).to_string()).collect()
}

#[test]
fn likelihoods() {
    let folder = tempfile::tempdir().unwrap();
    let (json, plot) = (folder.path().join("a.json"), folder.path().join("terms.png"));
    let few = ["--data", "digits:odd", "--pictures", "5", "--seed", "3"];
    let run = |arguments: &[&str]| {
        let all = evaluated(&[&few[..], arguments].concat());
        let output = aquatint(&all.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let table = run(&["--bpd", "--timesteps", "4", "--json", path(&json), "--plot", path(&plot)]);
    for word in [
        "prior",
        "L_1000",
        "L_1 to L_999",
        "decoder",
        "total",
        "±",
        "fixed_small",
        "4 drawn",
        "L_11 to L_100",
        "stretch",
        "8x8x1",
        "an estimate",
    ] {
        assert!(table.contains(word), "no {word} in {table}");
    }
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let object = read(&fs::read_to_string(&json).unwrap());
    let number = |key: &str| object[key].as_f64().unwrap();
    let terms: Vec<f64> = object["terms"].as_array().unwrap().iter().map(|term| term.as_f64().unwrap()).collect();
    assert_eq!((terms.len(), number("timesteps"), number("pictures"), number("seed")), (999, 4.0, 5.0, 3.0));
    assert!((number("prior") + terms.iter().sum::<f64>() + number("decoder") - number("total")).abs() < 1e-6);
    assert!(number("standard_error") > 0.0 && object.get("ode").is_none());
    let errors = object["terms_standard_error"].as_array().unwrap();
    assert!(errors.len() == 999 && errors.iter().all(|error| error.as_f64().unwrap() > 0.0), "{errors:?}");
    assert_eq!(object["terms_of_stretches"], serde_json::json!([[1, 10], [11, 100], [101, 999]]));
    assert!(fs::metadata(&plot).unwrap().len() > 1000);
    // Another batch, the same figures; the object alone on standard output.
    let again = read(&run(&["--bpd", "--timesteps", "4", "--batch", "3", "--json", "-"]));
    assert!((again["total"].as_f64().unwrap() / number("total") - 1.0).abs() < 1e-5);
    let ode = read(&run(&["--ode", "--rtol", "1e-3", "--atol", "1e-3", "--json", "-"]));
    assert!(ode["ode"]["bits_per_dim"].as_f64().unwrap().is_finite() && ode.get("total").is_none());
    assert!(ode["ode"]["function_evaluations"].as_f64().unwrap() > 6.0);
}

#[test]
fn likelihoods_that_cannot_be_measured() {
    let refused = |arguments: &[&str], words: &[&str]| {
        fails(&evaluated(arguments).iter().map(String::as_str).collect::<Vec<_>>(), words);
    };
    refused(&[], &["--bpd", "--ode", "--real"]);
    refused(&["--bpd", "--data", "/no/such/place"], &["/no/such/place", "no such file"]);
    refused(&["--bpd", "--data", "digits", "--pictures", "1798"], &["--pictures", "1798", "1797", "digits"]);
    refused(&["--bpd", "--data", "digits", "--pictures", "2", "--timesteps", "1"], &["1 drawn timesteps", "2 to 1000"]);
    refused(&["--ode", "--data", "digits", "--pictures", "2", "--rtol", "0"], &["tolerances of", "more than 0"]);
    refused(&["--bpd", "--data", "digits", "--batch", "0"], &["--batch"]);
    // What is written is looked at first.
    let (nowhere, folder) = ("/no/such/place/a.png", tempfile::tempdir().unwrap());
    let [json, text] = ["a.json", "a.txt"].map(|name| folder.path().join(name));
    refused(&["--bpd", "--data", "digits", "--json", nowhere], &[nowhere, "/no/such/place is not a folder"]);
    refused(&["--bpd", "--data", "digits", "--plot", nowhere], &[nowhere, "is not a folder"]);
    refused(&["--bpd", "--data", "digits", "--plot", path(&text)], &["a.txt", ".png"]);
    refused(&["--bpd", "--data", "digits", "--plot", path(&json), "--json", path(&json)], &["--json and --plot"]);
    assert!(!json.exists());
    let unlabelled = folder_of_pictures();
    refused(&["--bpd", "--data", path(unlabelled.path())], &["no labels", "classes"]);
    let zero = spoilt("scheduler/scheduler_config.json", |bytes| {
        let text = String::from_utf8(bytes).unwrap();
        text.replace("\"rescale_betas_zero_snr\": false", "\"rescale_betas_zero_snr\": true").into_bytes()
    });
    fails(
        &["eval", path(zero.path()), "--data", "digits", "--bpd", "--device", "cpu"],
        &["timestep 999", "epsilon", "pure noise"],
    );
}

/// Two pictures of 8 x 8 without labels.
fn folder_of_pictures() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.png", "b.png"] {
        image::GrayImage::from_fn(8, 8, |x, y| image::Luma([(x * 20 + y) as u8]))
            .save(folder.path().join(name))
            .unwrap();
    }
    folder
}

#[test]
fn every_command_has_help_with_an_example() {
    for command in ["demo", "train", "sample", "predict", "eval", "evaluate", "schedule", "devices", "check", "bench"] {
        let output = aquatint(&[command, "--help"]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("Example"), "{command} --help has no example");
    }
}

#[test]
fn benchmarks() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("old.json");
    let base = ["bench", "--device", "cpu"];
    let bench = |flags: &[&str]| {
        let output = aquatint(&[&base[..], &["--seconds", "0"], flags].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let filters = ["--filter", "forward/TINY", "--filter", "case/silu/77", "--batch", "2"];
    let json = bench(&[&filters[..], &["--json"]].concat());
    let rows: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["forward/TINY/b2", "case/silu/77/forward", "case/silu/77/train"]);
    for row in &rows {
        assert!(row["device"].as_str().unwrap().starts_with("cpu"), "{row}");
        for key in ["median_ms", "gflop_per_s", "gb_per_s", "share", "bytes", "planned_bytes", "runs"] {
            assert!(row[key].as_f64().is_some_and(|value| value > 0.0), "{key} in {row}");
        }
    }
    fs::write(&file, &json).unwrap();
    let table = bench(&[&filters[..], &["--compare", path(&file)]].concat());
    let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[2].last(), Some(&"new/old"), "{table}");
    assert!(words[3..].iter().all(|row| row.last().unwrap().parse::<f64>().unwrap() > 0.0), "{table}");
    let profile = bench(&["--filter", "train/TINY", "--batch", "1", "--profile"]);
    assert!(profile.contains("convolution_forward") && profile.contains("idle"), "{profile}");
    let names = bench(&["--list", "--filter", "train/"]);
    assert!(names.lines().any(|name| name == "train/CIFAR/b2"), "{names}");

    let bad = |flags: &[&str], words: &[&str]| fails(&[&base[..], flags].concat(), words);
    bad(&["--filter", "train/", "--filter", "nothing"], &["nothing", "matmul/", "--list"]);
    bad(&["--filter", "train/TINY", "--batch", "0"], &["batch", "0"]);
    bad(&["--filter", "train/TINY", "--seconds=-1"], &["--seconds", "-1"]);
    bad(&["--compare", "/no/such/file"], &["/no/such/file"]);
    fs::write(&file, "{\"name\": \"x\"}\n").unwrap();
    bad(&["--compare", path(&file)], &["old.json", "line 1", "median_ms"]);
    fs::write(&file, "\n").unwrap();
    bad(&["--compare", path(&file)], &["old.json", "no rows"]);
}

/// The host's kernels in the vectors of processors that this one is not.
#[test]
fn the_host_is_right_with_narrower_vectors() {
    for vectors in ["avx2", "scalar"] {
        let mut check = Command::new(env!("CARGO_BIN_EXE_aquatint"));
        let output = check.args(["check", "--device", "cpu"]).env("AQUATINT_VECTORS", vectors).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let wrong: Vec<&str> = text.lines().filter(|line| line.ends_with("WRONG")).collect();
        assert!(output.status.success() && wrong.is_empty(), "{vectors}: {wrong:#?}");
    }
}

#[test]
fn training_begins_with_a_model_and_conversion_writes_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (from, tuned, half) = (path(model()).to_string(), at("tuned"), at("half"));
    let train = |out: &Path, more: &[&str]| {
        let arguments =
            ["train", "--data", "digits", "--device", "cpu", "--from", &from, "--batch", "4", "--steps", "1"];
        [&arguments[..], &["--out", path(out)], more].concat().into_iter().map(String::from).collect::<Vec<_>>()
    };
    fn slices(list: &[String]) -> Vec<&str> {
        list.iter().map(String::as_str).collect()
    }
    // A learning rate of next to nothing: the weights are the model's.
    let output = aquatint(&slices(&train(&tuned, &["--lr", "1e-20"])));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let weights = |folder: &Path| read_tensors(&folder.join(WEIGHTS)).unwrap().tensors;
    assert!(weights(&tuned) == weights(model()));
    let resumed = ["train", "--out", path(&tuned), "--resume", "--steps", "2", "--device", "cpu"];
    assert!(aquatint(&resumed).status.success());
    assert!(weights(&tuned) == weights(model()));

    let config = at("small.toml");
    fs::write(&config, SMALL).unwrap();
    fails(&slices(&train(&at("a"), &["--config", path(&config)])), &["--from", "[unet]"]);
    fails(&slices(&train(&at("a"), &["--image-size", "16"])), &["--from", "8x8", "--image-size is 16"]);
    assert!(!at("a").exists());
    let both = ["train", "--out", path(&tuned), "--resume", "--from", &from];
    assert_eq!(aquatint(&both).status.code(), Some(2));

    let convert = |out: &str| ["convert", &from, "--out", out, "--dtype", "f16"].map(String::from);
    let output = aquatint(&slices(&convert(path(&half))));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let size = |folder: &Path| fs::metadata(folder.join(WEIGHTS)).unwrap().len();
    assert!(size(&half) < size(model()) * 8 / 10);
    fails(&slices(&convert(path(&half))), &["holds model_index.json already"]);
    fails(&["convert", "/no/such", "--out", path(&at("b"))], &["/no/such"]);
}
