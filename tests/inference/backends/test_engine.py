from __future__ import annotations

import numpy as np
import pytest

from srkd.inference.backends.engine import Bytes, CannotRunError, Engine, Fp32FallbackEngine, is_invalid
from srkd.inference.calibration import check_sizes
from srkd.inference.model import Model
from support import textured


class Repeats(Engine):
    """Repeats pixels; with `hole`, a patch of its output has that level, like converted NaN."""

    runtime = "torch"

    def __init__(self, precision: str, hole: int | None = None) -> None:
        super().__init__(precision, 2)
        self.hole, self.calls = hole, 0

    def _run(self, pixels: Bytes) -> Bytes:
        self.calls += 1
        prediction = pixels.repeat(2, 1).repeat(2, 2)
        if self.hole is not None:
            prediction[:, 20:70, 30:80] = self.hole
        return prediction


def model(engine: Engine) -> Model:
    return Model.of_engine(engine, {"scale": 2})


@pytest.mark.parametrize("hole", [0, 255])
def test_an_invalid_prediction_is_replaced_by_fp32_and_reported_once(hole: int) -> None:
    image = textured(0, 60, 70)[None] // 2 + 40
    exact, messages = Repeats("fp32"), list[str]()
    fallback = Fp32FallbackEngine(Repeats("bf16", hole), lambda: exact, messages.append)
    for _ in range(2):
        assert np.array_equal(fallback(image), exact(image))
    assert messages == ["torch bf16 gave NaN or black for an image with this network: falling back to torch fp32"]
    assert str(fallback) == "torch fp32"


def test_invalid_output_of_the_network_itself_is_kept() -> None:
    image = np.full((1, 60, 70, 3), 100, np.uint8)
    engine, exact = Repeats("bf16", 0), Repeats("fp32", 0)
    fallback = Fp32FallbackEngine(engine, lambda: exact, lambda line: pytest.fail(line))
    for _ in range(3):
        assert (fallback(image)[0, 30:60, 40:70] == 0).all()
    assert exact.calls == 1 and engine.calls == 3


@pytest.mark.parametrize("shape", [(60, 70), (1, 1), (5, 33)])
def test_valid_predictions_are_accepted(shape: tuple[int, int]) -> None:
    image = textured(1, *shape)
    sharp = image.repeat(2, 0).repeat(2, 1).astype(int) + np.random.default_rng(0).integers(-20, 20, 3)
    assert not is_invalid(image[None], np.clip(sharp, 0, 255).astype(np.uint8)[None])
    black = np.zeros((1, *shape, 3), np.uint8)
    assert not is_invalid(black, black.repeat(2, 1).repeat(2, 2))


def test_an_engine_that_cannot_run_is_replaced_by_fp32() -> None:
    class Fails(Repeats):
        def _run(self, pixels: np.ndarray) -> np.ndarray:
            raise IndexError("no such size\nand more")

    messages: list[str] = []
    fallback = Fp32FallbackEngine(Fails("fp32"), lambda: Repeats("fp32"), messages.append)
    image = np.full((1, 20, 20, 3), 90, np.uint8)
    for _ in range(2):
        assert (fallback(image) == 90).all()
    (line,) = messages
    assert line.endswith("cannot run this network at 20x20: no such size: falling back to torch fp32")
    with pytest.raises(CannotRunError, match=r"at 20x20: no such size$"):
        Fails("fp32")(image)


def test_sizes_baked_in_as_constants_are_detected() -> None:
    class Baked(Repeats):
        """Correct for sides that are multiples of 8."""

        def _run(self, pixels: np.ndarray) -> np.ndarray:
            return super()._run(pixels) // (1 if pixels.shape[2] % 8 == 0 else 2)

    image, (exact, *baked) = textured(0, 40, 50), map(model, (Repeats("fp32"), Baked("fp32"), Baked("int8")))
    check_sizes(model(Repeats("fp32")), exact, image)
    for other in baked:
        with pytest.raises(CannotRunError, match=r"differs by .* levels at 51x37: sizes are constants in it"):
            check_sizes(other, exact, image)
