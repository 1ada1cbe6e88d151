"""Upscale images: files, folders and globs; and video clips.

Bit depth, transparency, orientation, colour profile and metadata are kept. Large images are processed in tiles; for
convolutional networks the result is identical to that without tiles. Under torchrun the processes share the images. An
image that fails is named at the end (exit code 2), and the others are still processed. Of a video, time stamps, colour
and the other streams are kept; a run that was killed is continued by the same command.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from srkd import edition
from srkd.cli.main import add_on, add_trust
from srkd.terminal import tell

if TYPE_CHECKING:
    import torch

    from srkd.inference.backends.engine import Engine
    from srkd.inference.files import Options
    from srkd.inference.jobs import Job, Outcome
    from srkd.inference.model import Model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="an image, a folder or a glob (in quotes), local or by URL (s3://...); or a video",
    )
    add(
        "-o",
        "--output",
        metavar="OUT",
        help="folder to write to, or the file for a single input (default, not for videos: beside the input, as "
        "photo_x2.jpg or the folder photos_x2; nothing is overwritten)",
    )
    add(
        "-m", "--model", default="auto", help="zoo name, checkpoint or exported file (default: the zoo's for the scale)"
    )
    add("-s", "--scale", type=int, help="scale (default: 2): selects the default model, must match a named one")
    add(
        "--outscale",
        type=float,
        metavar="F",
        help="final scale, by bicubic resizing; alone, it selects the default model of the next larger scale",
    )
    add("-t", "--tile", type=int, metavar="N", help="tile side in input pixels, 0 for no tiles (default: by memory)")
    add("--self-ensemble", action="store_true", help="average over 8 flips and rotations: slower, slightly better")
    add("--wrap", action="store_true", help="for textures: borders meet, so that the tiled result has no seam")
    add("-r", "--recursive", action="store_true", help="include sub-folders, and keep them in the output")
    add(
        "--format",
        metavar="F",
        help="png, jpeg, webp, avif, tiff, gif, bmp, jxl, heic, jp2, pgm, ppm, pam (default: the input's, or png)",
    )
    add(
        "--quality",
        type=int,
        metavar="Q",
        help="1 to 100 for lossy formats and video (default: 95, video 68); lossless at 100, except jpeg and avif",
    )
    add("--suffix", metavar="S", help="suffix of output names, before the extension (default: _x2 etc. without -o)")
    add("--skip-existing", action="store_true", help="skip images whose output exists")
    add("--dry-run", action="store_true", help="read every image and print what would be done; write nothing")
    add("--json", action="store_true", help="print the result of each image as JSON")
    add(
        "--runtime",
        metavar="R",
        help="torch, openvino, onnxruntime, ncnn, litert, or auto: measures, once per model and machine, "
        "the fastest with sufficient quality (default: an earlier measurement, else torch)",
    )
    add("--precision", metavar="P", help="fp32, bf16, int8 or auto, for 8-bit images; others use torch fp32")
    add("--max-drop", type=float, metavar="DB", help="dB that bf16 or int8 may lose (default: 0.1)")
    add("--device", default="auto", metavar="D", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    add("--report", metavar="FILE", help="write a row for each image: JSON lines (.jsonl), a JSON array (.json) or CSV")
    add_on(parser, "1")
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    from srkd.files.remote import place
    from srkd.images.write import check_quality
    from srkd.inference.files import Options, preview
    from srkd.inference.job_report import check_report, write_report
    from srkd.inference.jobs import as_json, summary, unrecognised_files
    from srkd.training.malloc import keep_freed_memory
    from srkd.video.job import is_clip

    if any(map(is_clip, args.inputs)):
        return _run_video(args)
    check_quality(args.quality, args.format)
    check_report(args.report)
    jobs = _jobs_in_output(args)
    left = unrecognised_files(args.inputs, None if args.output is None else place(args.output), args.recursive)
    keep_freed_memory()
    model, outscale = _model(args)
    options = Options(args.tile, args.self_ensemble, outscale, args.quality, args.skip_existing, args.wrap)
    factor = model.scale if outscale is None else outscale
    jobs = _jobs_beside(args, factor) if jobs is None else jobs
    outcomes: list[Outcome] = []
    try:
        if args.dry_run:
            _show_plan(args, preview(jobs, factor, options), outcomes, "images")
        else:
            _upscale(args, model, jobs, options, outcomes)
    finally:
        for text in summary(outcomes, left, _described(model, factor)):
            tell(text)
        if args.json:
            print(as_json(outcomes, left))
        if args.report:  # last: a report that cannot be written must not hide what was done
            write_report(args.report, outcomes)
    return 0


def _show_plan(args: argparse.Namespace, planned: Iterable[Outcome], outcomes: list[Outcome], what: str) -> None:
    """Print the outcomes of a dry run, which `outcomes` receives. Raises SrkdError if some cannot be upscaled."""
    from srkd.errors import PartialFailure, SrkdError
    from srkd.inference.jobs import line

    for outcome in planned:
        outcomes.append(outcome)
        (tell if args.json else print)(line(outcome))
        for note in outcome.notes:
            tell(f"{outcome.job.source}: {note}")
    if failed := sum(outcome.status == "failed" for outcome in outcomes):
        wrong = f"{failed} of {len(outcomes)} {what} cannot be upscaled"
        raise PartialFailure(wrong) if len(outcomes) > 1 else SrkdError(wrong)


def _upscale(
    args: argparse.Namespace, model: Model, jobs: Sequence[Job], options: Options, outcomes: list[Outcome]
) -> None:
    """Upscale the images in this process, or on the cluster that --on names."""
    from srkd.inference.files import upscale_files
    from srkd.training.log import Progress

    if args.on == "local":
        model.engine = _engine(args, model)
        with Progress("upscaling", len(jobs)) as progress:
            upscale_files(model, jobs, options, tell, progress.update, outcomes)
        return
    if edition.is_light():
        raise edition.needs_full("--on")
    from srkd.cluster.connection import connected, parse_on
    from srkd.cluster.upscale import upscale_on

    with connected(parse_on(args.on)) as cluster, Progress("upscaling", len(jobs)) as progress:
        request = cluster.request(args.worker_cpus or 1, args.worker_gpus)
        if model.engine is None and not request["num_gpus"]:  # all workers use the backend of this machine
            model.engine = _engine(args, model)
            args.runtime, args.precision = model.backend
        opening = partial(_open_in_worker, argparse.Namespace(**vars(args)))
        upscale_on(request, cluster.slots(request), opening, jobs, options, tell, progress.update, outcomes)


def _open_in_worker(args: argparse.Namespace) -> Model:
    from srkd.trust import trusting

    with trusting(args.trust_code):
        model, _ = _model(args)
        model.engine = _engine(args, model)
        return model


def _run_video(args: argparse.Namespace) -> int:
    from srkd.errors import SrkdError
    from srkd.files.remote import is_url
    from srkd.images.write import check_quality
    from srkd.inference.files import Options, share
    from srkd.inference.jobs import as_json
    from srkd.training.malloc import keep_freed_memory
    from srkd.video.job import plan_clips, preview_clips, upscale_clips

    if args.on != "local" or args.report:
        raise SrkdError("--on and --report are for images; several processes share videos by torchrun")
    if args.format or args.recursive:
        raise SrkdError("--format and --recursive are for images; a video is written as its output is named")
    if args.wrap:
        raise SrkdError("--wrap is for images of textures; leave it out for a video")
    if args.output is None:
        raise SrkdError("name the output of a video, as in -o clip_x2.mp4")
    if url := next(filter(is_url, [*args.inputs, args.output]), None):
        raise SrkdError(f"{url}: videos are read and written as local files; copy it first")
    check_quality(args.quality, None)
    jobs = share(plan_clips(args.inputs, Path(args.output), args.suffix or ""))
    keep_freed_memory()
    model, outscale = _model(args)
    options = Options(args.tile, args.self_ensemble, outscale, args.quality, args.skip_existing)
    outcomes: list[Outcome] = []
    try:
        if args.dry_run:
            _show_plan(args, preview_clips(jobs, outscale or model.scale, options), outcomes, "videos")
        else:
            model.engine = _engine(args, model)
            upscale_clips(model, jobs, options, tell, outcomes)
    finally:
        if args.json:
            print(as_json(outcomes, []))
    return 0


def _jobs_in_output(args: argparse.Namespace) -> list[Job] | None:
    """The jobs with their results in --output; None without it, after a check that the inputs exist."""
    from srkd.files.remote import place
    from srkd.inference.beside import check_inputs
    from srkd.inference.files import share
    from srkd.inference.jobs import plan_jobs

    if args.output is None:
        check_inputs(args.inputs)
        return None
    return share(plan_jobs(args.inputs, place(args.output), args.format, args.suffix or "", args.recursive))


def _jobs_beside(args: argparse.Namespace, factor: float) -> list[Job]:
    from srkd.inference.beside import plan_beside

    suffix = args.suffix or f"_x{factor:g}"
    return plan_beside(args.inputs, suffix, args.format, args.recursive, reuse=args.skip_existing)


def _model(args: argparse.Namespace) -> tuple[Model, float | None]:
    """The model and the final scale, if it is not the model's: a scale without a default model takes a larger one's."""
    from srkd.inference.model import output_size
    from srkd.networks.zoo import default_for_factor, default_or_larger

    if args.model != "auto":
        return _load(args, args.scale), args.outscale
    if args.outscale is not None and args.scale is None:
        output_size(1, 1, args.outscale)
        args.model, scale = default_for_factor(args.outscale)
    else:
        args.model, scale = default_or_larger(args.scale or 2)
    factor = args.scale if args.outscale is None else args.outscale
    return _load(args, scale), None if factor in (None, scale) else factor


def _load(args: argparse.Namespace, scale: int | None) -> Model:
    from srkd.inference.model import Model

    quick = not _names_backend(args) and args.max_drop is None and args.device in ("auto", "cpu")
    if quick and args.on == "local" and not edition.is_light():
        from srkd.inference import quick_start

        known = quick_start.recall(args.model, scale, tell)
        if known is not None:
            return known
    return Model.load(args.model, scale, _device(args.device))


def _names_backend(args: argparse.Namespace) -> bool:
    """Whether the user names a runtime or a precision, or asks for measurements by `auto`."""
    return args.runtime is not None or args.precision is not None


def _device(name: str) -> torch.device | None:
    """The device with this name; None for srkd-upscale's only one, the CPU."""
    if not edition.is_light():
        from srkd.networks.device import device_named

        return device_named(name)
    if name not in ("auto", "cpu"):
        raise edition.needs_full(f'device "{name}"')
    return None


def _described(model: Model, factor: float) -> str:
    """The model with its scale and licence, in one line."""
    resized = "" if factor == model.scale else f" resized to x{factor:g}"
    licence = " ".join(str(model.meta.get("licence") or "").split())
    return f"{model.name or 'the model'} x{model.scale}{resized}" + (f" (licence: {licence})" if licence else "")


def _engine(args: argparse.Namespace, model: Model) -> Engine | None:
    from srkd.errors import SrkdError

    if edition.is_light() and model.engine is not None:
        for asked, has in ((args.runtime, model.engine.runtime), (args.precision, model.engine.precision)):
            if asked not in (None, "auto", has):
                raise edition.needs_full(f'"{asked}" instead of {model.engine}')
        return model.engine
    if model.engine is not None:  # an exported file
        if _names_backend(args):
            raise SrkdError(f"{args.model}: an exported file has its runtime: leave out --runtime and --precision")
        return model.engine
    from srkd.inference.autotune import BackendSpec, cached_engine, engine_for

    max_drop = BackendSpec.max_drop if args.max_drop is None else args.max_drop
    if not _names_backend(args):
        return cached_engine(model, tell, args.model, max_drop)
    runtime, precision = (None if name in (None, "auto") else name for name in (args.runtime, args.precision))
    return engine_for(model, BackendSpec(runtime, precision, max_drop), tell)
