"""Configurations to compare: a fixed spread that has every key at least once away from its default, and random ones."""

import copy
import random

CHAINS = [("ddim", 10, 0.0), ("dpmpp-2m", 12, 0.0), ("ddpm", 50, 0.0)]

# What a configuration is when a case says nothing else: small, with attention at the coarse level.
UNET = dict(
    sample_size=8, in_channels=3, out_channels=3, block_out_channels=[8, 16], layers_per_block=1, norm_num_groups=4,
    attention_head_dim=8, down_block_types=["DownBlock2D", "AttnDownBlock2D"],
    up_block_types=["AttnUpBlock2D", "UpBlock2D"],
)
SCHEDULER = dict(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02)


def case(name, unet=None, scheduler=None, **other):
    found = dict(
        name=name, unet={**UNET, **(unet or {})}, scheduler_class="DDPMScheduler",
        scheduler={**SCHEDULER, **(scheduler or {})}, layout="pipeline", dtype="f32", old_names=False, sparse=False,
        pictures=2, chains=CHAINS, fractional=False,
    )
    found.update(other)
    return found


def blocks(down, up=None):
    """The keys of block types; those of the way up mirror those of the way down unless they are given."""
    return dict(down_block_types=down, up_block_types=up or [UP[block] for block in reversed(down)])


UP = {
    "DownBlock2D": "UpBlock2D", "AttnDownBlock2D": "AttnUpBlock2D", "ResnetDownsampleBlock2D": "ResnetUpsampleBlock2D",
    "SkipDownBlock2D": "SkipUpBlock2D", "AttnSkipDownBlock2D": "AttnSkipUpBlock2D",
}
SKIP = dict(block_out_channels=[32, 32], norm_num_groups=8, **blocks(["SkipDownBlock2D", "AttnSkipDownBlock2D"]))


def fixed():
    """Every block type, every key and every file layout at least once."""
    ddpm_cifar = dict(
        block_out_channels=[16, 16, 24], layers_per_block=2, attention_head_dim=None, norm_eps=1e-6, freq_shift=1,
        flip_sin_to_cos=False, downsample_padding=0, sample_size=16, norm_num_groups=8,
        **blocks(["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"]),
    )
    plain = [
        case("plain"),
        case("ddpm-cifar", ddpm_cifar, layout="flat", old_names=True, sparse=True),
        case("one-level", dict(block_out_channels=[16], **blocks(["AttnDownBlock2D"]))),
        case("rectangle", dict(sample_size=[8, 16])),
        case("grey-32", dict(sample_size=32, in_channels=1, out_channels=1), pictures=1),
        case("resnet-blocks", blocks(["ResnetDownsampleBlock2D", "ResnetDownsampleBlock2D"])),
        case("resnet-resampling", dict(downsample_type="resnet", upsample_type="resnet",
                                       **blocks(["AttnDownBlock2D", "DownBlock2D"]))),
        case("resnet-up-only", dict(upsample_type="resnet", **blocks(["AttnDownBlock2D", "AttnDownBlock2D"]))),
        case("skip", SKIP, pictures=1),
        case("skip-three", {**SKIP, "block_out_channels": [32, 32, 64], "attention_head_dim": None,
                            **blocks(["SkipDownBlock2D", "AttnSkipDownBlock2D", "SkipDownBlock2D"])}, pictures=1),
        case("skip-mixed", {**SKIP, **blocks(["SkipDownBlock2D", "DownBlock2D"], ["UpBlock2D", "SkipUpBlock2D"])}),
        case("ncsnpp", {**SKIP, "time_embedding_type": "fourier", "mid_block_scale_factor": 1.41421356,
                        "center_input_sample": False, "attn_norm_num_groups": 8},
             dict(steps_offset=1), pictures=1),
        case("fourier", dict(time_embedding_type="fourier"), dict(steps_offset=1), fractional=True),
        case("learned-times", dict(time_embedding_type="learned", num_train_timesteps=500), dict(num_train_timesteps=500)),
        case("no-middle", dict(mid_block_type=None)),
        case("scale-shift", dict(resnet_time_scale_shift="scale_shift")),
        case("scale-shift-norm", dict(resnet_time_scale_shift="scale_shift", attn_norm_num_groups=2,
                                      **blocks(["ResnetDownsampleBlock2D", "AttnDownBlock2D"]))),
        case("attention-groups", dict(attn_norm_num_groups=8)),
        case("heads", dict(attention_head_dim=4, **blocks(["AttnDownBlock2D", "AttnDownBlock2D"]))),
        case("no-attention", dict(add_attention=False, **blocks(["DownBlock2D", "DownBlock2D"]))),
        case("centered", dict(center_input_sample=True, mid_block_scale_factor=2.0, dropout=0.3)),
        case("embedding", dict(time_embedding_dim=20, freq_shift=1, flip_sin_to_cos=False), fractional=True),
        case("padding-0", dict(downsample_padding=0, block_out_channels=[8, 12, 16], norm_eps=1e-3, layers_per_block=2,
                               **blocks(["AttnDownBlock2D", "DownBlock2D", "AttnDownBlock2D"]))),
        case("classes", dict(num_class_embeds=7)),
        case("classes-timestep", dict(class_embed_type="timestep")),
        case("classes-identity", dict(class_embed_type="identity"), chains=[]),
        case("asymmetric", blocks(["AttnDownBlock2D", "ResnetDownsampleBlock2D"], ["UpBlock2D", "AttnUpBlock2D"])),
        case("other-channels", dict(in_channels=4, out_channels=2), chains=[]),
    ]
    plain += [case(f"act-{act}", dict(act_fn=act)) for act in ("swish", "mish", "gelu", "relu")]
    learned = dict(out_channels=6)
    schedules = [
        case("learned-range", learned, dict(variance_type="learned_range", beta_schedule="squaredcos_cap_v2")),
        case("learned", learned, dict(variance_type="learned")),
        case("large", None, dict(variance_type="fixed_large", beta_schedule="scaled_linear")),
        case("large-log", None, dict(variance_type="fixed_large_log", beta_schedule="sigmoid")),
        case("small-log", None, dict(variance_type="fixed_small_log", clip_sample_range=2.5)),
        case("predicts-sample", None, dict(prediction_type="sample", clip_sample=False)),
        case("predicts-v", None, dict(prediction_type="v_prediction", beta_schedule="squaredcos_cap_v2")),
        case("zero-snr", None, dict(prediction_type="v_prediction", rescale_betas_zero_snr=True,
                                    timestep_spacing="trailing")),
        case("thresholding", None, dict(thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=1.5)),
        case("linspace", None, dict(timestep_spacing="linspace")),
        case("trailing", None, dict(timestep_spacing="trailing", num_train_timesteps=300)),
        case("offset", None, dict(steps_offset=1, beta_start=0.002, beta_end=0.03, num_train_timesteps=600)),
        case("trained-betas", None, dict(num_train_timesteps=64, trained_betas="ramp")),
        case("ddim-folder", None, dict(set_alpha_to_one=False, clip_sample=False, steps_offset=1),
             scheduler_class="DDIMScheduler", chains=[("ddim", 10, 0.0), ("ddim", 10, 0.7), *CHAINS[1:]]),
        case("dpm-folder", None, dict(beta_schedule="scaled_linear"), scheduler_class="DPMSolverMultistepScheduler"),
        case("euler-folder", None, dict(beta_schedule="scaled_linear"), scheduler_class="EulerDiscreteScheduler",
             chains=[*CHAINS, ("euler", 10, 0.0), ("heun", 8, 0.0)]),
        case("heun-folder", None, None, scheduler_class="HeunDiscreteScheduler",
             chains=[*CHAINS, ("euler", 10, 0.0), ("heun", 8, 0.0)]),
        case("euler-from-ddpm", None, None, chains=[*CHAINS, ("euler", 11, 0.0), ("heun", 7, 0.0)]),
        case("unipc-from-ddpm", None, None, chains=[*CHAINS, ("unipc", 11, 0.0)]),
        case("unipc-folder", None, dict(use_karras_sigmas=True), scheduler_class="UniPCMultistepScheduler",
             chains=[*CHAINS, ("unipc", 8, 0.0)]),
        case("sparse-ddpm", None, None, sparse=True),
    ]
    layouts = [
        case("half", None, None, dtype="f16"),
        case("bfloat16", None, None, dtype="bf16"),
        case("pickled", None, None, layout="bin"),
        case("pickled-half", None, None, layout="bin", dtype="f16", old_names=True),
        case("sharded", None, None, layout="sharded"),
        case("sharded-bin", None, None, layout="sharded-bin", dtype="bf16"),
        case("flat", None, None, layout="flat", dtype="bf16"),
        case("flat-pickled", None, None, layout="flat-bin", old_names=True),
        case("single", None, None, layout="single", chains=[]),
    ]
    return plain + schedules + layouts


def random_unet(draw):
    levels = draw.choice([1, 2, 2, 3])
    family = draw.choice(["plain", "plain", "plain", "skip"])
    down_types = {
        "plain": ["DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"],
        "skip": ["SkipDownBlock2D", "AttnSkipDownBlock2D", "DownBlock2D"],
    }[family]
    down = [draw.choice(down_types) for _ in range(levels)]
    up = [UP[draw.choice(down_types)] for _ in range(levels)] if draw.random() < 0.5 else None
    groups = draw.choice([1, 2, 4, 8])
    channels = [draw.choice([8, 16, 24, 32]) if family == "plain" else 32 for _ in range(levels)]
    multiple = 1 << (levels - 1)
    side = lambda: draw.choice([8, 12, 16, 20]) // multiple * multiple  # noqa: E731
    size = side()
    inputs = 3 if family == "skip" else draw.choice([1, 3, 3])
    unet = dict(
        sample_size=size if draw.random() < 0.6 else [size, side()], in_channels=inputs, out_channels=inputs,
        block_out_channels=channels, layers_per_block=draw.choice([1, 1, 2]), norm_num_groups=groups,
        attention_head_dim=draw.choice([None, 4, 8, 8]), norm_eps=draw.choice([1e-5, 1e-6, 1e-3]),
        downsample_padding=draw.choice([0, 1]), flip_sin_to_cos=draw.random() < 0.5, freq_shift=draw.choice([0, 1]),
        time_embedding_dim=draw.choice([None, None, 12, 40]), act_fn=draw.choice(["silu", "silu", "swish", "mish", "gelu", "relu"]),
        resnet_time_scale_shift=draw.choice(["default", "scale_shift"]),
        downsample_type=draw.choice(["conv", "resnet"]), upsample_type=draw.choice(["conv", "resnet"]),
        mid_block_scale_factor=draw.choice([1, 1, 1.41421356, 0.5]), add_attention=draw.random() < 0.75,
        center_input_sample=draw.random() < 0.3, dropout=draw.choice([0.0, 0.1]),
        attn_norm_num_groups=draw.choice([None, None, 4]),
        time_embedding_type=draw.choice(["positional"] * 5 + ["fourier"] * 2 + ["learned"]),
        mid_block_type=draw.choice(["UNetMidBlock2D"] * 7 + [None]),
        **blocks(down, up),
    )
    classes = draw.choice(["none", "none", "embedding", "timestep"])
    if classes == "embedding":
        unet["num_class_embeds"] = draw.choice([2, 5, 11])
    elif classes == "timestep" and unet["time_embedding_type"] != "learned":
        unet["class_embed_type"] = "timestep"
    return unet


CLASSES = {
    "DDPMScheduler": "ddpm", "DDIMScheduler": "ddim", "DPMSolverMultistepScheduler": "dpmpp-2m",
    "EulerDiscreteScheduler": "euler", "HeunDiscreteScheduler": "heun", "UniPCMultistepScheduler": "unipc",
}


def random_scheduler(draw, unet):
    steps = draw.choice([1000, 1000, 500, 100])
    beta_start, beta_end = draw.choice([(1e-4, 0.02), (8.5e-4, 0.012), (2e-4, 0.05)])
    scheduler = dict(
        num_train_timesteps=steps, beta_start=beta_start, beta_end=beta_end,
        prediction_type=draw.choice(["epsilon", "epsilon", "sample", "v_prediction"]),
        timestep_spacing=draw.choice(["leading", "linspace", "trailing"]), steps_offset=draw.choice([0, 0, 1]),
    )
    classes = ["DDPMScheduler"] * 5 + ["DDIMScheduler"] * 2 + ["DPMSolverMultistepScheduler"] * 5
    name = draw.choice(classes + ["EulerDiscreteScheduler"] * 4 + ["HeunDiscreteScheduler"] * 3)
    schedules = dict(DDPMScheduler=["sigmoid", "laplace"], HeunDiscreteScheduler=["exp"]).get(name, [])
    scheduler["beta_schedule"] = draw.choice(["linear", "scaled_linear", "squaredcos_cap_v2", *schedules])
    if draw.random() < 0.15:
        scheduler.update(trained_betas="ramp", num_train_timesteps=100)
    # With noise alone at the last timestep, epsilon says nothing about the picture.
    if name != "HeunDiscreteScheduler" and scheduler["prediction_type"] != "epsilon" and draw.random() < 0.4:
        scheduler.update(rescale_betas_zero_snr=True, timestep_spacing="trailing")
    # log(0), and a division by it, is not a number.
    if unet["time_embedding_type"] == "fourier" and scheduler["timestep_spacing"] != "trailing":
        scheduler.update(steps_offset=1, timestep_spacing="leading")
    scheduler.update(OF_CLASS[name](draw))
    learned = scheduler.get("variance_type", "").startswith("learned")
    if learned and any("Skip" in block for block in unet["up_block_types"]):
        # Their pictures are added to the output: there is no room for a variance.
        scheduler["variance_type"] = "fixed_small"
    elif learned:
        unet["out_channels"] = 2 * unet["in_channels"]
    if scheduler["timestep_spacing"] == "leading" and scheduler["num_train_timesteps"] == 100 and scheduler["steps_offset"]:
        scheduler["num_train_timesteps"] = 500
        scheduler.pop("trained_betas", None)
    return name, scheduler


def random_clipping(draw):
    return dict(clip_sample=draw.random() < 0.6, clip_sample_range=draw.choice([1.0, 1.0, 2.0]))


def random_thresholding(draw):
    return dict(thresholding=draw.random() < 0.2, dynamic_thresholding_ratio=draw.choice([0.995, 0.8]),
                sample_max_value=draw.choice([1.0, 2.0]))


def random_ladder(draw, more=()):
    """At most one of the ladders of noise levels."""
    ladders = ["use_karras_sigmas", "use_karras_sigmas", "use_exponential_sigmas", *more]
    return {draw.choice(ladders): True} if draw.random() < 0.5 else {}


def random_ddpm(draw):
    variances = ["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range"]
    return dict(variance_type=draw.choice(variances), **random_clipping(draw), **random_thresholding(draw))


def random_ddim(draw):
    return dict(set_alpha_to_one=draw.random() < 0.5, **random_clipping(draw), **random_thresholding(draw))


def random_dpm(draw):
    algorithm = draw.choice(["dpmsolver++", "dpmsolver++", "sde-dpmsolver++", "dpmsolver", "sde-dpmsolver"])
    found = dict(
        algorithm_type=algorithm, solver_order=draw.choice([1, 2] if algorithm == "sde-dpmsolver" else [1, 2, 2, 3]),
        solver_type=draw.choice(["midpoint", "heun"]), lower_order_final=draw.random() < 0.7,
        euler_at_final=draw.random() < 0.3,
        final_sigmas_type=draw.choice(["zero", "sigma_min"]) if "++" in algorithm else "sigma_min",
        **random_ladder(draw, ["use_lu_lambdas"]), **random_thresholding(draw),
    )
    if not any(key.startswith("use_") for key in found) and draw.random() < 0.3:
        found["lambda_min_clipped"] = draw.choice([-5.1, -3.0])
    return found


def random_unipc(draw):
    predicts_x0 = draw.random() < 0.8
    return dict(
        solver_order=draw.choice([1, 2, 2]), solver_type="bh2" if predicts_x0 and draw.random() < 0.6 else "bh1",
        predict_x0=predicts_x0, disable_corrector=draw.choice([[], [], [0], [1, 3]]),
        # With B(h) = h, and with the noise's prediction, diffusers divides infinity by itself at no noise.
        final_sigmas_type="sigma_min", **random_thresholding(draw),
    )


def random_euler(draw):
    found = dict(interpolation_type=draw.choice(["linear", "linear", "log_linear"]),
                 final_sigmas_type=draw.choice(["zero", "zero", "sigma_min"]), **random_ladder(draw))
    if draw.random() < 0.3:
        found.update(sigma_min=0.05, sigma_max=20.0)
    return found


def random_heun(draw):
    return dict(**random_clipping(draw), **random_ladder(draw))


OF_CLASS = {
    "DDPMScheduler": random_ddpm, "DDIMScheduler": random_ddim, "DPMSolverMultistepScheduler": random_dpm,
    "EulerDiscreteScheduler": random_euler, "HeunDiscreteScheduler": random_heun,
    "UniPCMultistepScheduler": random_unipc,
}


def random_chains(draw, scheduler_class, is_learned):
    """Chains of the folder's own class and of others."""
    chains = copy.copy(CHAINS)
    if draw.random() < 0.3:
        chains[0] = ("ddim", 10, draw.choice([0.3, 1.0]))
    own = CLASSES[scheduler_class]
    if own in ("dpmpp-2m", "unipc", "euler", "heun"):
        chains = [(own, draw.choice([1, 2, 5, 10, 20, draw.randint(2, 40)]), 0.0), draw.choice(chains)]
    elif draw.random() < 0.3 and not is_learned:
        chains.append((draw.choice(["euler", "heun", "unipc"]), draw.choice([5, 10, 20]), 0.0))
    return chains


def randomly(seed, attempt):
    """The random case of a seed and an attempt; the same for the same two."""
    draw = random.Random(f"{seed}/{attempt}")
    unet = random_unet(draw)
    scheduler_class, scheduler = random_scheduler(draw, unet)
    # A vector for each timestep, none between two.
    if scheduler_class in ("EulerDiscreteScheduler", "HeunDiscreteScheduler") and unet["time_embedding_type"] == "learned":
        unet["time_embedding_type"] = "positional"
    is_learned = unet["time_embedding_type"] == "learned"
    if is_learned:
        unet["num_train_timesteps"] = scheduler["num_train_timesteps"]
    chains = random_chains(draw, scheduler_class, is_learned)
    return dict(
        name=f"random-{seed}-{attempt}", unet=unet, scheduler_class=scheduler_class, scheduler=scheduler,
        layout=draw.choice(["pipeline"] * 4 + ["flat", "bin", "sharded", "flat-bin", "sharded-bin"]),
        dtype=draw.choice(["f32", "f32", "f16", "bf16"]), old_names=draw.random() < 0.3, sparse=draw.random() < 0.3,
        pictures=draw.choice([1, 2, 3]), chains=chains, fractional=draw.random() < 0.3 and not is_learned,
    )


def differences(found):
    """What a case has that the plain one does not, for its line."""
    plain = case("plain")
    parts = [f"{key}={found[key]}" for key in ("layout", "dtype", "old_names", "sparse", "scheduler_class")
             if found[key] != plain[key]]
    for group in ("unet", "scheduler"):
        parts += [f"{key}={value}" for key, value in found[group].items()
                  if plain[group].get(key, "not said") != value]
    return " ".join(parts)
