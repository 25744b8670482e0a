#!/usr/bin/env python3
"""Times PyTorch on aquatint's benchmark cases and prints one JSON object a line.

The U-Nets are diffusers' `UNet2DModel`; `train` is one step of epsilon prediction with Adam and an
average of the weights. The block is conv 3x3, GroupNorm(8), SiLU, conv 3x3 of 64 channels on
32x32 pictures, its backward pass with the gradient of the input. Inputs and weights of everything
but the U-Nets come from `fill`, as in the other peers, and "check" holds a few numbers of the result.
"""
import argparse
import json
import math
import re
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

VARIANTS = ("plain", "channels_last", "compile", "tf32", "amp", "double")

UNETS = {
    "TINY": dict(sample_size=16, in_channels=1, out_channels=1, block_out_channels=(32, 64), layers_per_block=1,
                 norm_num_groups=8, attention_head_dim=None, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
                 up_block_types=("AttnUpBlock2D", "UpBlock2D")),
    "MNIST": dict(sample_size=32, in_channels=1, out_channels=1, block_out_channels=(32, 64, 128), layers_per_block=2,
                  norm_num_groups=8, attention_head_dim=None,
                  down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
                  up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D")),
    # Ho et al.'s network for CIFAR-10, 35.7M parameters.
    "CIFAR": dict(sample_size=32, in_channels=3, out_channels=3, block_out_channels=(128, 256, 256, 256),
                  layers_per_block=2, norm_num_groups=32, norm_eps=1e-6, attention_head_dim=None,
                  downsample_padding=0, flip_sin_to_cos=False, freq_shift=1,
                  down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
                  up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D")),
}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("cases", nargs="+", metavar="CASE", help="for example block/train/b16, matmul/512, train/CIFAR/b2")
parser.add_argument("--device", default="cpu", choices=("cpu", "cuda", "vulkan"))
parser.add_argument("--variant", default="plain", metavar="A+B", help=f"any of {', '.join(VARIANTS)}, joined with +")
parser.add_argument("--seconds", type=float, default=3, help="how long to repeat a case, at least once")
parser.add_argument("--flops", action="store_true", help="count the operations of a U-Net instead of timing it")
parser.add_argument("--memory", action="store_true",
                    help="the most bytes of tensors in a U-Net's training step, by PyTorch's MemTracker: nothing is run")
args = parser.parse_args()
variant = set(args.variant.split("+"))
if unknown := variant - set(VARIANTS):
    parser.error(f"unknown variant {', '.join(unknown)}, expected any of {', '.join(VARIANTS)}")

dtype = torch.float64 if "double" in variant else torch.float32
device = torch.device(args.device if args.device != "vulkan" else "cpu")
if args.device == "cuda":
    if not torch.cuda.is_available():
        sys.exit("torch_bench.py: PyTorch finds no CUDA device")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = "tf32" in variant
    torch.backends.cudnn.benchmark = True
    synchronize = torch.cuda.synchronize
    adapter = torch.cuda.get_device_name()
elif args.device == "vulkan":
    import torchvulkan

    device = torch.device("vulkan")
    synchronize = torchvulkan.synchronize
    adapter = torchvulkan.get_device_name()
else:
    synchronize = lambda: None
    adapter = f"{torch.get_num_threads()} threads"
# Half precision loses gradients below 6e-8, so that its loss is scaled up, as GradScaler does it.
loss_scale = 65536.0 if "amp" in variant else 1.0


def autocast():
    return torch.autocast(device.type, dtype=torch.float16, enabled="amp" in variant)


def fill(seed, shape, scale):
    """The same numbers in every peer: a hash of the position, uniform in +-scale / 2."""
    h = (torch.arange(math.prod(shape), dtype=torch.int64) + (seed << 24)) * 2654435761 & 0xFFFFFFFF
    h ^= h >> 16
    h = h * 2246822519 & 0xFFFFFFFF
    h ^= h >> 13
    values = ((h >> 8).to(torch.float32) / 2**24 - 0.5) * torch.tensor(scale, dtype=torch.float32)
    return place(values.reshape(shape).to(dtype))


def place(what):
    """Moves a tensor or a module to the device, in the layout asked for."""
    what = what.to(device)
    if "channels_last" in variant and (isinstance(what, nn.Module) or what.dim() == 4):
        what = what.to(memory_format=torch.channels_last)
    return what


def norm(tensor):
    return float(tensor.detach().cpu().double().norm())


def ends(tensor):
    """The mean square and the first and the last element."""
    flat = tensor.detach().cpu().double().contiguous().flatten()
    return [float(flat.square().mean()), float(flat[0]), float(flat[-1])]


def matmul(size):
    a, b = fill(1, (size, size), 2), fill(2, (size, size), 2)

    def run():
        with torch.no_grad(), autocast():
            return a @ b

    return run, ends


def convolution(batch, height, width, inputs, outputs, kernel):
    x = fill(1, (batch, inputs, height, width), 2)
    w = fill(2, (outputs, inputs, kernel, kernel), 2 / math.sqrt(inputs * kernel * kernel))

    def run():
        with torch.no_grad(), autocast():
            return F.conv2d(x, w, padding=kernel // 2)

    return run, ends


def block(mode, batch):
    module = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.GroupNorm(8, 64), nn.SiLU(),
                           nn.Conv2d(64, 64, 3, padding=1)).to(dtype)
    module = place(module)
    with torch.no_grad():
        for seed, layer in ((2, module[0]), (4, module[3])):
            layer.weight.copy_(fill(seed, (64, 64, 3, 3), 1 / 12))
            layer.bias.copy_(fill(seed + 1, (64,), 1 / 12))
    x = fill(1, (batch, 64, 32, 32), 2)
    run = torch.compile(module) if "compile" in variant else module
    if mode == "forward":

        def forward():
            with torch.no_grad(), autocast():
                return run(x)

        return forward, ends
    x.requires_grad_()

    def train():
        module.zero_grad(set_to_none=True)
        x.grad = None
        with autocast():
            loss = run(x).to(dtype).square().mean()
        (loss * loss_scale).backward()
        return loss

    def check(loss):
        gradients = (x.grad, module[0].weight.grad, module[3].weight.grad, module[1].weight.grad)
        return [loss.item()] + [norm(g) / loss_scale for g in gradients]

    return train, check


def tracked_memory(name, batch):
    """The most bytes of tensors that a training step holds at once, by kind. The tensors have no data."""
    from diffusers import UNet2DModel
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.mem_tracker import MemTracker

    with FakeTensorMode():
        module = UNet2DModel(**UNETS[name])
        optimizer = torch.optim.Adam(module.parameters(), lr=2e-4)
        average = [p.detach().clone() for p in module.parameters()]
        channels, size = UNETS[name]["in_channels"], UNETS[name]["sample_size"]
        x, steps = torch.randn(batch, channels, size, size), torch.randint(0, 1000, (batch,))
        tracker = MemTracker()
        tracker.track_external(module, optimizer, x, steps, *average)
        with tracker:
            # The optimiser's moments are there from the second step on.
            for _ in range(2):
                tracker.reset_mod_stats()
                noise = torch.randn_like(x)
                loss = F.mse_loss(module(x + noise, steps).sample, noise)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                with torch.no_grad():
                    torch._foreach_lerp_(average, list(module.parameters()), 1 - 0.9999)
    (kinds,) = tracker.get_tracker_snapshot("peak").values()
    return {str(kind).rsplit(".")[-1].lower(): size for kind, size in kinds.items()}


def unet(mode, name, batch):
    from diffusers import UNet2DModel

    if args.memory:
        print(json.dumps(dict(name=f"{mode}/{name}/b{batch}", bytes=tracked_memory(name, batch))))
        return None

    torch.manual_seed(0)
    module = place(UNet2DModel(**UNETS[name]).to(dtype))
    channels, size = UNETS[name]["in_channels"], UNETS[name]["sample_size"]
    x = place(torch.randn(batch, channels, size, size, dtype=dtype))
    t = place(torch.randint(0, 1000, (batch,)))
    if args.flops:
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.utils.flop_counter import FlopCounterMode

        # The plain attention, so that its products are counted.
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            output = module(x, t).sample
            forward = counter.get_total_flops()
            if mode == "train":
                output.square().mean().backward()
        parameters = sum(p.numel() for p in module.parameters())
        total = counter.get_total_flops()
        print(json.dumps(dict(name=f"{mode}/{name}/b{batch}", parameters=parameters, forward_gflop=forward / 1e9,
                              gflop=total / 1e9)))
        return None
    run = torch.compile(module) if "compile" in variant else module
    if mode == "forward":
        module.eval()

        def forward():
            with torch.no_grad(), autocast():
                return run(x, t).sample

        return forward, ends
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-4)
    scaler = torch.amp.GradScaler(device.type, enabled="amp" in variant)
    parameters = list(module.parameters())
    average = [p.detach().clone() for p in parameters]
    alphas = place(torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0).to(dtype))

    def train():
        noise = torch.randn_like(x)
        steps = torch.randint(0, 1000, (batch,), device=x.device)
        a = alphas[steps].view(-1, 1, 1, 1)
        noisy = a.sqrt() * x + (1 - a).sqrt() * noise
        with autocast():
            loss = F.mse_loss(run(noisy, steps).sample.to(dtype), noise)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        with torch.no_grad():
            torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - 0.9999)
        return loss.item()

    return train, lambda loss: [loss]


def measure(run, alone):
    """Milliseconds of a call, after three to warm up (two where one takes longer than the budget)."""

    def timed(calls):
        start = time.perf_counter()
        for _ in range(calls):
            result = run()
        synchronize()
        return result, 1e3 * (time.perf_counter() - start) / calls

    for index in range(3):
        # The first may compile and tune.
        if timed(1)[1] > 1e3 * args.seconds and index > 0:
            break
    # A kernel alone is launched until it takes 5 ms (3 in `aquatint bench`): starting it does not count.
    calls = math.ceil(5 / timed(1)[1]) if alone and args.device == "cuda" else 1
    times = []
    while not times or (calls * sum(times) < 1e3 * args.seconds and len(times) < 100):
        result, time_taken = timed(calls)
        times.append(time_taken)
    return result, times


def prepare(case):
    if found := re.fullmatch(r"matmul/(\d+)", case):
        return matmul(int(found[1]))
    if found := re.fullmatch(r"convolution/forward/(\d+)x(\d+)x(\d+)x(\d+)-(\d+)(/1x1)?", case):
        return convolution(*map(int, found.groups()[:5]), 1 if found[6] else 3)
    if found := re.fullmatch(r"block/(forward|train)/b(\d+)", case):
        return block(found[1], int(found[2]))
    if found := re.fullmatch(r"(forward|train)/(\w+)/b(\d+)", case):
        if found[2] in UNETS and args.device != "vulkan":
            return unet(found[1], found[2], int(found[3]))
    return None


for case in args.cases:
    if args.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    if not (prepared := prepare(case)):
        continue
    run, check = prepared
    result, times = measure(run, alone=case.startswith(("matmul/", "convolution/")))
    peak = torch.cuda.max_memory_allocated() if args.device == "cuda" else None
    version = torch.__version__.split("+")[0]
    print(json.dumps(dict(name=case, adapter=adapter, version=version, median_ms=statistics.median(times),
                          min_ms=min(times), runs=len(times), peak_bytes=peak, check=check(result))), flush=True)
