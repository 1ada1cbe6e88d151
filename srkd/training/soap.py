"""SOAP: Adam in the eigenbases of Shampoo's preconditioner."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

State = dict[str, Tensor]
_SIDES = {"left": -2, "right": -1}  # of a matrix of gradients: its outputs, and its inputs times taps


class SOAP(Optimizer):
    """Each gradient, as a matrix (outputs, inputs x taps), is rotated into slowly changing bases in which Adam runs.

    The bases are the eigenvectors of the averages of G G^T and G^T G; a QR step of power iteration updates them every
    `precondition_frequency` steps, and in each of the first ones. Vectors and scalars are updated by Adam. The first
    step only starts the averages, as in the official code. Parameters of one shape are updated together: a step
    of the zoo's small student takes about a tenth longer than with Adam.

    Needs a higher learning rate than Adam: 6e-3 was best for the zoo's small student.

    Args:
        betas: decay of the mean, and of squares and bases.
        eps: added to the root of the squares.
        weight_decay: decoupled, as in AdamW.
        precondition_frequency: steps between two updates of the bases.
        max_precond_dim: a longer side of the matrix is not rotated; its basis takes the square of it.

    Raises:
        ValueError: an option out of its range.

    Source: Vyas et al., "SOAP: Improving and Stabilizing Shampoo using Adam", ICLR 2025 (arXiv:2409.11321).
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        precondition_frequency: int = 10,
        max_precond_dim: int = 1024,
    ) -> None:
        if not (len(betas) == 2 and all(0 <= beta < 1 for beta in betas)):
            raise ValueError(f"betas must be two numbers in [0, 1), got {betas}")
        if not (lr >= 0 and eps > 0 and weight_decay >= 0 and max_precond_dim >= 0):
            raise ValueError("eps must be positive, and lr, weight_decay and max_precond_dim not negative")
        if not (isinstance(precondition_frequency, int) and precondition_frequency > 0):
            raise ValueError(f"precondition_frequency must be a positive integer, got {precondition_frequency}")
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        limits = {"precondition_frequency": precondition_frequency, "max_precond_dim": max_precond_dim}
        super().__init__(params, options | limits)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; returns the closure's result, if there is one."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for options in self.param_groups:
            for parameters in _by_shape(options["params"]):
                self._step(parameters, options)
        return loss

    def _step(self, parameters: Sequence[nn.Parameter], options: Mapping[str, Any]) -> None:
        """Update parameters of one shape, whose stacked state is that of the first."""
        having = [number for number, parameter in enumerate(parameters) if parameter.grad is not None]
        if not having:
            return
        everything = self.state[parameters[0]] or self._start(parameters, options)
        partial = len(having) < len(parameters)
        state = {key: value[having] for key, value in everything.items()} if partial else everything
        chosen = [parameters[number] for number in having]
        gradient = torch.stack([_matrix(parameter.grad) for parameter in chosen if parameter.grad is not None])
        for parameter, update in zip(chosen, _update(state, gradient, options), strict=True):
            parameter.mul_(1 - options["lr"] * options["weight_decay"])
            parameter.sub_(update.view(parameter.shape), alpha=options["lr"])
        if partial:
            for key, value in everything.items():
                value[having] = state[key]

    def _start(self, parameters: Sequence[nn.Parameter], options: Mapping[str, Any]) -> State:
        zeros = torch.stack([torch.zeros_like(_matrix(parameter)) for parameter in parameters])
        state: State = self.state[parameters[0]]
        state |= {"steps": zeros.new_zeros(len(zeros)), "mean": zeros, "square": zeros.clone()}
        if min(zeros.shape[1:]) > 1:
            for side, dim in _SIDES.items():
                if (size := zeros.shape[dim]) <= options["max_precond_dim"]:
                    state[side] = zeros.new_zeros(len(zeros), size, size)
                    state[f"{side}_basis"] = torch.eye(size).to(zeros).expand(len(zeros), -1, -1).clone()
        return state


def _by_shape(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    groups: dict[tuple[Any, ...], list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault((parameter.shape, parameter.dtype, parameter.device), []).append(parameter)
    yield from groups.values()


def _matrix(tensor: Tensor) -> Tensor:
    """(outputs, inputs x taps); one row for vectors and scalars."""
    return tensor.reshape(len(tensor) if tensor.dim() > 1 else 1, -1)


def _update(state: State, gradient: Tensor, options: Mapping[str, Any]) -> Tensor:
    """Adam's update in the bases, without the learning rate, (parameters, outputs, inputs x taps); updates `state`."""
    first, second = options["betas"]
    steps = state["steps"][:, None, None]  # before this one, so that the first changes nothing
    started = steps.clamp_max(1)
    rotated = _rotated(gradient, state)
    state["mean"].lerp_(gradient, (1 - first) * started)
    state["square"].lerp_(rotated.square(), (1 - second) * started)
    root = (state["square"] / (1 - second ** steps.clamp_min(1))).sqrt() + options["eps"]
    mean = _rotated(state["mean"], state) / (1 - first ** steps.clamp_min(1))
    update = _rotated(mean / root, state, back=True)
    state["steps"] += 1
    _update_bases(state, gradient, 1 - second, options["precondition_frequency"])
    return update


def _rotated(matrices: Tensor, state: State, back: bool = False) -> Tensor:
    """Matrices in the bases of both sides, or from them back."""
    left, right = state.get("left_basis"), state.get("right_basis")
    if left is not None:
        matrices = (left if back else left.mT) @ matrices
    if right is not None:
        matrices = matrices @ (right.mT if back else right)
    return matrices


def _update_bases(state: State, gradient: Tensor, weight: float, frequency: int) -> None:
    steps = state["steps"]
    due = (steps < frequency) | (steps % frequency == 0)
    for side, dim in _SIDES.items():
        if side not in state:
            continue
        covariance = state[side].lerp_(gradient @ gradient.mT if side == "left" else gradient.mT @ gradient, weight)
        if not due.any():
            continue
        basis, square = state[f"{side}_basis"], state["square"]
        product = covariance @ basis
        order = (basis * product).sum(-2).argsort(-1, descending=True)  # by eigenvalues, as estimated
        across = order[:, None, :]
        refreshed = torch.linalg.qr(product.gather(-1, across.expand_as(product))).Q
        places = order[:, :, None] if side == "left" else across
        basis[due] = refreshed[due]
        square[due] = square.gather(dim, places.expand_as(square))[due]
