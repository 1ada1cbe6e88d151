"""SRGAN, and cohorts of SRGANs whose discriminators, generators or both teach one another without a teacher."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from srkd import losses
from srkd.distill.objective import Objective, parse_terms
from srkd.engine.checkpoint import load_into, load_weights
from srkd.engine.optimisers import make_optimiser
from srkd.engine.task import SetScores
from srkd.errors import SrkdError
from srkd.losses.adversarial import GANLoss, GANLossD
from srkd.sr import evaluate, networks, task
from srkd.sr.gan_health import Watch, measure
from srkd.sr.gan_recipe import GANRecipe
from srkd.sr.models import build_or_load, read_weights
from srkd.sr.task import Step

if TYPE_CHECKING:
    from lightning_fabric import Fabric


Updates = Generator[tuple[Tensor, Optimizer], None, list[Tensor]]


class Judge(nn.Module):
    """A discriminator over several batches of pictures at once, so that distributed training sees one forward pass.

    Each batch is normalised by its own statistics, as published.
    """

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, batches: Sequence[Tensor]) -> list[Tensor]:
        return [self.discriminator(pictures).float() for pictures in batches]


@dataclass
class Pair:
    """A generator with its objective, and its discriminator where there is one; `step` and `judge` wrap them."""

    suffix: str
    seed: int
    generator: nn.Module
    objective: Objective
    discriminator: nn.Module | None
    watch: Watch
    step: Callable[..., tuple[Tensor, Tensor, dict[str, Tensor]]] = field(init=False)
    judge: Callable[[Sequence[Tensor]], list[Tensor]] = field(init=False)


class Task(task.Task):
    """The task `sr.gan`: what BasicSR calls SRGANModel, one pair or a cohort.

    In each step every generator is updated, then every discriminator, on the real patches and on the fakes that its
    generator made in that step (BasicSR's order). In a cohort, pair i minimises L_i = its own loss + weight T^2 / (N-1)
    sum_j D(stopgrad(peer j) || i): for discriminators D is the divergence of Bernoulli distributions p = sigmoid(z / T)
    with `vanilla`, the squared difference of logits otherwise, on the shared real batch and on the fakes of one pair,
    each in turn; for generators the squared difference of outputs, without T. Peers answer as they were before the
    step. A cohort with weight 0 trains as its pairs would alone, to the bit, if no loss is random.
    """

    recipe_type = GANRecipe
    recipe: GANRecipe

    def __init__(self, recipe: GANRecipe) -> None:
        self._refuse_twins(recipe)
        first = recipe.manual_seed if recipe.init_seed is None else recipe.init_seed
        with _seeded(first):
            super().__init__(recipe)
        self.adversarial, self.judgement, self.adversarial_weight = self._adversarial()
        # The first pair's generator and objective are those of the task `sr`; its peers' are here.
        self.peers, self.discriminators = nn.ModuleList(), nn.ModuleList()
        self.pairs: list[Pair] = []
        size = recipe.mutual.cohort if recipe.mutual else 1
        for number in range(size):
            self.pairs.append(self._pair(number, first + number, size))
        mutual = recipe.mutual
        divergence = "bernoulli" if self.judgement is not None and self.judgement.gan_type == "vanilla" else "l2"
        temperature = mutual.temperature if mutual else 1.0
        self.between_discriminators = losses.build("mutual", divergence=divergence, temperature=temperature)
        self.between_generators = losses.build("mutual", divergence="l2")

    @staticmethod
    def _refuse_twins(recipe: GANRecipe) -> None:
        path = recipe.path
        pretrained = path.pretrain_network_d or recipe.train.gan_opt is None
        if recipe.mutual and (path.pretrain_network_g or {"zoo", "file"} & set(recipe.network_g)) and pretrained:
            raise SrkdError(
                "mutual: every pair would start from the same weights and stay the same; leave out "
                "path.pretrain_network_d (and train the generators with train.gan_opt)"
            )

    def _adversarial(self) -> tuple[GANLoss | None, GANLossD | None, float]:
        recipe, spec = self.recipe, self.recipe.train.gan_opt
        if spec is None:
            return None, None, 0.0
        if recipe.network_d is None:
            raise SrkdError("train.gan_opt needs a discriminator: the recipe has no network_d")
        options = {k: v for k, v in spec.items() if k not in ("type", "loss_weight")}
        weight = spec.get("loss_weight", 1.0)
        if spec.get("type", "GANLoss") != "GANLoss" or not isinstance(weight, (int, float)) or not weight >= 0:
            raise SrkdError(f"train.gan_opt: must be a GANLoss with a loss_weight >= 0, got {dict(spec)}")
        return GANLoss(**_checked(options)), GANLossD(**_checked(options)), float(weight)

    def _pair(self, number: int, seed: int, size: int) -> Pair:
        recipe, path = self.recipe, self.recipe.path
        generator, objective = self.network_g, self.objective
        if number:
            with _seeded(seed):
                generator = build_or_load(recipe.network_g, recipe.scale, "network_g").network.train()
                objective = Objective(parse_terms(recipe.train.all_losses()))
            if path.pretrain_network_g:
                weights = read_weights(path.pretrain_network_g, recipe.scale)
                load_into(generator, weights, path.pretrain_network_g, path.strict_load_g)
            self.peers.append(nn.ModuleList([generator, objective]))
        discriminator = None
        if self.judgement is not None:
            with _seeded(seed):
                discriminator = self._discriminator()
            self.discriminators.append(discriminator)
        suffix, name = (f"_{number}", f"pair {number}") if size > 1 else ("", "the GAN")
        return Pair(suffix, seed, generator, objective, discriminator, Watch(name))

    def _discriminator(self) -> nn.Module:
        path = self.recipe.path
        try:
            discriminator = networks.build(self.recipe.network_d or {}).train()
        except SrkdError as error:
            raise SrkdError(f"network_d: {error}") from error
        if path.pretrain_network_d:
            weights, _ = load_weights(Path(path.pretrain_network_d))
            load_into(discriminator, weights, path.pretrain_network_d, path.strict_load_d)
        return discriminator

    def setup(self, fabric: Fabric) -> None:
        self._gather(fabric)
        train, teacher = self.recipe.train, self.teacher_network
        for pair in self.pairs:
            if pair is not self.pairs[0]:
                pair.objective.resolve_taps(pair.generator, teacher.network if teacher else None)
                self._place(pair.generator)
            with _seeded(pair.seed):
                self._dry_run(pair.generator, pair.objective)
            step = Step(pair.generator, pair.objective)
            pair.step, optimiser = fabric.setup(step, make_optimiser(step.parameters(), train.optim_g))
            self.optimisers[f"g{pair.suffix}"] = optimiser
            if pair.discriminator is not None:
                self._place(pair.discriminator)
                self._try_discriminator(pair)
                judge = Judge(pair.discriminator)
                pair.judge, optimiser = fabric.setup(judge, make_optimiser(judge.parameters(), train.optim_d))
                self.optimisers[f"d{pair.suffix}"] = optimiser

    def _place(self, network: nn.Module) -> None:
        if self.recipe.train.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.to(self.device)

    def _try_discriminator(self, pair: Pair) -> None:
        """One look at a batch without an update, so that a size it cannot take is found before training."""
        assert pair.discriminator is not None
        state = {key: tensor.clone() for key, tensor in pair.discriminator.state_dict().items()}
        try:
            with torch.no_grad():
                logits = pair.discriminator(self.batch(0)["hr"])
        except (RuntimeError, ValueError) as error:
            raise SrkdError(f"network_d: {str(error).splitlines()[0]}") from error
        except SrkdError as error:
            raise SrkdError(f"network_d: {error}") from error
        if not isinstance(logits, Tensor) or not torch.isfinite(logits).all():
            raise SrkdError("network_d: its answer to a batch of real patches is not a tensor of finite numbers")
        pair.discriminator.load_state_dict(state)

    def steps(self, batch: dict[str, Any], step: int) -> Iterator[tuple[Tensor, Optimizer]]:
        train = self.recipe.train
        self.log = {}
        if (step + 1) % train.net_d_iters == 0 and (step + 1 > train.net_d_init_iters or self.judgement is None):
            fakes = yield from self._generators(batch, step)
        else:
            with torch.no_grad(), self.autocast(step, self.device):
                fakes = [pair.generator(batch["lr"]).float() for pair in self.pairs]
        if self.judgement is not None:
            yield from self._judge(batch["hr"], fakes, step)
        if (step + 1) % self.recipe.logger.print_freq == 0:
            self._look(batch["hr"], fakes, step)

    def _generators(self, batch: dict[str, Any], step: int) -> Updates:
        """A step of each generator; returns their pictures, made before it and cut off the graph."""
        with self.autocast(step, self.device):
            teacher, context = self.teacher(batch), self._context(batch, step)
            answers = [pair.step(batch, teacher, context) for pair in self.pairs]
        outputs = [output for output, _, _ in answers]
        mutual = self.recipe.mutual
        for number, (pair, (output, total, values)) in enumerate(zip(self.pairs, answers, strict=True)):
            parameters = [p for p in pair.generator.parameters() if p.requires_grad]
            self._note(pair, {f"l_{name}": value for name, value in values.items()})
            if self._monitored(step):
                self._note(pair, pair.objective.monitor(values, parameters))
            if pair.discriminator is not None:
                adversarial = self._adversarial_term(pair.discriminator, output, batch["hr"], step)
                self._note(pair, {"l_g_gan": adversarial})
                if self._monitored(step):
                    weighted = adversarial * self.adversarial_weight
                    self._note(pair, {"grad/gan": _gradient_norm(weighted, parameters)})
                total = total + self.adversarial_weight * adversarial
            if mutual and mutual.among("generator"):
                term = self._among(self.between_generators, outputs, number)
                self._note(pair, {"l_g_mutual": term / len(self.pairs)})
                total = total + mutual.weight * term
            yield total, self.optimisers[f"g{pair.suffix}"]
        return [output.detach() for output in outputs]

    def _adversarial_term(self, discriminator: nn.Module, output: Tensor, hr: Tensor, step: int) -> Tensor:
        """What the discriminator says to the generator's pictures; its own parameters get no gradient from it."""
        assert self.adversarial is not None
        discriminator.requires_grad_(False)
        try:
            with self.autocast(step, self.device):
                real = None
                if self.adversarial.gan_type == "ragan":
                    with torch.no_grad():
                        real = discriminator(hr)
                return self.adversarial(discriminator(output), real)
        finally:
            discriminator.requires_grad_(True)

    def _judge(self, hr: Tensor, fakes: list[Tensor], step: int) -> Iterator[tuple[Tensor, Optimizer]]:
        """A step of each discriminator."""
        assert self.judgement is not None
        mutual, shown = self.recipe.mutual, step % len(self.pairs)
        shared = bool(mutual and mutual.among("discriminator"))
        with self.autocast(step, self.device):
            logits = [
                pair.judge([hr, fakes[i], fakes[shown]] if shared and i != shown else [hr, fakes[i]])
                for i, pair in enumerate(self.pairs)
            ]
        for number, pair in enumerate(self.pairs):
            assert pair.discriminator is not None
            real, fake = logits[number][:2]
            total = self.judgement([real, fake])
            p_real, p_fake = self.judgement.verdict(real, fake)
            self._note(pair, {"l_d": total, "p_real": p_real, "p_fake": p_fake})
            if mutual and shared:
                # The last logits of each are those of the shared fakes: one pair's own, its peers' third batch.
                term = self._among(self.between_discriminators, [z[0] for z in logits], number)
                term = term + self._among(self.between_discriminators, [z[-1] for z in logits], number)
                self._note(pair, {"l_d_mutual": term / len(self.pairs)})
                total = total + mutual.weight * term
            if self._monitored(step):
                parameters = list(pair.discriminator.parameters())
                self._note(pair, {"grad/net_d": _gradient_norm(total, parameters)})
            yield total, self.optimisers[f"d{pair.suffix}"]

    def _among(self, mutual: nn.Module, answers: Sequence[Tensor], number: int) -> Tensor:
        """The cohort's divergence, whose gradient reaches network `number` alone and is that of its own term.

        The loss is the mean over N networks of their terms, so that N times it is their sum; only this one's answer
        has its graph.
        """
        own = [z if i == number else z.detach() for i, z in enumerate(answers)]
        return mutual(own) * len(answers)

    def _monitored(self, step: int) -> bool:
        every = self.recipe.train.monitor_freq
        return every > 0 and (step + 1) % every == 0

    def _note(self, pair: Pair, values: Mapping[str, Tensor | float]) -> None:
        for name, value in values.items():
            self.log[f"{name}{pair.suffix}"] = value.detach() if isinstance(value, Tensor) else value

    def _look(self, hr: Tensor, fakes: list[Tensor], step: int) -> None:
        """Log the pairs' health and the balance between them, and say where something is wrong."""
        gaps = []
        for pair, output in zip(self.pairs, fakes, strict=True):
            self._note(pair, measure(output, hr))
            if self.judgement is None:
                continue
            names = ("p_real", "p_fake", "health/spread", "health/error")
            values = {name: float(self.log[f"{name}{pair.suffix}"]) for name in names}
            gaps.append(values["p_real"] - values["p_fake"])
            self.notices += pair.watch.look(values, step + 1)
        if len(gaps) > 1:
            self.log["imbalance"] = max(gaps) - min(gaps)

    def trained(self) -> dict[str, nn.Module]:
        named: dict[str, nn.Module] = {}
        for pair in self.pairs:
            named[f"net_g{pair.suffix}"] = pair.generator
            if pair.discriminator is not None:
                named[f"net_d{pair.suffix}"] = pair.discriminator
        return named

    def on_stage(self, number: int, previous: dict[str, Tensor] | None) -> None:
        """As every task; and a stage with one generator starts all those of a cohort that follows it."""
        if previous is not None and not any(key.startswith("peers.") for key in previous):
            first = {k.removeprefix("network_g."): v for k, v in previous.items() if k.startswith("network_g.")}
            peers = {f"peers.{i}.0.{k}": v for i in range(len(self.peers)) for k, v in first.items()}
            previous = {**previous, **peers}
        super().on_stage(number, previous)

    def validate(self, step: int, folder: Path) -> dict[str, float]:
        if len(self.pairs) == 1:
            return super().validate(step, folder)
        scores = {}
        for pair in self.pairs:
            name = f"net_g{pair.suffix}"
            found = self.validator.score(pair.generator, step, folder / name)
            scores.update({f"{name}/{metric}": value for metric, value in found.items()})
        return scores

    @classmethod
    def item_scores(cls, result: Mapping[str, Any], sets: Sequence[str]) -> dict[str, SetScores]:
        """As of one network; of a cohort, each picture's score is the mean over its generators.

        The mean says what to expect of one of them, where the best would be chosen on the test set. Its fair control is
        the same cohort with weight 0, which is its pairs trained alone: both sides average the same initial weights.
        """
        if "net_g" in result["models"]:
            return super().item_scores(result, sets)
        generators = [path for name, path in result["models"].items() if name.startswith("net_g_")]
        if sets:
            return evaluate.item_scores(generators, sets)
        scores: dict[str, list[float]] = {}
        for name, value in result["metrics"].items():
            scores.setdefault(name.partition("/")[2], []).append(value)
        return super().item_scores({"metrics": {name: fmean(values) for name, values in scores.items()}}, sets)

    def meta(self, name: str) -> dict[str, Any]:
        meta = super().meta(name)
        meta["lineage"]["init_seed"] = {f"{kind}{p.suffix}": p.seed for p in self.pairs for kind in ("net_g", "net_d")}[
            name
        ]
        if name.startswith("net_d"):
            # No scale: a discriminator is not to be taken for a network that upscales.
            del meta["scale"]
            meta["network"] = self.recipe.network_d
        return meta


def _checked(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options of `gan_opt`, if the loss takes them."""
    losses.build("GANLoss", **options)
    return options


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Inside the block torch's random numbers start from `seed`; after it they go on as if there had been none."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def _gradient_norm(value: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    gradients = torch.autograd.grad(value, list(parameters), retain_graph=True, allow_unused=True)
    return torch.stack([g.norm() for g in gradients if g is not None]).norm()
