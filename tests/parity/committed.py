"""The cases of tests/parity.rs: tiny networks, with what diffusers makes of them."""

import json
import shutil

import torch
from safetensors.torch import save_file

import configs
import reference

LIMIT = 3_000_000
# Names of configs.fixed(), and what is changed to make them small. Weights are in half precision where the case is not
# about single.
NAMES = {
    "plain": dict(dtype="f32"), "ddpm-cifar": dict(unet=dict(block_out_channels=[8, 8, 16], sample_size=8, layers_per_block=1)),
    "rectangle": dict(unet=dict(sample_size=[6, 10])), "resnet-blocks": {}, "resnet-resampling": {}, "skip": dict(unet=dict(time_embedding_dim=16)),
    "skip-mixed": dict(unet=configs.blocks(["SkipDownBlock2D", "DownBlock2D"], ["UpBlock2D", "UpBlock2D"])
                       | dict(block_out_channels=[8, 16], norm_num_groups=4)),
    "fourier": {}, "scale-shift-norm": {}, "centered": {}, 
    "classes": {}, "classes-timestep": {}, "act-mish": {}, "learned-range": {}, "predicts-v": {}, "zero-snr": {},
    "thresholding": {}, "trained-betas": {}, "ddim-folder": {}, "euler-folder": {}, "heun-folder": {},
    "pickled": dict(dtype="f32"), "pickled-half": {}, "sharded": {}, "flat": {}, "flat-pickled": {},
}
SMALL = dict(block_out_channels=[8, 8])


def write(folder):
    """All cases under a folder; ends with an error if they are too large."""
    cases = {case["name"]: case for case in configs.fixed()}
    shutil.rmtree(folder, ignore_errors=True)
    for name, changes in NAMES.items():
        case = cases[name]
        unet = {**case["unet"], **changes.get("unet", {})}
        if unet["block_out_channels"] == configs.UNET["block_out_channels"] and "unet" not in changes:
            unet.update(SMALL)
        dtype = changes.get("dtype", "f16" if case["dtype"] == "f32" else case["dtype"])
        write_case({**case, "unet": unet, "dtype": dtype, "pictures": 1}, folder / name)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{len(NAMES)} cases, {size / 1e6:.2f} MB in {folder}")
    if size > LIMIT:
        raise SystemExit(f"more than {LIMIT / 1e6} MB")


def write_case(case, folder):
    unet = reference.write_folder(case, folder)
    inputs = reference.make_inputs(case)
    tensors = {f"in/{name}": tensor for name, tensor in inputs.items()}
    with torch.no_grad():
        tensors["output"] = reference.run_unet(unet, inputs["sample"], inputs["timestep"], inputs.get("class_labels"))
    steps = max((chain[1] for chain in case["chains"] if chain[0] == "ddpm" or chain[2] > 0), default=1)
    initial, noise = reference.make_noise(case, steps)
    tensors |= {"initial": initial, "noise": noise.half()}
    for number, chain in enumerate(case["chains"]):
        x0 = reference.run_chain(case, unet, folder, chain)
        floor = reference.chain_floor(case, unet, folder, chain, x0)
        if not floor < 3e-4:
            raise SystemExit(f"{case['name']} {chain}: rounding alone grows to {floor:.1e}")
        tensors[f"chain/{number}"] = x0
    about = dict(chains=json.dumps(case["chains"]), configuration=configs.differences(case))
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / "expected.safetensors", metadata=about)
