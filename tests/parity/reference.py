"""What diffusers makes of a case: the folder on disk, one forward, chains of the schedulers."""

import contextlib
import json
import shutil
import sys
import zlib
from pathlib import Path

import diffusers
import numpy
import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file, save_file

SCHEDULERS = {
    "ddpm": diffusers.DDPMScheduler, "ddim": diffusers.DDIMScheduler, "dpmpp-2m": diffusers.DPMSolverMultistepScheduler,
    "euler": diffusers.EulerDiscreteScheduler, "heun": diffusers.HeunDiscreteScheduler,
    "unipc": diffusers.UniPCMultistepScheduler,
}
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
OLD_NAMES = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}
STEM = "diffusion_pytorch_model"


def make_unet(case):
    """The network with weights that all matter: no zeros, no ones, attention that is not flat."""
    torch.manual_seed(zlib.crc32(case["name"].encode()))
    unet = UNet2DModel(**case["unet"]).eval()
    with torch.no_grad():
        for name, p in unet.named_parameters():
            if "norm" in name:
                p += 0.2 * torch.randn_like(p)
            elif ".to_q.weight" in name or ".to_k.weight" in name:
                p *= 2
            elif name == "conv_out.weight":
                p *= 0.3  # a steep network makes chaos of a chain: rounding would grow in it past any tolerance
            elif "time_proj" in name:
                pass
            elif name.endswith("bias"):
                p += 0.05 * torch.randn_like(p)
        if case["scheduler"].get("variance_type") == "learned":  # it is taken as it comes, and its root is drawn
            half = case["unet"]["in_channels"]
            unet.conv_out.weight[half:] *= 0.01
            unet.conv_out.bias[half:] = 0.02
        for p in unet.parameters():
            p.copy_(p.to(DTYPES[case["dtype"]]).float())
    return unet


def is_possible(case):
    """Whether diffusers takes a case: its blocks refuse many combinations of channels and groups."""
    try:
        getattr(diffusers, case["scheduler_class"])(**scheduler_config(case))
        inputs = make_inputs(case)
        with torch.no_grad():
            output = run_unet(make_unet(case), inputs["sample"], inputs["timestep"], inputs.get("class_labels"))
        return bool(output.isfinite().all())
    except (NotImplementedError, ValueError, RuntimeError, TypeError, IndexError, AssertionError, ZeroDivisionError):
        return False


def size_of(unet):
    size = unet["sample_size"]
    return size if isinstance(size, list) else [size, size]


def make_inputs(case):
    """One forward's tensors."""
    generator = torch.Generator().manual_seed(zlib.crc32(case["name"].encode()) + 1)
    unet, n, last = case["unet"], case["pictures"], case["scheduler"]["num_train_timesteps"] - 1
    inputs = dict(sample=torch.randn(n, unet["in_channels"], *size_of(unet), generator=generator))
    timesteps = [last, last // 3 + 1, 1][:n]
    inputs["timestep"] = torch.tensor(timesteps)
    if case["fractional"]:
        inputs["timestep"] = inputs["timestep"] - 0.25
    labels = make_labels(case, n, generator)
    if labels is not None:
        inputs["class_labels"] = labels
    return inputs


def make_labels(case, n, generator):
    unet = case["unet"]
    if unet.get("class_embed_type") == "timestep":
        return torch.tensor([3, 711, 64][:n])
    if unet.get("class_embed_type") == "identity":
        width = unet.get("time_embedding_dim") or 4 * unet["block_out_channels"][0]
        return torch.randn(n, width, generator=generator)
    if unet.get("num_class_embeds"):
        return torch.tensor([(5 * i + 1) % unet["num_class_embeds"] for i in range(n)])
    return None


def run_unet(unet, sample, timestep, labels):
    return unet(sample, timestep, labels).sample if labels is not None else unet(sample, timestep).sample


def scheduler_config(case):
    config = dict(case["scheduler"])
    if config.get("trained_betas") == "ramp":
        t = config["num_train_timesteps"]
        config["trained_betas"] = [0.001 + 0.08 * (i / t) ** 2 for i in range(t)]
    return config


def write_folder(case, folder):
    """The case as a folder, in its layout; the network that was written."""
    unet = make_unet(case)
    scheduler = getattr(diffusers, case["scheduler_class"])(**scheduler_config(case))
    shutil.rmtree(folder, ignore_errors=True)
    layout = case["layout"]
    stored = unet.to(DTYPES[case["dtype"]])
    pipeline = folder / "pipeline"
    stored.save_pretrained(
        pipeline / "unet", safe_serialization="bin" not in layout,
        max_shard_size="16KB" if layout.startswith("sharded") else "10GB")
    scheduler.save_pretrained(pipeline / "scheduler")
    unet.float()
    index = {"_class_name": "DDPMPipeline", "_diffusers_version": diffusers.__version__,
             "scheduler": ["diffusers", case["scheduler_class"]], "unet": ["diffusers", "UNet2DModel"]}
    (pipeline / "model_index.json").write_text(json.dumps(index, indent=2))
    if case["old_names"]:
        rename_attention(pipeline / "unet")
    if case["sparse"]:
        drop_defaults(pipeline / "unet/config.json", case["unet"])
        drop_defaults(pipeline / "scheduler/scheduler_config.json", case["scheduler"])
    model = folder / "model"
    if layout.startswith("flat") or layout == "single":
        (pipeline / "unet").rename(model)
        (pipeline / "scheduler/scheduler_config.json").rename(model / "scheduler_config.json")
        shutil.rmtree(pipeline)
    else:
        pipeline.rename(model)
    return unet


def rename_attention(folder):
    """The names that attention had before diffusers 0.17."""
    def old(name):
        if "attentions" in name:
            for new, before in OLD_NAMES.items():
                name = name.replace(new, before)
        return name

    for path in folder.glob(f"{STEM}*"):
        if path.suffix == ".json":
            index = json.loads(path.read_text())
            index["weight_map"] = {old(name): file for name, file in index["weight_map"].items()}
            path.write_text(json.dumps(index))
        elif path.suffix == ".bin":
            torch.save({old(name): t for name, t in torch.load(path).items()}, path)
        else:
            save_file({old(name): t for name, t in load_file(path).items()}, path, metadata={"format": "pt"})


def drop_defaults(path, said):
    """Leaves only the keys that were said, as configurations of old versions do."""
    config = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in config.items() if k.startswith("_") or k in said}, indent=2))


def saved_scheduler(case, folder):
    """What is on disk, as diffusers reads it: what a file leaves out takes the defaults of the class that it becomes."""
    path = folder / "model"
    return path if case["layout"].startswith("flat") else path / "scheduler"


def make_noise(case, steps):
    """x_T, and the noise of every step, as a file of halves can hold it; fewer steps have the first of the same."""
    generator = torch.Generator().manual_seed(zlib.crc32(case["name"].encode()) + 2)
    shape = [case["pictures"], case["unet"]["in_channels"], *size_of(case["unet"])]
    initial = torch.randn(shape, generator=generator)
    return initial, torch.stack([torch.randn(shape, generator=generator).half().float() for _ in range(steps)])


class InDoubles:
    """torch or numpy, with doubles where singles are asked for."""

    def __init__(self, module):
        self.module = module

    def __getattr__(self, name):
        return getattr(self.module, "float64" if name == "float32" else name)


@contextlib.contextmanager
def schedulers_with(noise, dtype):
    """Lets diffusers' schedulers draw what `noise` returns, and compute in a precision."""
    modules = [sys.modules[scheduler.__module__] for scheduler in SCHEDULERS.values()]
    changes = {"randn_tensor": lambda *_, **__: noise()}
    if dtype == torch.float64:
        changes |= {"torch": InDoubles(torch), "np": InDoubles(numpy)}
    before = [(module, name, getattr(module, name)) for module in modules for name in changes if hasattr(module, name)]
    try:
        for module, name, _ in before:
            setattr(module, name, changes[name])
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def has_schedule(sampler, schedule):
    """Whether diffusers' class makes these betas."""
    return {"sigmoid": sampler == "ddpm", "laplace": sampler == "ddpm", "exp": sampler == "heun"}.get(schedule, True)


def uses_noise(case, chain):
    """Whether a chain's steps draw."""
    sampler, _, eta = chain
    stochastic = case["scheduler"].get("algorithm_type", "").startswith("sde")
    return sampler == "ddpm" or eta > 0 or (sampler == "dpmpp-2m" and stochastic)


def run_chain(case, unet, folder, chain, dtype=torch.float32):
    """x_0 of a chain whose noise is given."""
    number = 0
    x, noise = (tensor.to(dtype) for tensor in make_noise(case, chain[1]))
    with schedulers_with(lambda: noise[number], dtype), torch.no_grad():
        scheduler = chain_scheduler(case, folder, chain)
        x = x * scheduler.init_noise_sigma
        labels = make_labels(case, case["pictures"], torch.Generator().manual_seed(0))
        channels = x.shape[1]
        for number, t in enumerate(scheduler.timesteps):
            output = run_unet(unet, scheduler.scale_model_input(x, t).to(dtype), t, labels)
            if chain[0] != "ddpm":
                output = output[:, :channels]  # what there is of a predicted variance is the ancestral sampler's
            more = dict(eta=chain[2], variance_noise=noise[number]) if chain[0] == "ddim" and chain[2] > 0 else {}
            x = scheduler.step(output, t, x, **more).prev_sample
    return x


def chain_scheduler(case, folder, chain):
    """The chain's scheduler, with its timesteps."""
    sampler, steps, _ = chain
    own = getattr(diffusers, case["scheduler_class"]).from_pretrained(saved_scheduler(case, folder))
    config = dict(own.config)
    if config.get("variance_type") == "fixed_large_log":
        # diffusers draws with the root of the logarithm, which is not a number: the variance meant is fixed_large's.
        config["variance_type"] = "fixed_large"
    if not has_schedule(sampler, config.get("beta_schedule")):
        config["trained_betas"] = own.betas.tolist()
        # What a file leaves out is listed here, and taken from the class.
        config["_use_default_values"] = [key for key in config.get("_use_default_values", []) if key != "trained_betas"]
    scheduler = SCHEDULERS[sampler].from_config(config)
    scheduler.set_timesteps(steps)
    if len(scheduler.timesteps) != (2 * steps - 1 if sampler == "heun" else steps):
        raise ValueError(f"diffusers makes {len(scheduler.timesteps)} timesteps of {steps} steps")
    return scheduler


def chain_floor(case, unet, folder, chain, expected):
    """How far rounding alone carries a chain: network and scheduler in double precision, relative to the largest."""
    hook = None
    if isinstance(unet.class_embedding, torch.nn.Module) and case["unet"].get("class_embed_type"):
        hook = unet.class_embedding.register_forward_pre_hook(lambda _, inputs: tuple(t.double() for t in inputs))
    exact = run_chain(case, unet.double(), folder, chain, torch.float64)
    unet.float()
    if hook:
        hook.remove()
    return difference(expected, exact)


def difference(found, expected):
    """The largest |difference|, relative to the largest expected number; infinite where one of them is not a number."""
    if found.shape != expected.shape or not found.isfinite().all() or not expected.isfinite().all():
        return float("inf")
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max())
