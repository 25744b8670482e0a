"""Compares aquatint with diffusers over a spread of configurations; see README.md."""

import argparse
import logging
import multiprocessing
import shutil
import sys
import time
import warnings
from pathlib import Path

logging.disable(logging.CRITICAL)
warnings.filterwarnings("ignore")

import torch  # noqa: E402

import back  # noqa: E402
import committed  # noqa: E402
import configs  # noqa: E402
import openai  # noqa: E402
import program as aquatint  # noqa: E402
import reference  # noqa: E402

FORWARD, CHAIN = 1e-4, 1e-3
# A chain in which rounding alone grows to this says nothing about either program.
CHAOS = CHAIN / 3
OTHERS = {"openai": openai, "back": back}
# The cases that also run on the GPU.
ON_GPU = ["plain", "ddpm-cifar", "resnet-resampling", "skip", "fourier", "scale-shift", "classes", "learned-range",
          "zero-snr", "thresholding"]


def compare(case, options, devices):
    """The row of a case: an error for every device and computation, and what went wrong."""
    folder = options.folder / case["name"]
    unet = reference.write_folder(case, folder)
    errors, problems = {}, []
    inputs = reference.make_inputs(case)
    with torch.no_grad():
        expected = reference.run_unet(unet, inputs["sample"], inputs["timestep"], inputs.get("class_labels"))
    chains = []
    for chain in case["chains"]:
        try:
            x0 = reference.run_chain(case, unet, folder, chain)
            floor = reference.chain_floor(case, unet, folder, chain, x0)
        except (NotImplementedError, ValueError, IndexError):  # diffusers cannot take it
            x0, floor = None, float("inf")
        if not floor < CHAOS:
            return dict(case=case, chaos=(chain, floor))
        chains.append((chain, x0))

    def judge(name, found, expected, tolerance):
        errors[name] = reference.difference(found(), expected)
        if not errors[name] <= tolerance:
            problems.append(f"{name}: {errors[name]:.1e}, expected at most {tolerance:.0e}")

    for device in devices:
        checks = [("predict", lambda: aquatint.predict(options.program, case, folder, device, inputs), expected, FORWARD)]
        checks += [
            (f"{sampler}-{steps}" + (f" eta {eta}" if eta else ""),
             lambda chain=chain: aquatint.sample(options.program, case, folder, device, chain), x0, CHAIN)
            for chain, x0 in chains for sampler, steps, eta in [chain]
        ]
        for name, found, wanted, tolerance in checks:
            try:
                judge(name if device == "cpu" else f"gpu {name}", found, wanted, tolerance)
            except aquatint.Failed as error:
                problems.append(f"{device} {name}: {error}")
    if not problems and not options.keep:
        shutil.rmtree(folder)
    return dict(case=case, errors=errors, problems=problems)


def work(task):
    """In a worker: a fixed case, or the first possible one of a random slot's attempts."""
    kind, what, options = task
    torch.set_num_threads(1)
    if kind in OTHERS:
        return compare_other(kind, what, options)
    if kind == "case":
        return compare(what, options, devices_for(what["name"], options))
    for attempt in range(what, 1_000_000, max(options.count, 1)):
        case = configs.randomly(options.seed, attempt)
        if reference.is_possible(case):
            row = compare(case, options, devices_for(case["name"], options))
            if "chaos" not in row:
                return row
    raise AssertionError("no possible configuration in a million")


def compare_other(kind, name, options):
    """The row of a case that begins with the program or with another one's checkpoint."""
    folder = options.folder / name
    shutil.rmtree(folder, ignore_errors=True)
    row = dict(name=name, errors={}, problems=[])
    try:
        row["errors"] = dict(OTHERS[kind].compare(name.removeprefix("openai-"), options.program, folder))
        for computation, error in row["errors"].items():
            if not error <= tolerance_of(computation):
                row["problems"].append(f"{computation}: {error:.1e}, expected at most {tolerance_of(computation):.0e}")
    except (aquatint.Failed, OSError, ValueError, RuntimeError, Warning) as error:
        row["problems"].append(f"{type(error).__name__}: {error}")
    if not row["problems"] and not options.keep:
        shutil.rmtree(folder)
    return row


def tolerance_of(computation):
    return CHAIN if computation[-1].isdigit() else FORWARD


def devices_for(name, options):
    wants_gpu = not options.no_gpu and (name in ON_GPU or options.only)
    return ["cpu", aquatint.gpu_device()] if wants_gpu else ["cpu"]


def tasks(options):
    wanted = lambda name: options.only is None or name in options.only  # noqa: E731
    fixed = [("case", case, options) for case in configs.fixed() if wanted(case["name"])]
    others = [("openai", f"openai-{name}", options) for name in openai.CASES] + [("back", name, options) for name in back.CASES]
    others = [task for task in others if wanted(task[1])]
    if options.only is None:
        return fixed + others + [("random", slot, options) for slot in range(options.count)]
    seeds = [name.split("-")[1:] for name in options.only if name.startswith("random-")]
    return fixed + others + [("case", configs.randomly(int(seed), int(attempt)), options) for seed, attempt in seeds]


def name_of(row):
    return row["name"] if "name" in row else row["case"]["name"]


def report(row):
    """A case's line."""
    if "chaos" in row:
        chain, floor = row["chaos"]
        problem = f"rounding alone grows to {floor:.1e} in {chain[0]}-{chain[1]}: the case says nothing"
        row.update(errors={}, problems=[problem])
    about = f"  [{configs.differences(row['case'])}]" if "case" in row else ""
    verdict = "FAILED" if row["problems"] else "ok"
    numbers = ", ".join(f"{name} {error:.1e}" for name, error in row["errors"].items())
    print(f"{verdict:6} {name_of(row):20} {numbers}{about}", flush=True)
    for problem in row["problems"]:
        print(f"       {problem}", flush=True)


def summary(rows, seconds):
    """The largest errors by computation; whether everything agreed."""
    names = sorted({name for row in rows for name in row["errors"]})
    print(f"\n{'':24} {'cases':>5} {'largest':>9} {'median':>9}  tolerance")
    for name in names:
        found = sorted(row["errors"][name] for row in rows if name in row["errors"])
        print(f"{name:24} {len(found):5} {found[-1]:9.1e} {found[len(found) // 2]:9.1e}  {tolerance_of(name):.0e}")
    failed = [name_of(row) for row in rows if row["problems"]]
    print(f"{len(rows) - len(failed)} of {len(rows)} cases agree ({seconds:.0f} s)")
    return failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100000, help="of the random configurations")
    parser.add_argument("--count", type=int, default=40, help="of random configurations")
    parser.add_argument("--only", action="append", help="a case by name; may be given several times")
    parser.add_argument("--no-gpu", action="store_true")
    parser.add_argument("--keep", action="store_true", help="keep the folders of cases that agree, too")
    parser.add_argument("--program", type=Path, default=aquatint.default_program())
    parser.add_argument("--folder", type=Path, default=aquatint.REPOSITORY / "target/parity/cases")
    parser.add_argument("--write-cases", action="store_true", help="write the cases of tests/parity.rs")
    options = parser.parse_args()
    if options.write_cases:
        committed.write(aquatint.REPOSITORY / "tests/parity/cases")
        openai.write(aquatint.REPOSITORY / "tests/parity/openai")
        return
    print(f"seed {options.seed}, {options.count} random configurations", flush=True)
    started = time.monotonic()
    rows = []
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for row in pool.imap(work, tasks(options)):
            report(row)
            rows.append(row)
        pool.close()
        pool.join()
    failed = summary(rows, time.monotonic() - started)
    for name in failed:
        print(f"{name}: kept in {options.folder / name}; again: tests/parity/run --only {name}")
    sys.exit(1 if failed or not rows else 0)


if __name__ == "__main__":
    main()
