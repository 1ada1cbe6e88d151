"""Upscale images: files, folders and globs.

Bit depth, transparency, orientation, colour profile and metadata are kept. Large images are processed in tiles; for
convolutional networks the result is identical to that without tiles. Under torchrun the processes share the images. An
image that fails is named at the end (exit code 2), and the others are still processed.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from srkd.cli.main import add_trust
from srkd.terminal import tell

if TYPE_CHECKING:
    from srkd.inference.backends.engine import Engine
    from srkd.inference.model import Model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="an image, a folder, or a glob (in quotes)")
    add("-o", "--output", required=True, metavar="OUT", help="folder to write to, or the file for a single image")
    add("-m", "--model", default="auto", help="zoo name or checkpoint (default: the zoo's for the scale)")
    add("-s", "--scale", type=int, help="scale: selects the default model, and must match a named one")
    add("--outscale", type=float, metavar="F", help="final scale; bicubic resizing after the network")
    add("-t", "--tile", type=int, metavar="N", help="tile side in input pixels, 0 for no tiles (default: by memory)")
    add("--self-ensemble", action="store_true", help="average over 8 flips and rotations: slower, slightly better")
    add("-r", "--recursive", action="store_true", help="include sub-folders, and keep them in the output")
    add("--format", metavar="F", help="png, jpeg, webp, tiff or bmp (default: as the input is named; png for others)")
    add("--quality", type=int, metavar="Q", help="1 to 100, for jpeg and webp (default: 95; webp at 100 is lossless)")
    add("--suffix", default="", metavar="S", help="suffix of output names, before the extension, e.g. _x2")
    add("--skip-existing", action="store_true", help="skip images whose output exists")
    add("--dry-run", action="store_true", help="read every image and print what would be done; write nothing")
    add("--json", action="store_true", help="print the result of each image as JSON")
    add(
        "--runtime",
        metavar="R",
        help="torch, openvino, onnxruntime, or auto: measures, once per model and machine, "
        "the fastest with sufficient quality (default: an earlier measurement, else torch)",
    )
    add("--precision", metavar="P", help="fp32, bf16, int8 or auto, for 8-bit images; others use torch fp32")
    add(
        "--max-drop", type=float, default=0.1, metavar="DB", help="dB that bf16 or int8 may lose (default: %(default)s)"
    )
    add("--device", default="auto", metavar="D", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from srkd.images.write import check_quality
    from srkd.inference.files import Options, preview, share, upscale_files
    from srkd.inference.jobs import Outcome, as_json, line, plan_jobs, summary, unrecognised_files
    from srkd.inference.model import Model
    from srkd.networks.device import device_named
    from srkd.training.log import Progress
    from srkd.training.malloc import keep_freed_memory

    check_quality(args.quality, args.format)
    output = Path(args.output)
    jobs = share(plan_jobs(args.inputs, output, args.format, args.suffix, args.recursive))
    left = unrecognised_files(args.inputs, output, args.recursive)
    keep_freed_memory()
    model = Model.load(args.model, args.scale, device_named(args.device))
    options = Options(args.tile, args.self_ensemble, args.outscale, args.quality, args.skip_existing)
    outcomes: list[Outcome] = []
    try:
        if args.dry_run:
            for outcome in preview(jobs, args.outscale or model.scale, options):
                outcomes.append(outcome)
                (tell if args.json else print)(line(outcome))
                for note in outcome.notes:
                    tell(f"{outcome.job.source}: {note}")
        else:
            model.engine = _engine(args, model)
            with Progress("upscaling", len(jobs)) as progress:
                upscale_files(model, jobs, options, tell, progress.update, outcomes)
    finally:
        for text in summary(outcomes, left):
            tell(text)
        if args.json:
            print(as_json(outcomes, left))
    return 0


def _engine(args: argparse.Namespace, model: Model) -> Engine | None:
    from srkd.inference.autotune import BackendSpec, cached_engine, engine_for

    if args.runtime is None and args.precision is None:
        return cached_engine(model, tell)
    runtime, precision = (None if name in (None, "auto") else name for name in (args.runtime, args.precision))
    return engine_for(model, BackendSpec(runtime, precision, args.max_drop), tell)
