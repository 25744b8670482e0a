"""Chains of diffusers' schedulers, of three numbers and an affine network in double precision: golden/trajectories.json.

The network says 0.8 x + 0.1 + t / 8000 of the scaled x. The noise of a step is given: NOISE, and so on from its beginning.
Usage: venv/bin/python trajectories.py [outdir]"""

import json
import sys
from pathlib import Path

import diffusers
import torch
from diffusers.schedulers import (
    scheduling_ddpm, scheduling_dpmsolver_multistep, scheduling_euler_discrete, scheduling_lcm, scheduling_unipc_multistep)

START = [-1.3, 0.4, 2.1]
NOISE = [0.8, -1.1, 0.3, 1.7, -0.6, -0.2]
UNIPC, DPM, EULER, HEUN, DDPM, LCM = (
    "UniPCMultistepScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler", "HeunDiscreteScheduler",
    "DDPMScheduler", "LCMScheduler")
SDE = dict(algorithm_type="sde-dpmsolver++")
# The class, its configuration, what its chain is asked for. diffusers' churn is left out: its network sees x before it.
CASES = [
    *[(UNIPC, dict(keys, **spacing), dict(steps=steps)) for keys, spacing, steps in [
        ({}, {}, 10), ({}, {}, 1), ({}, {}, 2), ({}, dict(timestep_spacing="leading", steps_offset=1), 7),
        ({}, dict(timestep_spacing="trailing"), 20), (dict(solver_type="bh1", final_sigmas_type="sigma_min"), {}, 9), (dict(solver_order=1), {}, 8),
        (dict(disable_corrector=[0, 3]), {}, 8), (dict(prediction_type="v_prediction"), {}, 11),
        (dict(prediction_type="sample"), {}, 11), (dict(use_karras_sigmas=True), {}, 10),
        (dict(use_exponential_sigmas=True), {}, 10), (dict(final_sigmas_type="sigma_min"), {}, 12),
        (dict(final_sigmas_type="sigma_min", lower_order_final=False, solver_type="bh1"), {}, 12),
        (dict(final_sigmas_type="sigma_min", predict_x0=False), {}, 12),
        (dict(final_sigmas_type="sigma_min", predict_x0=False, solver_type="bh1"), {}, 10),
        (dict(beta_schedule="squaredcos_cap_v2"), {}, 10), (dict(beta_schedule="scaled_linear"), {}, 10),
        (dict(rescale_betas_zero_snr=True, prediction_type="v_prediction"), dict(timestep_spacing="trailing"), 10)]],
    *[(DPM, dict(SDE, **keys), dict(steps=steps)) for keys, steps in [
        ({}, 10), ({}, 20), (dict(solver_type="heun"), 10), (dict(solver_order=1), 8), (dict(use_karras_sigmas=True), 12),
        (dict(final_sigmas_type="sigma_min"), 10), (dict(solver_order=3), 16)]],
    (DPM, {}, dict(timesteps=[980, 700, 444, 200, 90, 31])),
    (DDPM, dict(clip_sample=False), dict(timesteps=[980, 700, 444, 200, 90, 31, 0])),
    (DDPM, dict(clip_sample=False, variance_type="fixed_large"), dict(timesteps=[999, 700, 30, 3])),
    (EULER, {}, dict(timesteps=[990, 600, 300, 120, 40, 5])),
    (HEUN, {}, dict(timesteps=[990, 600, 300, 120, 40, 5])),
    *[(LCM, keys, dict(steps=steps)) for keys, steps in [
        ({}, 1), ({}, 2), ({}, 4), (dict(clip_sample=True, clip_sample_range=0.9), 4),
        (dict(prediction_type="v_prediction", beta_schedule="linear", beta_start=1e-4, beta_end=0.02), 2),
        (dict(prediction_type="sample", original_inference_steps=36, timestep_scaling=0.02), 7),
        (dict(prediction_type="v_prediction", rescale_betas_zero_snr=True, original_inference_steps=999), 5)]],
    (LCM, {}, dict(timesteps=[999, 499, 259, 19])),
]


def run(class_name, keys, asked):
    scheduler = getattr(diffusers, class_name)(**keys)
    if "timesteps" in asked:
        scheduler.set_timesteps(timesteps=asked["timesteps"])
    else:
        scheduler.set_timesteps(asked["steps"])
    given = lambda *_, **__: torch.tensor([NOISE[(step + i) % len(NOISE)] for i in range(3)]).double().reshape(1, 1, 1, 3)
    step = 0
    for module in (scheduling_ddpm, scheduling_dpmsolver_multistep, scheduling_euler_discrete, scheduling_lcm,
                   scheduling_unipc_multistep):
        if hasattr(module, "randn_tensor"):
            module.randn_tensor = given
    x = torch.tensor(START, dtype=torch.float64).reshape(1, 1, 1, 3) * float(scheduler.init_noise_sigma)
    timesteps = scheduler.timesteps
    for number, t in enumerate(timesteps):
        # Heun's class runs twice in a step, without noise.
        step = number
        output = 0.8 * scheduler.scale_model_input(x, t) + 0.1 + float(t) / 8000
        x = scheduler.step(output, t, x).prev_sample
    return x.flatten().tolist()


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    chains = []
    for class_name, keys, asked in CASES:
        picture = run(class_name, keys, asked)
        assert all(abs(value) < 1e6 for value in picture), (class_name, keys)
        chains.append(dict(scheduler=dict(_class_name=class_name, **keys), **asked, picture=picture))
    written = dict(diffusers=diffusers.__version__, start=START, noise=NOISE, chains=chains)
    text = json.dumps(written).replace('{"scheduler"', '\n{"scheduler"')
    (folder / "trajectories.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
