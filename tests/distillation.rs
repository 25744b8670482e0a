//! Distillation: what a student is taught is what its definition says, in two runs of the teacher that are computed here; a
//! toy student learns it; a run that is killed and given again ends with the same bits; and what cannot be distilled.

mod runs;

use aquatint::checkpoint::ModelFolder;
use aquatint::device::{Device, Host};
use aquatint::diffusion::{
    Chain, ChainOptions, NoiseSchedule, PredictionType, SchedulerClass, SchedulerConfig, boundary,
};
use aquatint::kernels::random::{Purpose, normal, picture_key, threefry2x32};
use aquatint::nn::{BlockType, Forward, UNet, UNetConfig};
use aquatint::plan::Step;
use aquatint::training::distillation::{distilled_scheduler, stages};
use aquatint::training::{
    DistillationMethod, DistillationTable, EmaWarmup, RunConfig, Trainer, TrainingConfig, TrainingState, default_unet,
};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A timestep, and signal and noise there.
#[derive(Clone, Copy, Debug)]
struct Level {
    t: f64,
    s: f64,
    n: f64,
}

fn level(schedule: &NoiseSchedule, t: usize) -> Level {
    Level { t: t as f64, s: schedule.alphas_cumprod[t].sqrt(), n: schedule.one_minus_alphas_cumprod[t].sqrt() }
}

const PICTURE: Level = Level { t: -1.0, s: 1.0, n: 0.0 };

/// Timesteps at round(T i / N) - 1, from noise on, and the picture at the end.
fn levels(schedule: &NoiseSchedule, steps: usize) -> Vec<Level> {
    let all = schedule.timesteps() as f64;
    let timestep = |i: usize| (all * i as f64 / steps as f64).round_ties_even() as usize - 1;
    (1..=steps).rev().map(|i| level(schedule, timestep(i))).chain([PICTURE]).collect()
}

fn x0_of(prediction: PredictionType, at: Level, x: f64, output: f64) -> f64 {
    match prediction {
        PredictionType::Epsilon => (x - at.n * output) / at.s,
        PredictionType::Sample => output,
        PredictionType::VPrediction => at.s * x - at.n * output,
        PredictionType::Score => (x + at.n * at.n * output) / at.s,
    }
}

/// Salimans & Ho 2022, eq. 8.
fn ddim(x: f64, x0: f64, from: Level, to: Level) -> f64 {
    to.s * x0 + to.n / from.n * (x - from.s * x0)
}

/// The same, algorithm 2: the x_0 for which one step from `t` gets to `x`.
fn x0_of_one_step(x: f64, after: f64, t: Level, to: Level) -> f64 {
    (after - to.n / t.n * x) / (to.s - to.n / t.n * t.s)
}

fn scheduler(keys: Value) -> SchedulerConfig {
    SchedulerConfig::from_json(&keys, "test").unwrap()
}

fn table(method: DistillationMethod, teacher: PredictionType, [teacher_steps, steps]: [usize; 2]) -> DistillationTable {
    DistillationTable {
        method,
        teacher: "teacher".into(),
        teacher_checksum: "0123456789abcdef".into(),
        teacher_prediction: teacher,
        teacher_steps,
        steps,
        guidance: None,
    }
}

#[test]
fn one_step_of_the_student_goes_where_two_of_the_teacher_go() {
    let network = |x: f64, t: f64| 0.8 * x + 0.1 - t / 1500.0;
    for (timesteps, schedule, prediction, clip) in [
        (1024, "linear", "epsilon", None),
        (1000, "squaredcos_cap_v2", "v_prediction", None),
        (1000, "linear", "sample", Some(0.6)),
        (1000, "scaled_linear", "epsilon", Some(1.0)),
        (20, "linear", "v_prediction", Some(0.3)),
    ] {
        let teacher = scheduler(json!({
            "num_train_timesteps": timesteps, "beta_schedule": schedule, "prediction_type": prediction,
            "clip_sample": clip.is_some(), "clip_sample_range": clip.unwrap_or(1.0),
        }));
        let schedule = NoiseSchedule::new(&teacher);
        let student = distilled_scheduler(&teacher, "test").unwrap();
        let all = stages(&student, None, 4).unwrap();
        assert_eq!(*all.last().unwrap(), 4);
        assert!(2 * all[0] > timesteps, "{all:?}");
        for two in all.windows(2) {
            let table = table(DistillationMethod::Progressive, teacher.prediction_type, [two[0], two[1]]);
            let rows = table.rows(&student).unwrap();
            let (of_teacher, of_student) = (levels(&schedule, two[0]), levels(&schedule, two[1]));
            let chain = Chain::new(&table.drawing_scheduler(&student).unwrap(), ChainOptions::default()).unwrap();
            assert_eq!((rows.len(), chain.steps()), (two[1], two[1]), "it draws in as many steps if nothing is said");
            for (k, (row, stage)) in rows.iter().zip(chain.stages()).enumerate() {
                let (t, between, to) = (of_student[k], of_teacher[2 * k + 1], of_student[k + 1]);
                assert_eq!((t.t, of_teacher[2 * k].t, stage.timestep), (of_teacher[2 * k].t, row.told[0], t.t));
                assert_eq!(row.told[1], between.t);
                let clipped =
                    |x0: f64| clip.map_or(x0, |range| x0.clamp(-f64::from(range as f32), f64::from(range as f32)));
                for x in [-1.7, 0.2, 2.3] {
                    let x0 = clipped(x0_of(teacher.prediction_type, t, x, network(x, t.t)));
                    let middle = ddim(x, x0, t, between);
                    let later = clipped(x0_of(teacher.prediction_type, between, middle, network(middle, between.t)));
                    let expected = ddim(middle, later, between, to);
                    let [a, b, c, d] = row.target_of;
                    let target = a * x + b * x0 + c * middle + d * later;
                    // One step of the sampler, with what was learnt.
                    let w = stage.weights;
                    let said = w.x0_of[0] * x + w.x0_of[1] * target;
                    let found = w.x_of[0] * x + w.x_of[1] * said + w.x_of[2] * target;
                    let scale = 1.0 + x0.abs() + later.abs();
                    assert!((found - expected).abs() < 1e-10 * scale, "{two:?} {k}: {found}, {expected}");
                    if to.n > 0.0 {
                        let by_definition = x0_of_one_step(x, expected, t, to);
                        assert!((said - by_definition).abs() < 1e-7 * scale, "{two:?} {k}: {said}, {by_definition}");
                    }
                    // What is learnt stays where x_0 is clipped to.
                    assert!(clip.is_none_or(|range| said.abs() < range + 1e-6), "{said}");
                }
                // An error in v is one of n in x_0.
                assert!((row.weight / (t.n * t.n) / ((t.s / t.n).powi(2) + 1.0) - 1.0).abs() < 1e-9);
            }
        }
    }
}

/// Rounded timesteps of N and of 2 N steps can differ by one at a half: of 1000, with 48 and 96 steps.
#[test]
fn every_timestep_of_a_student_is_one_of_its_teachers() {
    for timesteps in [50, 100, 1000, 1024, 4000] {
        let teacher = scheduler(json!({ "num_train_timesteps": timesteps, "prediction_type": "v_prediction" }));
        let noise = distilled_scheduler(&teacher, "test").unwrap();
        let told = |steps: [usize; 2]| {
            let table = table(DistillationMethod::Progressive, PredictionType::VPrediction, steps);
            let rows = table.rows(&noise)?;
            Ok::<_, aquatint::Error>(rows.iter().map(|row| row.told[0]).collect::<Vec<_>>())
        };
        for to in 1..=25 {
            let Ok(all) = stages(&noise, None, to) else {
                assert!(told([2 * to, to]).is_err(), "{timesteps} {to}");
                continue;
            };
            assert!(all.len() > 1 && all.last() == Some(&to), "{all:?}");
            for two in all.windows(2) {
                // As a student itself, the teacher was told these.
                let (of_teacher, of_student) = (told([two[0]; 2]).unwrap(), told([two[1]; 2]).unwrap());
                assert_eq!(told([two[0], two[1]]).unwrap(), of_student);
                let shared = of_student.iter().filter(|timestep| of_teacher.contains(timestep)).count();
                assert_eq!(shared, two[1], "{timesteps} {two:?}");
            }
            let more = 2 * all[0];
            if more <= timesteps {
                assert!(told([more, all[0]]).is_err(), "{timesteps} {more} {}", all[0]);
            }
        }
    }
    let noise = distilled_scheduler(&scheduler(json!({})), "test").unwrap();
    assert_eq!(stages(&noise, None, 3).unwrap(), [48, 24, 12, 6, 3]);
    assert_eq!(stages(&noise, Some(12), 3).unwrap(), [12, 6, 3]);
    assert_eq!(stages(&noise, None, 1).unwrap().len(), 10);
}

/// A network of one level, without attention.
fn unet(channels: usize, side: usize) -> UNetConfig {
    UNetConfig {
        block_out_channels: vec![channels],
        down_block_types: vec![BlockType::DownBlock2D],
        up_block_types: vec![BlockType::UpBlock2D],
        norm_num_groups: Some(4),
        layers_per_block: 1,
        add_attention: false,
        ..default_unet(side, side, 1, None)
    }
}

fn config(
    unet: UNetConfig,
    teacher: &SchedulerConfig,
    table: DistillationTable,
    training: TrainingConfig,
) -> RunConfig {
    RunConfig {
        unet,
        scheduler: distilled_scheduler(teacher, "test").unwrap(),
        training: TrainingConfig { distillation: Some(table), ..training },
    }
}

/// What a network says of pictures of so many elements, at timesteps of their own.
fn says(unet: &UNet, weights: &[f32], x: &[f64], (timesteps, labels): (&[f64], &[u32]), side: usize) -> Vec<f64> {
    let forward = Forward::new(unet, timesteps.len(), [side, side]).unwrap();
    let mut host = Host::<f64>::reference();
    let plan = host.load(&forward.plan).unwrap();
    host.upload(&forward.weights, 0, weights).unwrap();
    let single = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<_>>();
    host.upload(&forward.pictures, 0, &single(x)).unwrap();
    host.upload(&forward.timesteps, 0, &single(timesteps)).unwrap();
    host.upload_integers(forward.labels.as_ref().unwrap(), 0, labels).unwrap();
    host.run(plan, &Step::default()).unwrap();
    host.download(&forward.output).unwrap().into_iter().map(f64::from).collect()
}

#[test]
fn the_loss_of_a_step_is_that_of_its_definition() {
    const SIDE: usize = 4;
    const LEN: usize = SIDE * SIDE;
    const BATCH: usize = 7;
    const NUMBER: u32 = 3;
    use DistillationMethod::{Consistency, Progressive};
    const NONE: u32 = 3;
    let labels: [u32; BATCH] = std::array::from_fn(|picture| picture as u32 % NONE);
    for (method, prediction, steps, clip, guidance) in [
        (Progressive, "epsilon", [16, 8], true, None),
        (Progressive, "v_prediction", [4, 2], false, Some(2.5)),
        (Progressive, "sample", [8, 8], true, None),
        (Consistency, "epsilon", [10, 2], false, None),
        (Consistency, "v_prediction", [50, 1], true, Some(0.5)),
    ] {
        let teacher = scheduler(json!({
            "num_train_timesteps": 100, "beta_end": 0.1, "prediction_type": prediction, "clip_sample": clip,
        }));
        let table = DistillationTable { guidance, ..table(method, teacher.prediction_type, steps) };
        let training = TrainingConfig { train_batch_size: BATCH, seed: 5, ..TrainingConfig::default() };
        let classes = (Some(NONE as usize + 1), Some(NONE as usize));
        let unet = UNetConfig { num_class_embeds: classes.0, unconditional_class: classes.1, ..unet(8, SIDE) };
        let config = config(unet, &teacher, table, training);
        assert_eq!(RunConfig::from_toml(&config.to_toml().unwrap(), "test").unwrap(), config);
        let network = UNet::new(&config.unet).unwrap();
        let [of_teacher, of_student, of_average] = [1, 2, 3].map(|seed| network.parameters().initialize(seed));
        let pictures: Vec<f32> = (0..BATCH * LEN).map(|i| (i * 37 % 64) as f32 / 32.0 - 1.0).collect();
        let mut trainer = Trainer::new(&config, [SIDE, SIDE]).unwrap();
        let mut host = Host::<f64>::reference();
        trainer.load(&mut host).unwrap();
        host.upload(trainer.teacher().unwrap(), 0, &of_teacher).unwrap();
        for (name, storage) in trainer.buffers() {
            match name {
                "parameters" => host.upload(storage, 0, &of_student).unwrap(),
                "ema" => host.upload(storage, 0, &of_average).unwrap(),
                _ => {}
            }
        }
        let found = f64::from(trainer.step(&mut host, NUMBER as usize, &pictures, &labels).unwrap());

        // The same from the papers' words. Where each picture is, and where the teacher's step goes:
        let schedule = NoiseSchedule::new(&teacher);
        let seed = Step::seeded(5).seed;
        let drawn = |picture: u32, count: usize| {
            threefry2x32(picture_key(seed, Purpose::TrainingTimestep, picture), [NUMBER, 0])[0] as usize % count
        };
        let stride = 100 / steps[0];
        let ways: Vec<[Level; 3]> = (0..BATCH as u32)
            .map(|picture| match method {
                Progressive => {
                    let k = drawn(picture, steps[1]);
                    let (student, teacher) = (levels(&schedule, steps[1]), levels(&schedule, steps[0]));
                    // From as many steps to as many, it is the teacher's own x_0 that is learnt.
                    let between = if steps[0] == steps[1] { student[k] } else { teacher[2 * k + 1] };
                    [student[k], between, student[k + 1]]
                }
                Consistency => {
                    let k = drawn(picture, steps[0]);
                    let at = |i: usize| level(&schedule, (i * stride).saturating_sub(1));
                    [at(steps[0] - k), at(steps[0] - k - 1), PICTURE]
                }
            })
            .collect();
        let way = |i: usize| ways[i / LEN];
        let noise = |i: usize| {
            let key = picture_key(seed, Purpose::TrainingNoise, (i / LEN) as u32);
            normal::<f64>(key, NUMBER, i % LEN)
        };
        let all = 0..BATCH * LEN;
        let x: Vec<f64> = all.clone().map(|i| way(i)[0].s * f64::from(pictures[i]) + way(i)[0].n * noise(i)).collect();
        let told = |which: usize| ways.iter().map(|way| way[which].t).collect::<Vec<_>>();
        let clipped = |x0: f64| if clip { x0.clamp(-1.0, 1.0) } else { x0 };
        let v = PredictionType::VPrediction;
        let by_student =
            |weights: &[f32], x: &[f64], which: usize| says(&network, weights, x, (&told(which), &labels), SIDE);
        let by_teacher = |x: &[f64], which: usize| {
            let with = by_student(&of_teacher, x, which);
            let without = says(&network, &of_teacher, x, (&told(which), &[NONE; BATCH]), SIDE);
            let s = f64::from(guidance.unwrap_or(1.0));
            with.iter().zip(without).map(|(with, without)| without + s * (with - without)).collect::<Vec<_>>()
        };
        let first = by_teacher(&x, 0);
        let x0: Vec<f64> =
            all.clone().map(|i| clipped(x0_of(teacher.prediction_type, way(i)[0], x[i], first[i]))).collect();
        let middle: Vec<f64> = all.clone().map(|i| ddim(x[i], x0[i], way(i)[0], way(i)[1])).collect();
        let student = by_student(&of_student, &x, 0);
        let second = match method {
            Progressive => by_teacher(&middle, 1),
            Consistency => by_student(&of_average, &middle, 1),
        };
        let error = |i: usize| {
            let said = x0_of(v, way(i)[0], x[i], student[i]);
            let [t, between, to] = way(i);
            match method {
                Progressive => {
                    let goal = if t.t == between.t {
                        x0[i]
                    } else {
                        let later = clipped(x0_of(teacher.prediction_type, between, middle[i], second[i]));
                        x0_of_one_step(x[i], ddim(middle[i], later, between, to), t, to)
                    };
                    ((t.s / t.n).powi(2) + 1.0) * (said - goal).powi(2)
                }
                Consistency => {
                    let f = |at: Level, x: f64, x0: f64| {
                        let [skip, out] = boundary(at.t, 10.0);
                        skip * x + out * x0
                    };
                    let later = clipped(x0_of(v, between, middle[i], second[i]));
                    (f(t, x[i], said) - f(between, middle[i], later)).powi(2)
                }
            }
        };
        let expected = all.map(error).sum::<f64>() / (BATCH * LEN) as f64;
        let off = (found / expected - 1.0).abs();
        assert!(off < 2e-5, "{method:?} {prediction} {steps:?}: {found}, {expected}");
    }
}

/// A teacher of one pixel, whatever it says: its student's error falls to next to nothing.
#[test]
fn a_toy_student_learns_what_it_is_taught() {
    const STEPS: usize = 400;
    const BATCH: usize = 64;
    let teacher = scheduler(json!({ "num_train_timesteps": 64, "beta_end": 0.1, "clip_sample": false }));
    let training = TrainingConfig {
        train_batch_size: BATCH,
        max_train_steps: STEPS,
        learning_rate: 3e-3,
        lr_warmup_steps: 0,
        ..TrainingConfig::default()
    };
    let table = table(DistillationMethod::Progressive, PredictionType::Epsilon, [8, 4]);
    let config = config(unet(32, 1), &teacher, table, training);
    let mut trainer = Trainer::new(&config, [1, 1]).unwrap();
    let mut host = Host::<f32>::new();
    trainer.load(&mut host).unwrap();
    let weights = trainer.parameters().initialize(1);
    host.upload(trainer.teacher().unwrap(), 0, &weights).unwrap();
    host.upload(trainer.buffers()[0].1, 0, &weights).unwrap();
    let mut losses = Vec::new();
    for step in 0..STEPS {
        let key = picture_key([7, 0], Purpose::TestData, step as u32);
        let pictures: Vec<f32> = (0..BATCH).map(|i| 0.3 + 0.3 * normal::<f32>(key, 0, i)).collect();
        losses.push(f64::from(trainer.step(&mut host, step, &pictures, &[]).unwrap()));
    }
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (first, last) = (mean(&losses[..10]), mean(&losses[STEPS - 10..]));
    println!("{first} {last}");
    assert!(last < 2e-3 * first, "{first} to {last}");
}

fn aquatint(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aquatint"));
    command.args(arguments).args(["--device", "cpu"]).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A model of the digits after two steps.
fn teacher(folder: &Path, flags: &[&str]) {
    let out = folder.to_str().unwrap();
    let train = ["train", "--data", "digits:even", "--steps", "2", "--batch", "4", "--out", out];
    assert!(aquatint(&[&train[..], flags].concat()).status().unwrap().success());
}

fn distil<'a>(teacher: &'a Path, out: &'a Path, flags: &[&'a str]) -> Command {
    let of = ["distill", teacher.to_str().unwrap(), "--data", "digits:even", "--out", out.to_str().unwrap()];
    aquatint(&[&of[..], flags].concat())
}

#[test]
fn a_distillation_that_is_killed_ends_with_the_same_bits_and_its_models_draw_in_their_steps() {
    let folder = tempfile::tempdir().unwrap();
    let [of, whole, killed] = ["teacher", "whole", "killed"].map(|name| folder.path().join(name));
    // Variances and classes, of which one stands for none.
    let flags = ["--classes", "--class-dropout", "0.2", "--objective", "hybrid", "--variance", "learned-range"];
    teacher(&of, &flags);
    let flags = ["--to", "2", "--from", "8", "--steps", "5", "--batch", "4", "--checkpoint-every", "1"];
    assert!(distil(&of, &whole, &flags).status().unwrap().success());
    let mut kills = 0;
    for attempt in 0_u64.. {
        assert!(attempt < 100, "it never ends");
        let mut child = distil(&of, &killed, &flags).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(40 + attempt * 60));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "attempt {attempt} failed");
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 2, "killed {kills} times only");
    for (stage, steps) in [("steps-8-v", 8), ("steps-4", 4), ("steps-2", 2)] {
        let [found, expected] = [&killed, &whole].map(|out| TrainingState::read(&out.join(stage)).unwrap());
        assert_eq!(expected.config.training.ema_max_decay, 0.0, "its learning rate falls to 0 instead");
        assert_eq!(expected.step, 5);
        runs::assert_same_bits(&found, &expected);
        let model = ModelFolder::read(&whole.join(stage)).unwrap();
        assert_eq!(model.weights, expected.buffers["ema"]);
        let chain = Chain::new(&model.scheduler, ChainOptions::default()).unwrap();
        assert_eq!((model.scheduler.class, chain.steps()), (SchedulerClass::Ddim, steps));
        assert_eq!(model.unet.config().out_channels, 1, "variances are left out");
    }
    let drawn = folder.path().join("drawn");
    let model = whole.join("steps-2");
    let sample = ["sample", model.to_str().unwrap(), "-n", "3", "--guidance", "2", "--out", drawn.to_str().unwrap()];
    assert!(aquatint(&sample).status().unwrap().success());
    assert!(drawn.join("sheet.png").exists() && whole.join("steps-2/samples/step-0000005.png").exists());
}

/// Without --checkpoint-every, what a stage has learnt is on the disk long before its end.
#[test]
fn a_stage_writes_checkpoints_on_its_way_if_nothing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let [of, out] = ["teacher", "out"].map(|name| folder.path().join(name));
    teacher(&of, &[]);
    let mut child = distil(&of, &out, &["--method", "consistency", "--steps", "400", "--batch", "1"]).spawn().unwrap();
    let state = || TrainingState::read(&out).ok();
    while child.try_wait().unwrap().is_none() && state().is_none_or(|state| state.step == 0) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let ended = child.try_wait().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((ended, state().map(|state| state.step)), (None, Some(100)));
}

#[test]
fn a_consistent_student_is_a_folder_of_an_lcm_scheduler() {
    let folder = tempfile::tempdir().unwrap();
    let [of, out] = ["teacher", "out"].map(|name| folder.path().join(name));
    teacher(&of, &[]);
    let flags = ["--method", "consistency", "--steps", "3", "--batch", "4", "--from", "20"];
    assert!(distil(&of, &out, &flags).status().unwrap().success());
    let model = ModelFolder::read(&out).unwrap();
    let chain = Chain::new(&model.scheduler, ChainOptions::default()).unwrap();
    assert_eq!((model.scheduler.class, chain.steps(), chain.draws()), (SchedulerClass::Lcm, 2, 2));
    assert_eq!(chain.stages().iter().map(|stage| stage.timestep).collect::<Vec<_>>(), [999.0, 499.0]);
    assert!(model.scheduler.clip_sample);
    // It is its moving average that is kept, and by much more than rounding another one: steps of Adam are about 5e-4.
    let state = TrainingState::read(&out).unwrap();
    assert_eq!(model.weights, state.buffers["ema"]);
    let off = state.buffers["ema"].iter().zip(&state.buffers["parameters"]).map(|(a, p)| (a - p).abs());
    assert!(off.fold(0.0, f32::max) > 2e-4);
    assert_eq!((state.config.training.ema_warmup, state.config.training.ema_max_decay), (EmaWarmup::None, 0.95));
}

#[test]
fn what_cannot_be_distilled_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let [of, sde, out] = ["teacher", "sde", "out"].map(|name| folder.path().join(name));
    teacher(&of, &[]);
    teacher(&sde, &["--schedule", "vp"]);
    let small = ["--from", "4", "--to", "2", "--steps", "2", "--batch", "4"];
    assert!(distil(&of, &out, &small).status().unwrap().success());
    let refused = |mut command: Command, words: &[&str]| {
        let output = command.stderr(Stdio::piped()).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        let line = text.lines().last().unwrap_or_default();
        assert!(!output.status.success(), "{text}");
        assert!(line.starts_with("aquatint: ") && words.iter().all(|word| line.contains(word)), "{words:?}: {text}");
    };
    let other = folder.path().join("other");
    for (flags, words) in [
        (&["--to", "0"][..], &["--to", "0"][..]),
        (&["--to", "501"], &["--to", "501", "1000"]),
        (&["--to", "4", "--from", "20"], &["--from", "20", "power of two"]),
        (&["--to", "4", "--from", "4"], &["--from", "4"]),
        (&["--to", "3", "--from", "96"], &["--from is 96", "6, 12, 24, 48"]),
        (&["--to", "48"], &["--to is 48", "96 steps", "expected 47"]),
        (&["--guidance", "2"], &["guidance", "unconditional_class"]),
        (&["--method", "consistency", "--from", "1001"], &["--from", "1001"]),
        (&["--method", "consistency", "--from", "5", "--to", "6"], &["--to", "6", "5"]),
    ] {
        refused(distil(&of, &other, flags), words);
        assert!(!other.exists(), "{flags:?}");
    }
    refused(distil(&sde, &other, &[]), &["ScoreSdeVpScheduler", "continuous time"]);
    for (flag, value) in [("--lr", "1e-3"), ("--batch", "8"), ("--seed", "9")] {
        let mut flags: Vec<&str> = small[..if flag == "--batch" { 6 } else { 8 }].to_vec();
        flags.extend([flag, value]);
        refused(distil(&of, &out, &flags), &[flag, "was started with"]);
    }
    let longer = ["--from", "4", "--to", "2", "--steps", "3", "--batch", "4"];
    refused(distil(&of, &out, &longer), &["steps-4-v", "--steps"]);
    let [stage, out] = [out.join("steps-2"), out].map(|path| path.to_str().unwrap().to_string());
    refused(aquatint(&["train", "--resume", "--out", &stage]), &["distill"]);
    // Another teacher.
    let another = folder.path().join("another");
    teacher(&another, &["--seed", "4"]);
    refused(distil(&another, Path::new(&out), &small), &["another teacher"]);
    // The same one elsewhere.
    let moved = folder.path().join("moved");
    std::fs::rename(&of, &moved).unwrap();
    assert!(distil(&moved.join("."), Path::new(&out), &small).status().unwrap().success());
}
