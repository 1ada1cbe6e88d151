"""Measure speed on this machine, beside BasicSR and published networks: training, upscaling, inference and more.

`training` and `upscale` are measured beside BasicSR, `video` beside the network alone, `cluster` beside local
processes, the zoo beside published networks (`frontier`), and several models on one degraded photograph
(`photograph`). `losses` is the cost of each loss, `inference` compares models, runtimes, precisions and sizes,
`ladders` the sizes that networks offer.
"""

from __future__ import annotations

import argparse

from srkd.cli.main import add_trust
from srkd.terminal import tell
from srkd.values import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    training = actions.add_parser("training", help="training steps per second of srkd and BasicSR")
    losses = actions.add_parser("losses", help="cost of each loss in a training step")
    for parser_, seconds in ((training, 20.0), (losses, 3.0)):
        parser_.add_argument("--data", required=True, metavar="FOLDER", help="HR images to train on")
        parser_.add_argument(
            "--seconds", type=float, default=seconds, help="time of each measurement (default: %(default)s)"
        )
        _add_output(parser_)
    _add_upscale(
        actions.add_parser("upscale", help="upscale a folder of images, files to files, with srkd and BasicSR")
    )
    _add_video(actions.add_parser("video", help="a generated clip, file to file, against the network alone"))
    _add_inference(actions.add_parser("inference", help="models x runtimes x precisions x sizes"))
    _add_photograph(actions.add_parser("photograph", help="one photograph through several models, with their seconds"))
    _add_cluster(
        actions.add_parser("cluster", help="--on ray against local processes, and from it the speed of larger clusters")
    )
    _add_frontier(actions.add_parser("frontier", help="the zoo and published networks: PSNR against costs and time"))
    _add_ladders(actions.add_parser("ladders", help="milliseconds of the sizes that networks declare, untrained"))


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", metavar="DIR", help="folder for the table (JSON, Markdown) and report.html")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_upscale(parser: argparse.ArgumentParser) -> None:
    add_trust(parser)
    add = parser.add_argument
    add("--against", choices=["basicsr"], default="basicsr", help="what to compare with (default: %(default)s)")
    add("--data", required=True, metavar="D", help="data set or folder of images, which are centre-cropped")
    add("-m", "--model", default="auto", help="zoo name or checkpoint (default: the zoo's for x2)")
    add("--count", type=count, default=20, help="number of images (default: %(default)s)")
    add("--size", default="510x340", metavar="WxH", help="size of the crops (default: %(default)s)")
    add("--runtime", metavar="R", help="torch, openvino or onnxruntime (default: the fastest with sufficient quality)")
    add("--precision", metavar="P", help="fp32, bf16 or int8 (default: likewise)")
    add("--rounds", type=count, default=3, help="number of alternating timings of both (default: %(default)s)")
    _add_output(parser)


def _add_video(parser: argparse.ArgumentParser) -> None:
    add_trust(parser)
    add = parser.add_argument
    add("-m", "--model", default="auto", help="zoo name or checkpoint (default: the zoo's for x2)")
    add("--size", default="1280x720", metavar="WxH", help="size of the clip (default: %(default)s)")
    add("--frames", type=count, default=75, help="number of frames (default: %(default)s)")
    add("--runtime", metavar="R", help="runtime (default: an earlier measurement, else torch)")
    add("--precision", metavar="P", help="precision (default: likewise)")
    _add_output(parser)


def _add_inference(parser: argparse.ArgumentParser) -> None:
    add_trust(parser)
    add = parser.add_argument
    add("-m", "--model", nargs="+", required=True, metavar="M", help="zoo names or checkpoints")
    add("--runtime", nargs="+", metavar="R", help="runtimes (default: all installed)")
    add("--precision", nargs="+", metavar="P", help="precisions (default: all that a runtime supports)")
    add("--size", nargs="+", default=["1280x720"], metavar="WxH", help="input sizes (default: 1280x720)")
    add("--data", metavar="D", help="evaluation set for PSNR, e.g. a folder of HR images")
    add("--seconds", type=float, default=3.0, help="time of each measurement (default: %(default)s)")
    _add_output(parser)


def _add_ladders(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "-n",
        "--network",
        nargs="+",
        default=[],
        metavar="N",
        help='networks, or sizes: "ETDS 32x5" (default: all)',
    )
    add("--runtime", default="openvino", metavar="R", help="runtime (default: %(default)s)")
    add("--precision", nargs="+", default=["bf16", "int8"], metavar="P", help="precisions (default: bf16 int8)")
    add("--size", nargs="+", default=["640x360", "1280x720"], metavar="WxH", help="sizes of the input (default: both)")
    add("--scale", type=int, default=2, help="upscaling factor (default: %(default)s)")
    add("--threads", type=count, default=1, help="threads of the runtime; of one the processor's time is measured")
    add("--seconds", type=float, default=2.0, help="time of each measurement (default: %(default)s)")
    _add_output(parser)


def _add_frontier(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--scale", nargs="+", type=int, default=[2, 4], metavar="S", help="upscaling factors (default: 2 4)")
    add("--set", default="B100", metavar="D", help="the set of the plots (default: %(default)s)")
    add("--runtime", default="openvino", metavar="R", help="runtime (default: %(default)s)")
    add(
        "--precision",
        nargs="*",
        default=["bf16"],
        metavar="P",
        help="precisions; none: measure nothing (default: bf16)",
    )
    add("--threads", type=count, default=1, help="threads of the runtime; of one the processor's time is measured")
    add("--seconds", type=float, default=2.0, help="time of each measurement (default: %(default)s)")
    _add_output(parser)


def _add_photograph(parser: argparse.ArgumentParser) -> None:
    add_trust(parser)
    add = parser.add_argument
    add("-m", "--model", nargs="+", required=True, metavar="M", help="models of one scale; the last is the reference")
    add("--image", metavar="FILE", help="the photograph (default: a freely licensed one at JPEG quality 50)")
    add("--side", type=count, default=1000, metavar="N", help="side of the timed photograph (default: %(default)s)")
    add("--rounds", type=count, default=3, help="timings of each model (default: %(default)s)")
    add("--runtime", default="openvino", metavar="R", help="runtime of every model (default: %(default)s)")
    add("--precision", default="bf16", metavar="P", help="precision of every model (default: %(default)s)")
    _add_output(parser)


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--data", required=True, metavar="D", help="data set or folder of images, which are centre-cropped")
    add("-m", "--model", default="edsr_16x8_x2_cc0", help="zoo name or checkpoint (default: %(default)s)")
    add("--count", type=count, default=200, help="number of images (default: %(default)s)")
    add("--size", default="1020x680", metavar="WxH", help="size of the crops (default: %(default)s)")
    add("--workers", type=count, default=2, help="processes of each way (default: %(default)s)")
    add("--rounds", type=count, default=3, help="number of alternating timings of both (default: %(default)s)")
    _add_output(parser)


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from srkd.files.names import check_folder

    actions = {
        "upscale": _upscale,
        "video": _video,
        "inference": _inference,
        "ladders": _ladders,
        "frontier": _frontier,
        "photograph": _photograph,
        "cluster": _cluster,
    }
    if args.output:  # before minutes of measuring
        check_folder(Path(args.output))
    return actions.get(args.action, _training)(args)


def _upscale(args: argparse.Namespace) -> int:
    from pathlib import Path

    from srkd.benchmarks import upscale as benchmark
    from srkd.benchmarks.report import write
    from srkd.inference.autotune import BackendSpec
    from srkd.report import tables
    from srkd.values import size_named

    size = size_named(args.size)
    spec = BackendSpec(args.runtime, args.precision)
    result = benchmark.against_basicsr(args.model, args.data, args.count, size, args.rounds, tell, spec)
    closing = f"folder job: {result['ratio']:.1f}x BasicSR"
    if args.output:
        write(Path(args.output), "upscale", result["rows"], benchmark.COLUMNS, result=result, remarks=[closing])
    table = f"{tables.text(result['rows'], benchmark.COLUMNS)}\n\n{closing}"
    print(tables.results_json(result) if args.json else table)
    return 0


def _inference(args: argparse.Namespace) -> int:
    from pathlib import Path

    from srkd.benchmarks import inference as benchmark
    from srkd.report import tables
    from srkd.values import size_named

    sizes = [size_named(size) for size in args.size]
    selection = benchmark.Selection(args.runtime, args.precision)
    rows = benchmark.inference(args.model, selection, sizes, args.data, args.seconds, tell)
    if args.output:
        benchmark.write(rows, Path(args.output))
    print(tables.as_json(rows, benchmark.COLUMNS) if args.json else tables.text(rows, benchmark.COLUMNS))
    return 0


def _photograph(args: argparse.Namespace) -> int:
    from pathlib import Path

    from srkd.benchmarks import photograph as benchmark
    from srkd.benchmarks.report import write
    from srkd.files.atomic import write_bytes
    from srkd.images.read import read_rgb
    from srkd.imitation import photograph
    from srkd.inference.autotune import BackendSpec
    from srkd.inference.speed import machine
    from srkd.report import tables

    image = photograph.sample() if args.image is None else read_rgb(Path(args.image))
    backend = BackendSpec(args.runtime, args.precision)
    rows, outputs = benchmark.measure(args.model, image, args.side, args.rounds, backend, tell)
    if args.output:
        result = {"machine": machine(), "side": args.side, "rows": rows}
        write(Path(args.output), "photograph", rows, benchmark.COLUMNS, result=result)
        seconds = {row["model"]: f"{row['seconds']} s" for row in rows}
        write_bytes(Path(args.output) / "photograph.png", photograph.sheet(image, outputs, seconds))
    print(tables.as_json(rows, benchmark.COLUMNS) if args.json else tables.text(rows, benchmark.COLUMNS))
    return 0


def _video(args: argparse.Namespace) -> int:
    from pathlib import Path

    from srkd.benchmarks import video as benchmark
    from srkd.benchmarks.report import write
    from srkd.report import tables
    from srkd.values import size_named

    result = benchmark.video(args.model, size_named(args.size), args.frames, (args.runtime, args.precision), tell)
    closing = [
        f"{result['model']}, {result['backend']}: the network takes {result['network share (%)']} % of the time",
        "it waited {decoding} s for decoding and {encoding} s for encoding".format(**result["waits (s)"]),
    ]
    if args.output:
        write(Path(args.output), "video", result["rows"], benchmark.COLUMNS, result=result, remarks=closing)
    table = "\n".join([tables.text(result["rows"], benchmark.COLUMNS), "", *closing])
    print(tables.results_json(result) if args.json else table)
    return 0


def _cluster(args: argparse.Namespace) -> int:
    from dataclasses import asdict
    from pathlib import Path

    from srkd.benchmarks.report import write
    from srkd.cluster import benchmark
    from srkd.inference.speed import machine
    from srkd.report import tables
    from srkd.values import size_named

    size = size_named(args.size)
    found = benchmark.measure(args.model, args.data, args.count, size, args.workers, args.rounds, tell)
    rows = benchmark.scaling(benchmark.Measured(**found["measured"]), benchmark.Assumed())
    closing = (
        f"{args.count} images of {args.size} by {args.workers} workers: local {found['local']:.1f} s, "
        f"Ray {found['ray']:.1f} s ({found['overhead']:+.1%}), of which {found['ray_once']:.1f} s do not depend on the "
        f"number of images; Ray itself starts in {found['cluster_start']:.1f} s"
    )
    found |= {"count": args.count, "size": args.size, "assumed": asdict(benchmark.Assumed()), "rows": rows}
    if args.output:
        result = {"machine": machine(), **found}
        write(Path(args.output), "cluster", rows, benchmark.COLUMNS, result=result, remarks=[closing])
    table = f"{tables.text(rows, benchmark.COLUMNS)}\n\n{closing}"
    print(tables.results_json(found) if args.json else table)
    return 0


def _selection(args: argparse.Namespace) -> list[tuple[str, str]]:
    """The named (runtime, precision) pairs, checked before minutes of measuring."""
    from srkd.inference import backends

    for precision in args.precision:
        backends.check(args.runtime, precision)
        backends.check_installed(args.runtime)
    return [(args.runtime, precision) for precision in args.precision]


def _ladders(args: argparse.Namespace) -> int:
    from pathlib import Path

    from srkd.benchmarks import ladders as benchmark
    from srkd.benchmarks.report import write
    from srkd.report import tables
    from srkd.values import size_named

    selection = _selection(args)
    sizes = [size_named(size) for size in args.size]
    columns = [*benchmark.COLUMNS, *benchmark.timings(selection, sizes)]
    rows = benchmark.ladders(args.network, selection, sizes, args.scale, args.threads, args.seconds, tell)
    if args.output:
        write(Path(args.output), "ladders", rows, columns)
    print(tables.as_json(rows, columns) if args.json else tables.text(rows, columns))
    return 0


def _frontier(args: argparse.Namespace) -> int:
    from pathlib import Path

    from srkd.benchmarks import frontier as benchmark
    from srkd.errors import unknown
    from srkd.report import tables

    if args.set not in benchmark.SETS:
        raise unknown("set", args.set, benchmark.SETS)
    selection = _selection(args)
    found = benchmark.frontier(args.scale, selection, args.threads, args.seconds, tell)
    if args.output:
        found.write(Path(args.output), args.set)
    print(tables.results_json(found.as_dict()) if args.json else found.text())
    return 0


def _training(args: argparse.Namespace) -> int:
    from pathlib import Path

    from srkd.benchmarks import training as benchmark
    from srkd.benchmarks.report import write
    from srkd.report import tables

    if args.action == "training":
        result = benchmark.training(Path(args.data), args.seconds)
        columns = benchmark.COLUMNS
        closing = [f"a distilled step takes {result['kd_step_cost']:.2f} times as long as a supervised step"]
    else:
        result = benchmark.loss_costs(Path(args.data), args.seconds)
        columns = benchmark.LOSS_COLUMNS
        closing = [
            f"a supervised step takes {result['supervised_ms']:.1f} ms",
            *(f"left out: {name}: {why}" for name, why in result["left_out"].items()),
        ]
    if args.output:
        write(Path(args.output), args.action, result["rows"], columns, result=result, remarks=closing)
    table = "\n".join([tables.text(result["rows"], columns), "", *closing])
    print(tables.results_json(result) if args.json else table)
    return 0
