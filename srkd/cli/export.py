"""Export a trained network to ONNX, OpenVINO, ncnn and the browser; every file is run and compared before it is kept.

A file whose output differs from torch, or that loses more than --max-drop on the evaluation set, is not kept (exit code
2); the table gives the reason. The metadata of the files has scale, colour, halo, licence and lineage.
"""

from __future__ import annotations

import argparse

from srkd.cli.main import add_trust
from srkd.terminal import tell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="zoo name or checkpoint")
    add(
        "-o",
        "--output",
        required=True,
        metavar="DIR",
        help="folder for the files, export.md, export.json and the OpenModelDB entry",
    )
    add(
        "--to",
        default="onnx,openvino",
        metavar="T,...",
        help="onnx, openvino, ncnn, litert, browser (a page), or suffixes such as .xml (default: %(default)s)",
    )
    add(
        "--precision",
        default="fp32",
        metavar="P,...",
        help="fp32, int8 (onnx, openvino), fp16 (ncnn: stored weights) (default: %(default)s)",
    )
    add(
        "--uint8",
        action="store_true",
        help="uint8 NHWC in and out, scaling and clamp inside (default, and for ncnn and litert: float32)",
    )
    add(
        "--data",
        default="BSDS500/validation",
        metavar="D",
        help="evaluation set to compare on: a name or a folder of HR images (default: %(default)s)",
    )
    add("--calibration", default="scikit_image", metavar="D", help="images for int8 (default: %(default)s)")
    add("--calibration-count", type=int, metavar="N", help="the first N of them (default: all)")
    add("--json", action="store_true", help="print JSON instead of the table")
    add("--max-drop", type=float, default=0.1, metavar="DB", help="dB that int8 may lose (default: %(default)s)")
    add("--author", default="", metavar="A", help="author in the OpenModelDB entry (default: the card's)")
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from srkd.errors import PartialFailure
    from srkd.files.names import check_folder
    from srkd.inference.export import COLUMNS, ExportOptions, export
    from srkd.inference.model import Model
    from srkd.report import tables

    check_folder(Path(args.output))  # before a minute of conversion
    targets, precisions = args.to.split(","), args.precision.split(",")
    options = ExportOptions(
        targets,
        precisions,
        args.uint8,
        args.data,
        args.calibration,
        args.calibration_count,
        args.max_drop,
        author=args.author,
    )
    result = export(Model.load(args.model), Path(args.output), options, tell)
    print(tables.as_json(result.rows, COLUMNS) if args.json else result.text())
    if result.rejected:
        raise PartialFailure(f"{len(result.rejected)} of {len(result.files)} files were refused; the table says why")
    return 0
