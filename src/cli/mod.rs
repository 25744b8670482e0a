//! The command line: `aquatint demo`, `train`, `train-classifier`, `distill`, `sample`, `interpolate`, `invert`, `predict`,
//! `convert`, `ema`, `eval`, `judge`, `info`, `schedule`, `devices`, `check`, `bench`.

mod bench;
mod bound_table;
mod check;
mod class_labels;
mod classifier_guidance;
mod convert;
mod demo;
mod device;
mod devices;
mod distill;
mod drawer;
mod ema;
mod eval;
mod evaluate;
mod flow;
mod given_pictures;
mod guidance;
mod info;
mod interpolate;
mod invert;
mod judge;
mod likelihood;
mod model;
mod noise;
mod objective;
mod output;
mod predict;
mod progress;
mod sample;
mod sample_files;
mod sample_job;
mod sample_output;
mod sample_parts;
mod sample_path;
mod sample_record;
mod sampling;
mod schedule;
mod step_flags;
mod suggest_batch;
mod train;
mod train_classifier;

use clap::{Parser, Subcommand};
use output::note;
use std::process::ExitCode;

/// Trains diffusion models and draws pictures with them, on any GPU or on the CPU.
#[derive(Parser)]
#[command(version, about, arg_required_else_help = true, after_help = "Begin with: aquatint demo")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Demo),
    Train(train::Train),
    TrainClassifier(train_classifier::TrainClassifier),
    Distill(distill::Distill),
    Sample(Box<sample::Sample>),
    Interpolate(interpolate::Interpolate),
    Invert(invert::Invert),
    Predict(predict::Predict),
    Convert(convert::Convert),
    Ema(ema::Ema),
    #[command(visible_alias = "evaluate")]
    Eval(eval::Eval),
    Judge(judge::Judge),
    Info(info::Info),
    Schedule(schedule::Schedule),
    Devices(devices::Devices),
    Check(check::Check),
    Bench(bench::BenchCommand),
}

/// Runs the command that was typed: 0, or 1 with one line on standard error, or clap's 2 for a misused flag.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(demo) => demo.run(),
        Command::Train(train) => train.run(),
        Command::TrainClassifier(train) => train.run(),
        Command::Distill(distill) => distill.run(),
        Command::Sample(sample) => sample.run(),
        Command::Interpolate(interpolate) => interpolate.run(),
        Command::Invert(invert) => invert.run(),
        Command::Predict(predict) => predict.run(),
        Command::Convert(convert) => convert.run(),
        Command::Ema(ema) => ema.run(),
        Command::Eval(eval) => eval.run(),
        Command::Judge(judge) => judge.run(),
        Command::Info(info) => info.run(),
        Command::Schedule(schedule) => schedule.run(),
        Command::Devices(devices) => devices.run(),
        Command::Check(check) => check.run(),
        Command::Bench(bench) => bench.run(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            note!("aquatint: {error}");
            ExitCode::FAILURE
        }
    }
}
