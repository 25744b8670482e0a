"""OpenAI's networks, restated: made with random weights, saved as their checkpoints are, converted, compared.

The forward pass is written from the papers' description and the tensors' names (improved-diffusion, guided-diffusion),
so that it owes nothing to diffusers, to which the program converts.
"""

import json
import math
import zlib

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from safetensors.torch import save_file

import program as aquatint
import reference

PLAIN = dict(
    inputs=3, outputs=3, width=32, mult=(1, 2), blocks=1, attention=(2,), heads=4, head_channels=None, new_order=False,
    scale_shift=False, resblock_updown=False, classes=None, size=8, half=False, flags=(),
)
CASES = {
    "improved": {},
    "improved-scale-shift": dict(scale_shift=True, outputs=6, mult=(1, 2, 2), attention=(2, 4), blocks=2),
    "guided": dict(scale_shift=True, resblock_updown=True, outputs=6, head_channels=16, classes=5, attention=(1, 2),
                   new_order=True, flags=("--noise-schedule", "cosine")),
    "guided-legacy": dict(resblock_updown=True, head_channels=32, attention=(1,), mult=(1, 1, 2), scale_shift=True),
    "guided-new-heads": dict(new_order=True, heads=2, classes=3, flags=("--diffusion-steps", "400", "--no-rescale-timesteps")),
    "half": dict(scale_shift=True, head_channels=8, half=True, outputs=6),
    "one-level": dict(mult=(1,), attention=(1,), blocks=2, inputs=1, outputs=1),
}


def formula(name, shape):
    """A tensor by its name and sizes, which tests/openai.rs makes as well: a hash of name and index, in (-1, 1), scaled."""
    key = zlib.crc32(name.encode())
    x = (np.arange(math.prod(shape), dtype=np.uint64) * 0x9E3779B9 + key) & 0xFFFFFFFF
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = ((x ^ (x >> shift)) * factor) & 0xFFFFFFFF
    unit = torch.from_numpy(((x >> 8).astype(np.float32) / 2**23 - 1).reshape(shape))
    if len(shape) > 1:
        return unit * math.sqrt(3 / math.prod(shape[1:])) if name != "label_emb.weight" else unit
    return 1 + 0.25 * unit if name.endswith("weight") else 0.25 * unit


class OpenAi:
    """The tensors of a network by OpenAI's names, and its forward pass."""

    def __init__(self, settings):
        self.__dict__.update(settings)
        self.state = {}
        self.build()
        if self.half:  # the torso alone, as their programs hold it
            for key in self.state:
                if key.split(".")[0] in ("input_blocks", "middle_block", "output_blocks"):
                    self.state[key] = self.state[key].half()

    def layer(self, name, *shape):
        self.state[f"{name}.weight"] = formula(f"{name}.weight", shape)
        self.state[f"{name}.bias"] = formula(f"{name}.bias", shape[:1])

    def norm(self, name, channels):
        self.layer(name, channels)

    def residual(self, name, inputs, outputs):
        self.norm(f"{name}.in_layers.0", inputs)
        self.layer(f"{name}.in_layers.2", outputs, inputs, 3, 3)
        self.layer(f"{name}.emb_layers.1", outputs * (2 if self.scale_shift else 1), 4 * self.width)
        self.norm(f"{name}.out_layers.0", outputs)
        self.layer(f"{name}.out_layers.3", outputs, outputs, 3, 3)
        if inputs != outputs:
            self.layer(f"{name}.skip_connection", outputs, inputs, 1, 1)

    def attend(self, name, channels):
        self.norm(f"{name}.norm", channels)
        self.layer(f"{name}.qkv", 3 * channels, channels, 1)
        self.layer(f"{name}.proj_out", channels, channels, 1)

    def build(self):
        """Makes the tensors, and lists what is done with them in `down` and `up`."""
        self.layer("time_embed.0", 4 * self.width, self.width)
        self.layer("time_embed.2", 4 * self.width, 4 * self.width)
        if self.classes:
            self.state["label_emb.weight"] = formula("label_emb.weight", (self.classes, 4 * self.width))
        self.layer("input_blocks.0.0", self.width, self.inputs, 3, 3)
        channels, skips, self.down, self.up = self.width, [self.width], [], []
        for level, factor in enumerate(self.mult):
            for _ in range(self.blocks):
                name = f"input_blocks.{len(self.down) + 1}"
                steps = [("residual", f"{name}.0")]
                self.residual(f"{name}.0", channels, factor * self.width)
                channels = factor * self.width
                if 2**level in self.attention:
                    self.attend(f"{name}.1", channels)
                    steps.append(("attend", f"{name}.1"))
                self.down.append(steps)
                skips.append(channels)
            if level + 1 < len(self.mult):
                name = f"input_blocks.{len(self.down) + 1}.0"
                self.resampling(name, "op", channels)
                self.down.append([("down", name)])
                skips.append(channels)
        for name in ("middle_block.0", "middle_block.2"):
            self.residual(name, channels, channels)
        self.attend("middle_block.1", channels)
        for level, factor in reversed(list(enumerate(self.mult))):
            for number in range(self.blocks + 1):
                name = f"output_blocks.{len(self.up)}"
                steps = [("residual", f"{name}.0")]
                self.residual(f"{name}.0", channels + skips.pop(), factor * self.width)
                channels = factor * self.width
                if 2**level in self.attention:
                    self.attend(f"{name}.1", channels)
                    steps.append(("attend", f"{name}.1"))
                if level and number == self.blocks:
                    last = f"{name}.{len(steps)}"
                    self.resampling(last, "conv", channels)
                    steps.append(("up", last))
                self.up.append(steps)
        self.norm("out.0", channels)
        self.layer("out.2", self.outputs, channels, 3, 3)

    def resampling(self, name, convolution, channels):
        if self.resblock_updown:
            self.residual(name, channels, channels)
        else:
            self.layer(f"{name}.{convolution}", channels, channels, 3, 3)

    def weights(self, name):
        return self.state[f"{name}.weight"].float(), self.state[f"{name}.bias"].float()

    def conv(self, name, x, **more):
        return F.conv2d(x, *self.weights(name), padding=self.state[f"{name}.weight"].shape[-1] // 2, **more)

    def normed(self, name, x):
        return F.group_norm(x, 32, *self.weights(name), eps=1e-5)

    def run_residual(self, name, x, embedding, resize=lambda x: x):
        h = self.conv(f"{name}.in_layers.2", resize(F.silu(self.normed(f"{name}.in_layers.0", x))))
        e = F.linear(F.silu(embedding), *self.weights(f"{name}.emb_layers.1"))[..., None, None]
        if self.scale_shift:
            scale, shift = e.chunk(2, dim=1)
            h = self.normed(f"{name}.out_layers.0", h) * (1 + scale) + shift
        else:
            h = self.normed(f"{name}.out_layers.0", h + e)
        h = self.conv(f"{name}.out_layers.3", F.silu(h))
        x = resize(x)
        return h + (self.conv(f"{name}.skip_connection", x) if f"{name}.skip_connection.weight" in self.state else x)

    def run_attention(self, name, x):
        n, channels, height, width = x.shape
        heads = channels // self.head_channels if self.head_channels else self.heads
        rows = F.conv1d(self.normed(f"{name}.norm", x).reshape(n, channels, -1), *self.weights(f"{name}.qkv"))
        if self.new_order:
            q, k, v = rows.reshape(n, 3, heads, channels // heads, -1).unbind(1)
        else:
            q, k, v = rows.reshape(n, heads, 3, channels // heads, -1).unbind(2)
        similarity = torch.einsum("nhct,nhcs->nhts", q, k) / math.sqrt(channels // heads)
        h = torch.einsum("nhts,nhcs->nhct", similarity.softmax(-1), v).reshape(n, channels, -1)
        return x + F.conv1d(h, *self.weights(f"{name}.proj_out")).reshape(n, channels, height, width)

    def step(self, kind, name, x, embedding):
        if kind == "residual":
            return self.run_residual(name, x, embedding)
        if kind == "attend":
            return self.run_attention(name, x)
        halve, double = lambda x: F.avg_pool2d(x, 2), lambda x: F.interpolate(x, scale_factor=2)  # noqa: E731
        if self.resblock_updown:
            return self.run_residual(name, x, embedding, halve if kind == "down" else double)
        return self.conv(f"{name}.op", x, stride=2) if kind == "down" else self.conv(f"{name}.conv", double(x))

    def __call__(self, x, timesteps, labels):
        half = self.width // 2
        angles = timesteps[:, None].float() * torch.exp(-math.log(10000) * torch.arange(half) / half)
        embedding = torch.cat([angles.cos(), angles.sin()], dim=1)
        embedding = F.linear(F.silu(F.linear(embedding, *self.weights("time_embed.0"))), *self.weights("time_embed.2"))
        if self.classes:
            embedding = embedding + self.state["label_emb.weight"][labels]
        h = self.conv("input_blocks.0.0", x)
        skips = [h]
        for steps in self.down:
            for kind, name in steps:
                h = self.step(kind, name, h, embedding)
            skips.append(h)
        for kind, name in (("residual", "middle_block.0"), ("attend", "middle_block.1"), ("residual", "middle_block.2")):
            h = self.step(kind, name, h, embedding)
        for steps in self.up:
            h = torch.cat([h, skips.pop()], dim=1)
            for kind, name in steps:
                h = self.step(kind, name, h, embedding)
        return self.conv("out.2", F.silu(self.normed("out.0", h)))


def make(name):
    """The network, one forward's tensors and its output."""
    network = OpenAi({**PLAIN, **CASES[name]})
    generator = torch.Generator().manual_seed(sum(name.encode()))
    inputs = dict(sample=torch.randn(2, network.inputs, network.size, network.size, generator=generator),
                  timestep=torch.tensor([399, 7]))
    if network.classes:
        inputs["class_labels"] = torch.tensor([1, 2])
    with torch.no_grad():
        return network, inputs, network(inputs["sample"], inputs["timestep"], inputs.get("class_labels"))


def flags(network):
    heads = ["--num-head-channels", network.head_channels] if network.head_channels else ["--num-heads", network.heads]
    return [*heads, *(["--new-attention-order"] if network.new_order else []), "--image-size", network.size, *network.flags]


def compare(name, program, folder):
    """The errors of the converted folder in both programs: (name, error)."""
    network, inputs, expected = make(name)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "model.pt"
    torch.save(network.state, checkpoint)
    aquatint.run(program, "convert", checkpoint, "--out", folder / "model", *flags(network))
    with torch.no_grad():
        unet = UNet2DModel.from_pretrained(folder / "model/unet").eval()
        theirs = reference.run_unet(unet, inputs["sample"], inputs["timestep"], inputs.get("class_labels"))
    ours = aquatint.predict(program, dict(layout="pipeline"), folder, "cpu", inputs)
    return [("openai", reference.difference(ours, expected)), ("openai in diffusers", reference.difference(theirs, expected))]


def write(folder):
    """For tests/openai.rs: names and sizes of the tensors, which are made by the formula, and the output."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in CASES:
        network, inputs, output = make(name)
        if not network.half:
            about = dict(tensors=json.dumps([[name, list(t.shape)] for name, t in network.state.items()]),
                         flags=json.dumps([str(flag) for flag in flags(network)]))
            tensors = {f"in/{name}": t for name, t in inputs.items()} | {"output": output}
            save_file(tensors, folder / f"{name}.safetensors", metadata=about)
