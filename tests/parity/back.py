"""And back: folders that aquatint writes, opened by diffusers."""

import warnings

import torch
from diffusers import DDPMPipeline

import program as aquatint
import reference

DIGITS = "digits"
NETWORK = """
[unet]
in_channels = 1
out_channels = 1
block_out_channels = [8, 16]
down_block_types = ["DownBlock2D", "AttnDownBlock2D"]
up_block_types = ["AttnUpBlock2D", "UpBlock2D"]
layers_per_block = 1
norm_num_groups = 4
"""
CASES = ["trained", "trained-half"]


def compare(name, program, folder):
    """Trains a few steps, opens the folder with `DDPMPipeline`, draws with it, and compares a chain: (name, error)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(NETWORK)
    run = folder / "run"
    aquatint.run(program, "train", "--data", DIGITS, "--out", run, "--config", folder / "config.toml", "--steps", 20,
                 "--batch", 8, "--device", "cpu", "--warmup", 1)
    model = folder / "model"
    if name == "trained-half":
        aquatint.run(program, "convert", run, "--out", model, "--dtype", "f16")
    else:
        run.rename(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipeline = DDPMPipeline.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(num_inference_steps=3, output_type="np").images
    assert drawn.shape[0] == 1 and torch.from_numpy(drawn).isfinite().all()
    unet = pipeline.unet.float().eval()
    size = unet.config.sample_size
    case = dict(
        name=name, layout="pipeline", pictures=2, scheduler_class="DDPMScheduler",
        scheduler=dict(pipeline.scheduler.config),
        unet=dict(in_channels=1, sample_size=size if isinstance(size, int) else list(size)),
    )
    chain = ("ddim", 10, 0.0)
    expected = reference.run_chain(case, unet, folder, chain)
    return [("back ddim-10", reference.difference(aquatint.sample(program, case, folder, "cpu", chain), expected))]
