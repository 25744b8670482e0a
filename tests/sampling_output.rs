//! What `aquatint sample` writes: the same bytes in one run, in a run that is killed and begun again, and in shards.

#[path = "reference/tensor_file.rs"]
mod tensor_file;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;
use tensor_file::read_tensors;

const SMALL: &str = r#"
[unet]
sample_size = 8
in_channels = 1
out_channels = 1
block_out_channels = [8]
down_block_types = ["DownBlock2D"]
up_block_types = ["UpBlock2D"]
layers_per_block = 1
norm_num_groups = 4
attention_head_dim = "null"
num_class_embeds = 10
"#;

/// A model of digits with classes, made once.
fn model() -> &'static Path {
    static MODEL: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, run) = MODEL.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let (config, run) = (folder.path().join("small.toml"), folder.path().join("run"));
        fs::write(&config, SMALL).unwrap();
        let train = ["train", "--data", "digits", "--classes", "--device", "cpu", "--steps", "2", "--batch", "4"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_aquatint"));
        assert!(command.args(train).arg("--config").arg(&config).arg("--out").arg(&run).status().unwrap().success());
        (folder, run)
    });
    run
}

/// A folder to draw in, and the command line that does.
struct At {
    folder: TempDir,
}

impl At {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// 11 pictures in batches of 4, in 3 noisy steps, into `drawn`; files are named within the folder.
    fn command(&self, flags: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aquatint"));
        command.current_dir(self.folder.path()).arg("sample").arg(model());
        let own = "--device cpu -n 11 --batch 4 --steps 3 --seed 6 --out drawn ";
        let given = flags.split_whitespace().filter(|flag| flag.starts_with('-')).collect::<Vec<_>>();
        // A flag that is given takes the place of the usual one.
        let mut words = own.split_whitespace();
        while let (Some(flag), Some(value)) = (words.next(), words.next()) {
            if !given.contains(&flag) {
                command.args([flag, value]);
            }
        }
        command.args(flags.split_whitespace());
        command
    }

    /// What a run that succeeds says, on both streams.
    #[track_caller]
    fn ok(&self, flags: &str) -> String {
        let output = self.command(flags).output().unwrap();
        let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        assert!(output.status.success(), "{flags}: {err}");
        out + &err
    }

    #[track_caller]
    fn fails(&self, flags: &str, words: &str) {
        let output = self.command(flags).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{flags}: {text}");
        let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("aquatint: ")).collect();
        assert!(errors.len() == 1 && errors[0].contains(words) && !text.contains("panicked"), "{flags}: {text}");
    }

    /// All files by their names, but the list of what is finished, which says where they are.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in walk(self.folder.path()) {
            let name = entry.strip_prefix(self.folder.path()).unwrap().to_str().unwrap().to_string();
            if !name.contains("sampling-files") {
                files.insert(name, fs::read(&entry).unwrap());
            }
        }
        files
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[track_caller]
fn assert_same(found: &BTreeMap<String, Vec<u8>>, expected: &BTreeMap<String, Vec<u8>>) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, bytes) in expected {
        assert!(found[name] == *bytes, "{name} differs");
    }
}

const ALL: &str =
    "--tensors x.safetensors --npz x.npz --path p.gif --x0-path q.safetensors --path-pictures 6 --sampler ddpm";

/// The numbers of a tensor, and its sizes.
fn tensor(path: &Path, name: &str) -> (Vec<usize>, Vec<f32>) {
    read_tensors(path).unwrap().tensors[name].clone()
}

#[test]
fn files_hold_what_they_say() {
    let at = At::new();
    at.ok(ALL);
    let (shape, sample) = tensor(&at.path("x.safetensors"), "sample");
    assert_eq!(shape, [11, 1, 8, 8]);
    let archive = aquatint::data::Dataset::open(at.path("x.npz").to_str().unwrap(), &Default::default()).unwrap();
    assert_eq!((archive.len(), archive.shape()), (11, [8, 8, 1]));
    for picture in 0..11 {
        let png = image::open(at.path(&format!("drawn/{picture:04}.png"))).unwrap().into_luma8();
        assert_eq!(archive.bytes(picture), png.as_raw());
        let floats = &sample[picture * 64..][..64];
        let bytes: Vec<u8> = floats.iter().map(|&value| aquatint::pictures::to_byte(value)).collect();
        assert_eq!(&bytes, png.as_raw());
    }
    // The last x_0 that is predicted is the picture.
    let (shape, predicted) = tensor(&at.path("q.safetensors"), "path");
    assert_eq!(shape, [3, 6, 1, 8, 8]);
    let last = &predicted[2 * 6 * 64..];
    assert!(last.iter().zip(&sample).all(|(a, b)| (a - b).abs() < 1e-5));
    at.ok("--path p.safetensors --sampler ddpm");
    let (shape, path) = tensor(&at.path("p.safetensors"), "path");
    assert_eq!(shape, [4, 11, 1, 8, 8]);
    assert_eq!(path[3 * 11 * 64..], sample);
    assert!(path[..64].iter().any(|x| x.abs() > 1.0), "it begins with noise");
    assert!(!at.path("drawn/sampling.parts").exists());
    // The sheet is as wide as 4 tiles of 64, and taller for the labels.
    let sheet = image::open(at.path("drawn/sheet.png")).unwrap();
    assert!(sheet.width() == 4 * 66 - 2 && sheet.height() > 3 * 66);
    at.ok("--no-labels --sampler ddpm");
    assert_eq!(image::open(at.path("drawn/sheet.png")).unwrap().height(), 3 * 66 - 2);
}

#[test]
fn a_run_goes_on_where_it_was_stopped() {
    let whole = At::new();
    whole.ok(ALL);
    let expected = whole.files();
    let at = At::new();
    let said = at.ok(ALL);
    assert!(!said.contains("are there"), "{said}");
    let said = at.ok(ALL);
    assert!(said.contains("11 pictures are there") && !said.contains("drawing"), "{said}");
    fs::remove_file(at.path("drawn/sheet.png")).unwrap();
    let said = at.ok(ALL);
    assert!(!said.contains("drawing"), "{said}");
    assert_same(&at.files(), &expected);
    // Without its files, which only drawing makes.
    at.ok("--sampler ddpm");
    for gone in [&["drawn/0005.png"][..], &["x.npz"], &["p.gif", "drawn/0010.png"], &["x.safetensors"]] {
        gone.iter().for_each(|gone| fs::remove_file(at.path(gone)).unwrap());
        at.ok(ALL);
        assert_same(&at.files(), &expected);
    }
    // A picture that was cut off when it was copied, and a file that was changed.
    let cut = fs::read(at.path("drawn/0002.png")).unwrap();
    fs::write(at.path("drawn/0002.png"), &cut[..cut.len() - 5]).unwrap();
    fs::write(at.path("x.npz"), b"other").unwrap();
    at.ok(ALL);
    assert_same(&at.files(), &expected);
}

/// Pictures and their record are removed by hand: what is left of them is no other pictures'.
#[test]
fn files_of_other_pictures_are_not_taken() {
    let (at, other) = (At::new(), At::new());
    let flags = "--sampler ddpm --tensors x.safetensors --path p.safetensors --seed 7";
    at.ok(&flags.replace("--seed 7", ""));
    for entry in walk(&at.path("drawn")) {
        if !entry.ends_with("sampling-files.json") {
            fs::remove_file(entry).unwrap();
        }
    }
    at.ok(flags);
    other.ok(flags);
    assert_same(&at.files(), &other.files());
}

/// Killed at moments of no rhythm, until it is through.
#[test]
fn killed_runs_come_to_the_same_bytes() {
    let flags = format!("{ALL} --steps 400 -n 23");
    let (whole, at) = (At::new(), At::new());
    whole.ok(&flags);
    let mut kills = 0;
    for attempt in 0_u64.. {
        assert!(attempt < 300, "the run never ends");
        let mut child = at.command(&flags).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(20 + attempt * 37));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "attempt {attempt} failed");
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 1, "killed {kills} times only");
    let mut found = at.files();
    // What was being written when it was killed; the pictures' folder is swept.
    found.retain(|name, _| name.starts_with("drawn") || !name.ends_with(".part"));
    assert_same(&found, &whole.files());
}

/// Shards in one folder, one of which is begun again, and in folders of their own: together the bytes of one run.
#[test]
fn shards_are_parts_of_one_run() {
    let whole = At::new();
    whole.ok(ALL);
    let expected = whole.files();
    // Three batches: whole ones for 3 shards, parts for 5.
    for of in [3, 5] {
        let (together, mut sample) = (At::new(), Vec::new());
        for index in (1..=of).rev() {
            let flags = format!("{ALL} --shard {index}/{of}");
            together.ok(&flags);
            let alone = At::new();
            alone.ok(&flags);
            let name = format!("x-{index}-of-{of}.safetensors");
            assert_eq!(fs::read(alone.path(&name)).unwrap(), fs::read(together.path(&name)).unwrap());
            let part = tensor(&alone.path(&name), "sample").1;
            sample.splice(0..0, part);
            for (name, bytes) in alone.files() {
                if name.ends_with(".png") && !name.contains("-of-") {
                    assert!(bytes == expected[&name], "{name} of shard {index}/{of} differs");
                }
            }
        }
        assert_eq!(sample, tensor(&whole.path("x.safetensors"), "sample").1);
        let again = together.ok(&format!("{ALL} --shard 2/{of}"));
        assert!(again.contains("are there") && !again.contains("drawing"), "{again}");
        // The command without a shard makes the sheet of all, and the archive, without drawing.
        let said = together.ok("--sampler ddpm --npz x.npz");
        assert!(said.contains("11 pictures are there") && !said.contains("drawing"), "{said}");
        for name in ["drawn/sheet.png", "x.npz", "drawn/sampling.json"] {
            assert!(fs::read(together.path(name)).unwrap() == expected[name], "{name} differs");
        }
    }
    let few = At::new();
    assert!(few.ok("-n 2 --shard 1/4").contains("no pictures of 2"));
    assert!(!few.path("drawn/0000.png").exists());
    few.ok("-n 2 --shard 4/4");
    assert!(few.path("drawn/0001.png").exists());
}

/// A shard that is given no batch has that of the shard that began, and is divided as it.
#[test]
fn shards_are_divided_as_the_first_one() {
    let (whole, at) = (At::new(), At::new());
    let flags = "--sampler ddpm -n 70 --steps 1";
    whole.ok(&format!("{flags} --batch 66"));
    at.ok(&format!("{flags} --batch 66 --shard 2/2"));
    let mut plain = Command::new(env!("CARGO_BIN_EXE_aquatint"));
    plain.current_dir(at.folder.path()).arg("sample").arg(model());
    plain.args("--device cpu -n 70 --steps 1 --seed 6 --sampler ddpm --shard 1/2 --out drawn".split_whitespace());
    assert!(plain.status().unwrap().success());
    for picture in 0..70 {
        let name = format!("drawn/{picture:04}.png");
        assert!(fs::read(at.path(&name)).unwrap() == fs::read(whole.path(&name)).unwrap(), "{name} differs");
    }
}

/// Noise, classes and pictures from outside are those of the whole job.
#[test]
fn shards_take_their_part_of_what_is_given() {
    let noise = |shape: &[usize]| -> aquatint::nn::NamedTensor {
        let len = shape.iter().product();
        ("noise".into(), shape.to_vec(), (0..len).map(|i| ((i * 37) % 101) as f32 / 30.0 - 1.6).collect())
    };
    let run = |all: &str, flags: &str| {
        let at = At::new();
        fs::create_dir(at.path("pictures")).unwrap();
        for picture in 0..3 {
            let pixel = |x, y| image::Luma([(x * 20 + y * 7 + picture * 50) as u8]);
            image::GrayImage::from_fn(8, 8, pixel).save(at.path(&format!("pictures/{picture}.png"))).unwrap();
        }
        for (file, shape) in [("init.safetensors", &[5, 1, 8, 8][..]), ("steps.safetensors", &[3, 5, 1, 8, 8])] {
            aquatint::checkpoint::write_tensors(&at.path(file), &[noise(shape)], &[]).unwrap();
        }
        at.ok(&format!("{all} --sampler ddpm -n 5 --batch 2 {flags}"));
        at.files()
    };
    for all in [
        "--init-noise init.safetensors --step-noise steps.safetensors --class 3,1,4,1,5",
        "--init pictures --strength 0.7",
        "--inpaint pictures --mask pictures",
    ] {
        let whole = run(all, "");
        for index in 1..=2 {
            let shard = run(all, &format!("--shard {index}/2"));
            let mut pictures = 0;
            for (name, bytes) in shard.iter().filter(|(name, _)| name.starts_with("drawn/0")) {
                assert!(*bytes == whole[name], "{name} differs: {all}");
                pictures += 1;
            }
            assert_eq!(pictures, if index == 1 { 2 } else { 3 });
        }
    }
}

#[test]
fn another_command_is_refused() {
    let at = At::new();
    at.ok("--sampler ddpm");
    let before = at.files();
    for (flags, words) in [
        ("--sampler ddpm --seed 7", "sampling.json: seed is 6, expected 7; give another --out, or --overwrite"),
        ("--sampler ddpm -n 12", "count is 11, expected 12"),
        ("--sampler ddpm --batch 5", "batch is 4, expected 5"),
        ("--sampler ddim", "sampler is ddpm, expected ddim"),
        ("--sampler ddpm --steps 4", "steps is 3, expected 4"),
        ("--sampler ddpm --class 2", "classes is"),
        ("--sampler ddpm --image-size 16", "size is [8,8], expected [16,16]"),
        ("--sampler ddpm --shard 5/4", "--shard is 5/4, expected I/N with 1 <= I <= N"),
        ("--path x.webp", "--path is x.webp, expected a name that ends with .gif, .png or .safetensors"),
        ("--path-pictures 65", "--path-pictures is 65, expected 1 to 64"),
        ("--npz none/x.npz", "none is not a folder"),
        (
            "--path x.gif --x0-path drawn/../x.gif",
            "--path and --x0-path are both drawn/../x.gif, expected a file for each",
        ),
    ] {
        at.fails(flags, words);
        assert_same(&at.files(), &before);
    }
    // A batch that is not given is the one of the record.
    let mut plain = Command::new(env!("CARGO_BIN_EXE_aquatint"));
    plain.current_dir(at.folder.path()).arg("sample").arg(model());
    plain.args("--device cpu -n 11 --steps 3 --seed 6 --sampler ddpm --out drawn".split_whitespace());
    assert!(plain.status().unwrap().success());
    assert_same(&at.files(), &before);
    // The model has changed in its place.
    let copy = at.path("copy");
    for file in ["unet/config.json", "scheduler/scheduler_config.json", "model_index.json"] {
        fs::create_dir_all(copy.join(file).parent().unwrap()).unwrap();
        fs::copy(model().join(file), copy.join(file)).unwrap();
    }
    let weights = "unet/diffusion_pytorch_model.safetensors";
    let mut bytes = fs::read(model().join(weights)).unwrap();
    *bytes.last_mut().unwrap() ^= 0x80;
    fs::write(copy.join(weights), bytes).unwrap();
    let mut other = Command::new(env!("CARGO_BIN_EXE_aquatint"));
    other.current_dir(at.folder.path()).arg("sample").arg(&copy);
    other.args("--device cpu -n 11 --batch 4 --steps 3 --seed 6 --sampler ddpm --out drawn".split_whitespace());
    let output = other.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("sampling.json: weights is"), "{text}");
    fs::remove_dir_all(copy).unwrap();

    // Pictures without a record, and --overwrite, which leaves nothing of what was there.
    fs::remove_file(at.path("drawn/sampling.json")).unwrap();
    at.fails("--sampler ddpm", "0000.png: is there, but no drawn/sampling.json says how it was drawn");
    at.ok("--sampler ddpm -n 3 --overwrite --seed 1");
    at.ok("--sampler ddpm --overwrite");
    assert_same(&at.files(), &before);
    at.ok("--sampler ddpm -n 3 --overwrite");
    assert_eq!(fs::read_dir(at.path("drawn")).unwrap().count(), 3 + 2);

    // A record that says nothing is replaced too, and what others put there stays.
    let own = ["sheet-metal.png", "00000.png", "sampling-files.txt", "sheet-1-of-2.png"];
    own.iter().for_each(|name| fs::write(at.path(&format!("drawn/{name}")), b"own").unwrap());
    fs::write(at.path("drawn/sampling.json"), b"{ \"count\": 3,").unwrap();
    at.fails("--sampler ddpm", "not a record of pictures as JSON; give another --out, or --overwrite");
    at.ok("--sampler ddpm --overwrite");
    assert!(own.map(|name| at.path(&format!("drawn/{name}")).exists()) == [true, true, true, false]);
}

/// Along the flow, without stages, it goes on and is divided alike.
/// Neither the pictures' own files nor the model's are written over.
#[test]
fn names_that_are_taken_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("drawn");
    let weights = model().join("unet/diffusion_pytorch_model.safetensors");
    let before = fs::read(&weights).unwrap();
    for (flag, file) in [
        ("--npz", out.join("sampling.json")),
        ("--tensors", out.join("0001.png")),
        ("--path", out.join("sheet.png")),
        ("--x0-path", out.join("sheet-1-of-2.png")),
        ("--tensors", weights.clone()),
    ] {
        fs::create_dir_all(&out).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_aquatint"));
        command.arg("sample").arg(model()).args(["-n", "2", "--steps", "2", "--out"]).arg(&out);
        let output = command.arg(flag).arg(&file).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains("expected another name"), "{flag}: {error}");
    }
    assert_eq!(fs::read(&weights).unwrap(), before);
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
}

#[test]
fn the_flow_goes_on_too() {
    let flags = |more: &str| format!("--device cpu -n 6 --seed 2 --sampler rk45 --tolerance 1e-1 --batch 1 {more}");
    let run = |at: &At, more: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aquatint"));
        command.current_dir(at.folder.path()).arg("sample").arg(model());
        let output = command.args(flags(more).split_whitespace()).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (whole, at) = (At::new(), At::new());
    assert!(run(&whole, "--out drawn").0);
    let (ok, text) = run(&at, "--out drawn --path x.gif");
    assert!(!ok && text.contains("no --path") && !at.path("drawn").exists(), "{text}");
    assert!(run(&at, "--out drawn --shard 2/2").0);
    assert!(at.path("drawn/0004.png").exists() && !at.path("drawn/0003.png").exists());
    fs::remove_file(at.path("drawn/sheet-2-of-2.png")).unwrap();
    assert!(run(&at, "--out drawn").0);
    assert_same(&at.files(), &whole.files());
}
