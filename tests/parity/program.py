"""aquatint, run on a case's folder."""

import os
import subprocess
from pathlib import Path

from safetensors.torch import load_file, save_file

import reference

REPOSITORY = Path(__file__).resolve().parents[2]


class Failed(Exception):
    """The program ended with an error, or not at all."""


def run(program, *arguments):
    """Runs the program; what it said is in the exception where it failed."""
    command = [str(program), *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"no end after 600 s: {' '.join(command)}") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise Failed(f"{lines[-1]}\n    {' '.join(command)}")
    return done.stdout


def device_arguments(device):
    return ["--device", device] if device == "cpu" else ["--device", device, "--no-tuning"]


def model_path(case, folder):
    return folder / "model" / f"{reference.STEM}.safetensors" if case["layout"] == "single" else folder / "model"


def predict(program, case, folder, device, inputs):
    """One forward, [N, C, H, W]."""
    save_file(inputs, folder / "input.safetensors")
    output = folder / f"output-{device_name(device)}.safetensors"
    run(program, "predict", model_path(case, folder), "--input", folder / "input.safetensors", "--output", output,
        *device_arguments(device))
    return load_file(output)["output"]


def sample(program, case, folder, device, chain):
    """x_0 of a chain with the noise that diffusers had."""
    sampler, steps, eta = chain
    initial, noise = reference.make_noise(case, steps)
    files = {name: folder / f"{name}-{sampler}-{eta}.safetensors" for name in ("initial", "noise")}
    save_file({"noise": initial}, files["initial"])
    save_file({"noise": noise}, files["noise"])
    output = folder / f"{sampler}-{eta}-{device_name(device)}.safetensors"
    more = ["--step-noise", files["noise"]] if reference.uses_noise(case, chain) else []
    # The folder's own scheduler is taken as it comes.
    more += ["--sampler", sampler] if reference.SCHEDULERS[sampler].__name__ != case["scheduler_class"] else []
    more += ["--eta", eta] if eta > 0 else []
    # Where diffusers takes another step than its own timesteps say, the comparison is with what it does.
    more += ["--diffusers-exact"] if sampler == "ddim" else []
    labels = reference.make_labels(case, case["pictures"], None)
    if labels is not None:
        more += ["--class", ",".join(str(int(label)) for label in labels)]
    run(program, "sample", folder / "model", "--steps", steps, "--init-noise", files["initial"],
        "--tensors", output, "--out", folder / "pictures", "-n", case["pictures"], *more, *device_arguments(device))
    return load_file(output)["sample"]


def device_name(device):
    return device.replace(":", "-")


def default_program():
    return REPOSITORY / "target/release/aquatint"


def gpu_device():
    """What scripts/with-vulkan has brought, or what it was told."""
    return os.environ.get("AQUATINT_TEST_DEVICE", "gpu")
