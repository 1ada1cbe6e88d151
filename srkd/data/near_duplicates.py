"""Near-duplicates of evaluation images among training images: cropped, scaled, mirrored, recompressed.

Three steps, cheap ones first:

1. **Votes.** SIFT descriptors (Lowe, IJCV 2004) of all evaluation images in one k-d forest, compared by the Hellinger
   kernel (RootSIFT, Arandjelovic and Zisserman, CVPR 2012). Each descriptor of a training image votes for the
   evaluation images of its nearest neighbours, if they are clearly closer than the next one.
2. **Geometry.** For the few images with the most votes, an affine map supported by enough matches (RANSAC).
3. **Photometry.** The training image, warped by that map, must correlate with the evaluation image where they overlap.

Mirrored images are found from the same descriptors: a mirrored patch permutes the cells of its SIFT descriptor. Images
with fewer than `FEWEST_FEATURES` features (sky, fog, flat colour) cannot be compared this way; they are reported.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from srkd.data import manifests
from srkd.data.store import ImageStore, SourceFile
from srkd.errors import SrkdError
from srkd.files.atomic import atomic_path, printable_path, write_json
from srkd.files.cache import cache_place, trusted
from srkd.files.digest import file_sha256
from srkd.files.lock import locked
from srkd.images.read import ImageData, read_image, write_image
from srkd.images.write import to_depth
from srkd.interruption import result, submitted

Grey = NDArray[np.uint8]
Progress = Callable[[int, int], None]

FEWEST_FEATURES = 16
_VERSION = 2  # of what follows: verdicts and indices of another version are recomputed
_SIDE, _FEATURES = 1024, 1500  # of a training image, which may contain an evaluation image as a small part
_REFERENCE_SIDE, _REFERENCE_FEATURES = 768, 800
_CONTRAST, _LOW_CONTRAST = 0.02, 0.004  # SIFT's threshold, and the one for images with few features
_RATIO = 0.85
_NEIGHBOURS = 4  # more than 2: evaluation images may be near-duplicates of each other (Set5's head, Set14's face)
_FEWEST_VOTES, _CANDIDATES = 5, 4
_FEWEST_INLIERS, _REPROJECTION = 8, 4.0  # matches that support a map, tolerance in pixels
_COMPARED_SIDE, _SMALLEST_OVERLAP = 256, 0.02  # the longer side at which pixels are compared; share of its area
_ROLES = ("test", "validation", "refused")
_CORRELATION = 0.8  # near-duplicates reach at least 0.94, other pairs with a supported map 0.45


@dataclass(frozen=True)
class Reference:
    """An evaluation image: its set and part ("Set5/test"), its file, and the part's role."""

    set_name: str
    path: Path
    role: str = "test"


@dataclass(frozen=True)
class Duplicate:
    """A training image with content of an evaluation image, their normalised correlation where they overlap, and the
    share of the evaluation image that the overlap covers."""

    image: str
    set_name: str
    reference: str
    correlation: float
    overlap: float
    mirrored: bool

    def __str__(self) -> str:
        how = " mirrored," if self.mirrored else ""
        return (
            f"{printable_path(self.image)} is a near-duplicate of {printable_path(self.reference)} "
            f"({self.set_name}):{how} "
            f"correlation {self.correlation:.3f} over {self.overlap:.0%} of it"
        )


@dataclass(frozen=True)
class Features:
    """SIFT features: positions (N, 2) as (x, y) in pixels, descriptors (N, 128), and the size of the image."""

    points: NDArray[np.float32]
    descriptors: NDArray[np.uint8]
    height: int
    width: int

    def mirrored(self) -> Features:
        """The features of the image mirrored left to right, by permuting the descriptors' 4 x 4 cells of 8 bins."""
        cells = self.descriptors.reshape(-1, 4, 4, 8)[:, ::-1][..., -np.arange(8) % 8]
        points = np.stack([self.width - 1 - self.points[:, 0], self.points[:, 1]], 1)
        return Features(points, np.ascontiguousarray(cells).reshape(-1, 128), self.height, self.width)

    def roots(self) -> NDArray[np.float32]:
        """RootSIFT: Euclidean distances between these are Hellinger distances between the descriptors."""
        values = self.descriptors.astype(np.float32)
        result: NDArray[np.float32] = np.sqrt(values / np.maximum(values.sum(1, keepdims=True), 1))
        return result


def grey(pixels: NDArray[Any], side: int) -> Grey:
    """uint8 (H, W) of RGB or grey pixels (H, W, C), uint8 or uint16, shrunk to at most `side` on the longer side."""
    eight = to_depth(pixels, deep=False)
    flat = cv2.cvtColor(eight[..., :3], cv2.COLOR_RGB2GRAY) if eight.shape[2] >= 3 else eight[..., 0]
    return _shrunk(np.asarray(flat, np.uint8), side / max(flat.shape))


def _shrunk(image: Grey, factor: float) -> Grey:
    if factor >= 1:
        return image
    height, width = (max(1, round(n * factor)) for n in image.shape)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def describe(image: Grey, count: int) -> Features:
    """At most `count` SIFT features of a grey image; smooth images may have none."""
    for contrast in (_CONTRAST, _LOW_CONTRAST):
        found, descriptors = cv2.SIFT.create(count, contrastThreshold=contrast).detectAndCompute(image, None)
        if len(found) >= count // 4:
            break
    points = np.array([point.pt for point in found], np.float32).reshape(-1, 2)
    values = np.zeros((0, 128)) if descriptors is None else descriptors  # whole numbers up to 255
    return Features(points, values.astype(np.uint8), *image.shape)


def references(mirror: Path | None = None) -> list[Reference]:
    """The images of all evaluation sets on this machine or in a mirror; downloads nothing.

    These are the test, validation and refused parts of every manifest.
    """
    found = []
    for name in manifests.names():
        for key, part in manifests.manifest(name).parts.items():
            if part.role != "train":
                found += [Reference(f"{name}/{key}", path, part.role) for path in manifests.at_hand(name, key, mirror)]
    return found


class Index:
    """The features of evaluation images, and the search for a training image among them.

    Computed once per set of files and kept in the cache folder; about 150 KB and 50 ms per image.
    """

    def __init__(self, references: Sequence[Reference]) -> None:
        self.references = list(references)
        sums = [file_sha256(reference.path) for reference in self.references]
        self.key = hashlib.sha256("\n".join([str(_VERSION), *sums]).encode()).hexdigest()[:16]
        self.features = self._read_or_describe()
        self._owner = np.repeat(np.arange(len(self.features)), [len(f.points) for f in self.features])
        self._forest = cv2.FlannBasedMatcher({"algorithm": 1, "trees": 4}, {"checks": 32})
        if len(self._owner) >= _NEIGHBOURS:
            self._forest.add([np.concatenate([f.roots() for f in self.features])])
            self._forest.train()

    def _read_or_describe(self) -> list[Features]:
        path = cache_place("near_duplicates") / f"{self.key}.npz"
        if trusted(path):
            with suppress(OSError, ValueError, KeyError, zipfile.BadZipFile), np.load(path) as kept:
                ends = np.cumsum(kept["counts"])[:-1]
                split = (np.split(kept[name], ends) for name in ("points", "descriptors"))
                return [Features(*values, *map(int, size)) for *values, size in zip(*split, kept["sizes"], strict=True)]
        computed = [describe(_grey_of(r.path, _REFERENCE_SIDE), _REFERENCE_FEATURES) for r in self.references]
        if computed:
            with suppress(SrkdError), atomic_path(path) as temporary:
                np.savez(
                    temporary,
                    counts=[len(f.points) for f in computed],
                    sizes=[(f.height, f.width) for f in computed],
                    points=np.concatenate([f.points for f in computed]),
                    descriptors=np.concatenate([f.descriptors for f in computed]),
                )
        return computed

    def has(self, duplicate: Mapping[str, Any]) -> bool:
        """Whether the evaluation image of an earlier duplicate is among these, perhaps in another folder."""
        wanted = duplicate["set_name"], Path(duplicate["reference"]).name
        return any((reference.set_name, reference.path.name) == wanted for reference in self.references)

    def search(self, image: str, pixels: NDArray[Any], features: Features | None = None) -> Duplicate | None:
        """The evaluation image that a training image (H, W, C) duplicates, or None; test sets take precedence."""
        small = grey(pixels, _SIDE)
        plain = features or describe(small, _FEATURES)
        found: list[tuple[int, Duplicate]] = []
        for mirrored in (False, True):
            own = plain.mirrored() if mirrored else plain
            seen = np.ascontiguousarray(small[:, ::-1]) if mirrored else small
            for number in self._candidates(own):
                reference = self.references[number]
                correlation, overlap = self._compare(seen, own, number)
                if correlation >= _CORRELATION and overlap >= _SMALLEST_OVERLAP:
                    measured = (round(correlation, 4), round(overlap, 4), mirrored)
                    pair = Duplicate(image, reference.set_name, str(reference.path), *measured)
                    found.append((_ROLES.index(reference.role), pair))
        return min(found, key=lambda ranked: ranked[0])[1] if found else None

    def _compare(self, seen: Grey, own: Features, number: int) -> tuple[float, float]:
        """(correlation, overlap) with an evaluation image; zeros if no map is found."""
        affine = _affine(own, self.features[number])
        if affine is None:
            return 0.0, 0.0
        return _compare(seen, _grey_of(self.references[number].path, _REFERENCE_SIDE), affine)

    def _candidates(self, own: Features) -> list[int]:
        """The evaluation images with the most votes, best first."""
        if len(own.points) < FEWEST_FEATURES or len(self._owner) < _NEIGHBOURS:
            return []
        found = self._forest.knnMatch(own.roots(), k=_NEIGHBOURS)
        owners = self._owner[np.array([[match.trainIdx for match in row] for row in found])]
        distances = np.array([[match.distance for match in row] for row in found])
        votes = np.zeros(len(self.features), int)
        for place in range(_NEIGHBOURS - 1):  # the last one is the reference distance
            clear = distances[:, place] < _RATIO * distances[:, -1]
            first = (owners[:, :place] != owners[:, place : place + 1]).all(1)
            votes += np.bincount(owners[clear & first, place], minlength=len(votes))
        best = np.argsort(-votes, kind="stable")[:_CANDIDATES]
        return [int(number) for number in best if votes[number] >= _FEWEST_VOTES]


def _grey_of(path: Path, side: int) -> Grey:
    return grey(read_image(path).colour, side)


def _affine(own: Features, other: Features) -> NDArray[np.float64] | None:
    """The 2 x 3 affine map from a training image to an evaluation image, if enough matches support it."""
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(own.roots(), other.roots(), k=2)
    clear = [pair[0] for pair in pairs if len(pair) == 2 and pair[0].distance < _RATIO * pair[1].distance]
    if len(clear) < _FEWEST_INLIERS:
        return None
    source = own.points[[match.queryIdx for match in clear]]
    target = other.points[[match.trainIdx for match in clear]]
    cv2.setRNGSeed(0)
    affine, inliers = cv2.estimateAffine2D(source, target, ransacReprojThreshold=_REPROJECTION)
    if affine is None or int(inliers.sum()) < _FEWEST_INLIERS:
        return None
    large, small = np.linalg.svd(affine[:, :2], compute_uv=False)
    possible = small > 0.05 and large < 20 and large < 2.5 * small and np.linalg.det(affine[:, :2]) > 0
    return np.asarray(affine) if possible else None


def _compare(own: Grey, other: Grey, affine: NDArray[np.float64]) -> tuple[float, float]:
    """(normalised correlation, overlap) of a training image, warped by `affine`, with an evaluation image."""
    factor = min(1.0, _COMPARED_SIDE / max(other.shape))
    small = _shrunk(other, factor)
    shrunk = _shrunk(own, factor * float(np.sqrt(np.linalg.det(affine[:, :2]))))  # before warping, against aliasing
    to_own = np.diag([own.shape[1] / shrunk.shape[1], own.shape[0] / shrunk.shape[0], 1])
    to_small = np.diag([small.shape[1] / other.shape[1], small.shape[0] / other.shape[0]])
    warp, size = to_small @ affine @ to_own, small.shape[::-1]
    inside = cv2.warpAffine(np.ones_like(shrunk), warp, size, flags=cv2.INTER_NEAREST).astype(bool)
    overlap = float(inside.mean())
    if overlap < _SMALLEST_OVERLAP:
        return 0.0, overlap
    both = (cv2.warpAffine(shrunk, warp, size, borderMode=cv2.BORDER_REPLICATE), small)
    a, b = (cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.0)[inside] for image in both)
    spread = float(a.std() * b.std())
    return (float(((a - a.mean()) * (b - b.mean())).mean()) / spread if spread > 1 else 0.0), overlap


@dataclass(frozen=True)
class Checked:
    """The result of a check: near-duplicates, and images with too few features to be compared."""

    duplicates: list[Duplicate]
    smooth: list[str]


def check(store: ImageStore, index: Index, progress: Progress = lambda done, whole: None) -> Checked:
    """Compare every HR image of a store with the index; results of earlier checks are reused."""
    known = _verdicts()
    duplicates, smooth = [], []
    new = [i for i in range(len(store)) if known.get(store.source(i).sha256, {}).get("index") != index.key]
    for done, (number, features) in enumerate(_described(store, new), 1):
        source = store.source(number)
        found = index.search(source.path, store.hr(number), features)
        verdict: dict[str, Any] = {"index": index.key, "smooth": len(features.points) < FEWEST_FEATURES}
        if found is not None:
            verdict["duplicate"] = asdict(found)
        elif (before := known.get(source.sha256, {}).get("duplicate")) and not index.has(before):
            verdict["duplicate"] = before  # of an evaluation image that is not at hand now
        known[source.sha256] = verdict
        progress(done, len(new))
    if new:
        _keep({store.source(number).sha256: known[store.source(number).sha256] for number in new})
    for number in range(len(store)):
        source = store.source(number)
        verdict = known[source.sha256]
        if "duplicate" in verdict:
            duplicates.append(_of(verdict, source.path))
        elif verdict["smooth"]:
            smooth.append(source.path)
    return Checked(duplicates, smooth)


def _described(store: ImageStore, numbers: Sequence[int]) -> Iterator[tuple[int, Features]]:
    """The features of a store's images, in order, computed by two threads a few images ahead."""

    def work(number: int) -> Features:
        return describe(grey(store.hr(number), _SIDE), _FEATURES)

    left = iter(numbers)
    with ThreadPoolExecutor(2) as pool:
        ahead: deque[tuple[int, Future[Features]]] = deque()
        for _ in numbers:
            ahead.extend((number, submitted(pool, work, number)) for number in islice(left, 4 - len(ahead)))
            number, future = ahead.popleft()
            yield number, result(future)


def _keep(verdicts: Mapping[str, dict[str, Any]]) -> None:
    """Add verdicts to those of other processes."""
    with suppress(SrkdError), locked(_verdict_file().parent):  # a read-only cache is not an error
        write_json(_verdict_file(), {**_verdicts(), **verdicts})


def _verdict_file() -> Path:
    return cache_place("near_duplicates") / "verdicts.json"


def _verdicts() -> dict[str, dict[str, Any]]:
    """Results of earlier checks, by the SHA-256 of the training image's file."""
    path = _verdict_file()
    with suppress(OSError, ValueError):
        kept = json.loads(path.read_bytes()) if trusted(path) else None
        if isinstance(kept, dict):
            return kept
    return {}


def _of(verdict: dict[str, Any], image: str) -> Duplicate:
    return Duplicate(**{**verdict["duplicate"], "image": image})


def refuse_known(sources: Iterable[SourceFile]) -> None:
    """Reject training images that an earlier check found to be near-duplicates; compares nothing itself.

    Raises:
        SrkdError: one of the images is a near-duplicate; the pair is named.
    """
    known = _verdicts()
    for source in sources:
        verdict = known.get(source.sha256, {})
        if "duplicate" in verdict:
            refuse([_of(verdict, source.path)])


def refuse(found: Sequence[Duplicate]) -> None:
    """Raise SrkdError, naming the first pair, if near-duplicates were found."""
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise SrkdError(f"{found[0]}{more}; it must not be trained on: name it in `exclude`, or remove it")


def write_pair(found: Duplicate, folder: Path) -> Path:
    """Write a PNG of the training and evaluation image side by side, at the height of the smaller; returns its path."""
    images = [to_depth(read_image(path).colour, deep=False) for path in (found.image, found.reference)]
    height = min(image.shape[0] for image in images)
    shrunk = []
    for image in images:
        size = (max(1, round(image.shape[1] * height / image.shape[0])), height)
        rgb = np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))
        shrunk.append(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))
    path = folder / f"{Path(found.image).stem}-{Path(found.reference).stem}.png"
    write_image(path, ImageData(np.concatenate(shrunk, 1)))
    return path
