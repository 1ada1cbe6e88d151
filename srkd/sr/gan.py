"""SRGAN, and cohorts of SRGANs with mutual learning between discriminators, generators or both, without a teacher."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from srkd import losses
from srkd.distill.objective import Objective, Step, parse_terms
from srkd.distill.taps import Taps
from srkd.distill.teachers import LiveTeacher
from srkd.errors import SrkdError, check_all
from srkd.losses.gan_loss import GANLoss, GANLossD
from srkd.metrics import evaluation
from srkd.sr import gan_discriminators, task
from srkd.sr.gan_discriminators import divergence, mutual_term
from srkd.sr.gan_health import HealthMonitor, discriminators_health, measure
from srkd.sr.gan_pair import GANPair, MultiBatchDiscriminator, check_features, compared_tensors, gradient_norm, seeded
from srkd.sr.gan_recipe import ESRGANRecipe, GANRecipe, PeerOptions
from srkd.sr.teacher_cache import network_hash
from srkd.training import task as training_task
from srkd.training.checkpoint import load_weights
from srkd.training.task import SetScores

if TYPE_CHECKING:
    from lightning_fabric import Fabric


Updates = Generator[tuple[Tensor, Optimizer], None, list[Tensor]]


class Task(task.Task):
    """The task `sr.gan`: BasicSR's SRGANModel, for one pair or a cohort.

    In each step every generator is updated, then every discriminator, on the real patches and on the fakes of its
    generator from that step (BasicSR's order). In a cohort, pair i minimises L_i = its own loss + weight T^2 / (N-1)
    sum_j D(stopgrad(peer j) || i): for discriminators D is the divergence of Bernoulli distributions p = sigmoid(z / T)
    with `vanilla`, the squared difference of logits otherwise, on the shared real batch and on the fakes of one pair,
    which alternates; for generators the squared difference of outputs, without T. With `mutual.at`, D is the squared
    difference of those features instead, summed over them. Peers' outputs are those before the step. A cohort with
    weight 0 gives bit-exactly the results of its pairs trained alone, if no loss is random.

    With `network_d_teacher` every discriminator also minimises weight T^2 D(teacher || discriminator) on the real batch
    and on its own fakes, D being the cohort's divergence of outputs.
    """

    recipe_type = GANRecipe
    health = staticmethod(discriminators_health)
    recipe: GANRecipe
    between_discriminators: losses.Loss
    between_generators: losses.Loss

    def __init__(self, recipe: GANRecipe) -> None:
        super().__init__(recipe)
        self.first_seed = recipe.manual_seed if recipe.init_seed is None else recipe.init_seed
        self.discriminator_teacher: LiveTeacher | None = None
        # The first pair's generator and objective are attributes of the base class; `peers` has those of the others.
        self.peers, self.discriminators = nn.ModuleList(), nn.ModuleList()
        self.pairs: list[GANPair] = []

    def build_student(self) -> None:
        self._check_distinct(self.recipe)
        with seeded(self.first_seed):
            super().build_student()

    def make_objective(self) -> None:
        with seeded(self.first_seed):
            super().make_objective()
        self.generator_loss, self.discriminator_loss, self.adversarial_weight = self._adversarial_losses()
        # A relativistic logit alone is not a probability.
        loss, recipe = self.discriminator_loss, self.recipe
        kind = None if loss is None or loss.relativistic else loss.gan_type
        if mutual := recipe.mutual:
            features = bool(mutual.taps("discriminator"))
            self.between_discriminators = divergence(kind, mutual.temperature, features)
            self.between_generators = divergence("l2", 1.0)
        if (network := gan_discriminators.teacher(recipe)) is not None:
            self.discriminator_teacher = LiveTeacher(network, input="images")
        if distill := recipe.train.distill_d:
            self.from_teacher = divergence(kind, distill.temperature)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> type[training_task.Task]:
        return Relativistic if data.get("model_type") == "ESRGANModel" else cls

    @staticmethod
    def _check_distinct(recipe: GANRecipe) -> None:
        path = recipe.path
        pretrained = path.pretrain_network_d or recipe.train.gan_opt is None
        if recipe.mutual and (path.pretrain_network_g or {"zoo", "file"} & set(recipe.network_g)) and pretrained:
            raise SrkdError(
                "mutual: all pairs would start from the same weights and stay identical; remove "
                "path.pretrain_network_d (and train the generators with train.gan_opt)"
            )

    def _adversarial_losses(self) -> tuple[GANLoss | None, GANLossD | None, float]:
        recipe, spec = self.recipe, self.recipe.train.gan_opt
        if spec is None:
            return None, None, 0.0
        if recipe.network_d is None:
            raise SrkdError("train.gan_opt needs a discriminator, but the recipe has no network_d")
        options = {k: v for k, v in spec.items() if k not in ("type", "loss_weight")}
        weight = spec.get("loss_weight", 1.0)
        if spec.get("type", "GANLoss") != "GANLoss" or not isinstance(weight, (int, float)) or not weight >= 0:
            raise SrkdError(f"train.gan_opt: must be a GANLoss with a loss_weight >= 0, got {dict(spec)}")
        return GANLoss(**_checked(options)), GANLossD(**_checked(options)), float(weight)

    def _pair(self, number: int) -> GANPair:
        recipe, path, mutual, seed = self.recipe, self.recipe.path, self.recipe.mutual, self.first_seed + number
        own = mutual.peers[number - 1] if mutual and mutual.peers and number else PeerOptions()
        generator, objective, meta = self.network_g, self.objective, self._network_meta
        if number:
            with seeded(seed):
                generator, meta = self.generator({**recipe.network_g, **own.network_g})
                objective = Objective(parse_terms(self.losses()))
            self.peers.append(nn.ModuleList([generator, objective]))
        spec, discriminator = {**(recipe.network_d or {}), **own.network_d}, None
        if self.discriminator_loss is not None:
            with seeded(seed):
                discriminator = gan_discriminators.build(spec)
            if path.pretrain_network_d:
                weights, _ = load_weights(Path(path.pretrain_network_d), path.param_key_d)
                self.load_initial(weights, discriminator, path.pretrain_network_d, path.strict_load_d)
            self.discriminators.append(discriminator)
        suffix, name = (f"_{number}", f"pair {number}") if mutual else ("", "the GAN")
        taps = Taps(generator, mutual.taps("generator") if mutual else [])
        return GANPair(suffix, seed, generator, objective, discriminator, HealthMonitor(name), meta, spec, taps)

    def setup(self, fabric: Fabric) -> None:
        self.fabric, self.device = fabric, fabric.device
        check_all(self.prepare, self.make_objective)
        size = self.recipe.mutual.cohort if self.recipe.mutual else 1
        self.pairs = [self._pair(number) for number in range(size)]
        self.teacher = self.read_teacher()
        for pair in self.pairs:
            self._set_up_pair(pair)
        if self.discriminator_teacher is not None:
            self.to_device(self.discriminator_teacher.network)
            real = self.real_images(self.batch(0))
            gan_discriminators.check_forward(self.discriminator_teacher.network, real, "network_d_teacher")
        self._check_features()

    def _set_up_pair(self, pair: GANPair) -> None:
        train, mutual = self.recipe.train, self.recipe.mutual
        if pair is not self.pairs[0]:
            pair.objective.resolve_taps(pair.generator, self.teachers.network)
            self.to_device(pair.generator)
        step = Step(pair.generator, pair.objective, self.input, self.target)
        with seeded(pair.seed):
            self.prepare_losses(step, self.teacher)
        pair.step = self.register(f"g{pair.suffix}", step, train.optim_g)
        if pair.discriminator is not None:
            self.to_device(pair.discriminator)
            discriminator = MultiBatchDiscriminator(pair.discriminator, mutual.taps("discriminator") if mutual else [])
            gan_discriminators.check_forward(pair.discriminator, self.real_images(self.batch(0)), "network_d")
            pair.discriminator_taps = discriminator.taps
            pair.discriminate = self.register(f"d{pair.suffix}", discriminator, train.optim_d)

    def _check_features(self) -> None:
        """Check the shapes of the features that peers compare, so that differences are found before training."""
        mutual, batch = self.recipe.mutual, self.batch(0)
        if mutual and mutual.taps("generator"):
            check_features([pair.taps for pair in self.pairs], batch["lr"])
        if mutual and mutual.taps("discriminator") and self.discriminator_loss is not None:
            check_features([pair.discriminator_taps for pair in self.pairs], self.real_images(batch))

    def context(self, batch: Mapping[str, Any], step: int) -> dict[str, Any]:
        found = super().context(batch, step)
        if any("ema_output" in losses.get(term.type).needs for term in self.objective.terms):
            found["ema_output"] = self._averaged_output(batch, step)
        return found

    @torch.no_grad()
    def _averaged_output(self, batch: Mapping[str, Any], step: int) -> Tensor:
        """The generator's output with the averaged weights; before training, with its own."""
        if len(self.pairs) > 1 or not self.recipe.train.ema_decay:
            raise SrkdError("a loss compares with the output of averaged weights: needs train.ema_decay and no cohort")
        generator = self.pairs[0].generator
        with nullcontext() if self.ema is None else self.ema.swapped(), self.autocast(step, self.device):
            output: Tensor = generator(batch[self.input])
        return output.float()

    def real_images(self, batch: Mapping[str, Any]) -> Tensor:
        """The images that the discriminators tell from the generators'."""
        real: Tensor = batch["hr"]
        return real

    def steps(self, batch: dict[str, Any], step: int) -> Iterator[tuple[Tensor, Optimizer]]:
        train = self.recipe.train
        self.log = {}
        started = self.discriminator_loss is None or step + 1 > train.net_d_init_iters
        if started and (step + 1) % train.net_d_iters == 0:
            fakes = yield from self._generator_steps(batch, step)
        else:
            with torch.no_grad(), self.autocast(step, self.device):
                fakes = [pair.generator(batch["lr"]).float() for pair in self.pairs]
        if self.discriminator_loss is not None:
            yield from self._discriminator_steps(self.real_images(batch), fakes, step)
        if (step + 1) % self.recipe.logger.print_freq == 0:
            self._log_health(self.real_images(batch), fakes, step)

    @property
    def first_full_step(self) -> int:
        if self.discriminator_loss is None:
            return 0
        train = self.recipe.train
        return (train.net_d_init_iters // train.net_d_iters + 1) * train.net_d_iters - 1

    def _generator_steps(self, batch: dict[str, Any], step: int) -> Updates:
        """Update each generator; returns their outputs from before the update, detached."""
        with self.autocast(step, self.device):
            teacher, context = self.teacher(batch), self.context(batch, step)
            predictions, tensors = [], []
            for pair in self.pairs:
                with pair.taps:
                    predictions.append(pair.step(batch, teacher, context))
                tensors.append(compared_tensors(pair.taps, predictions[-1][0]))
        mutual = self.recipe.mutual
        for number, (pair, (output, total, values)) in enumerate(zip(self.pairs, predictions, strict=True)):
            parameters = [p for p in pair.generator.parameters() if p.requires_grad]
            self._log(pair, {f"l_{name}": value for name, value in values.items()})
            if self.is_monitored(step):
                self._log(pair, pair.objective.monitor(values, parameters))
            if pair.discriminator is not None:
                adversarial = self._adversarial_term(pair.discriminator, output, self.real_images(batch), step)
                self._log(pair, {"l_g_gan": adversarial})
                if self.is_monitored(step):
                    weighted = adversarial * self.adversarial_weight
                    self._log(pair, {"grad/gan": gradient_norm(weighted, parameters)})
                total = total + self.adversarial_weight * adversarial
            if mutual and mutual.applies_to("generator"):
                term = self._mutual(self.between_generators, tensors, number)
                self._log(pair, {"l_g_mutual": term / len(self.pairs)})
                total = total + mutual.weight * term
            yield total, self.optimisers[f"g{pair.suffix}"]
        return [output.detach() for output, _, _ in predictions]

    def _adversarial_term(self, discriminator: nn.Module, output: Tensor, hr: Tensor, step: int) -> Tensor:
        """The generator's adversarial loss, without gradients for the discriminator's parameters."""
        assert self.generator_loss is not None
        discriminator.requires_grad_(False)
        try:
            with self.autocast(step, self.device):
                real = None
                if self.generator_loss.relativistic:
                    with torch.no_grad():
                        real = discriminator(hr)
                result: Tensor = self.generator_loss(discriminator(output), real)
                return result
        finally:
            discriminator.requires_grad_(True)

    def _discriminator_steps(self, hr: Tensor, fakes: list[Tensor], step: int) -> Iterator[tuple[Tensor, Optimizer]]:
        """Update each discriminator."""
        assert self.discriminator_loss is not None
        mutual, turn = self.recipe.mutual, step % len(self.pairs)
        shared = bool(mutual and mutual.applies_to("discriminator"))
        with self.autocast(step, self.device):
            outputs = [
                pair.discriminate([hr, fakes[i], fakes[turn]] if shared and i != turn else [hr, fakes[i]])
                for i, pair in enumerate(self.pairs)
            ]
        for number, pair in enumerate(self.pairs):
            assert pair.discriminator is not None
            (real, _), (fake, _) = outputs[number][:2]
            total = self.discriminator_loss([real, fake])
            p_real, p_fake = self.discriminator_loss.real_scores(real, fake)
            accuracy = self.discriminator_loss.accuracy(real, fake)
            self._log(pair, {"l_d": total, "p_real": p_real, "p_fake": p_fake, "accuracy": accuracy})
            if mutual and shared:
                # The last output of each is for the shared fakes: those of one pair, the third batch of its peers.
                term = self._mutual(self.between_discriminators, [v[0][1] for v in outputs], number)
                term = term + self._mutual(self.between_discriminators, [v[-1][1] for v in outputs], number)
                self._log(pair, {"l_d_mutual": term / len(self.pairs)})
                total = total + mutual.weight * term
            if self.recipe.train.distill_d:
                term = self._distilled(pair, [real, fake], [hr, fakes[number]], step)
                total = total + self.recipe.train.distill_d.weight * term
            if self.is_monitored(step):
                parameters = list(pair.discriminator.parameters())
                self._log(pair, {"grad/net_d": gradient_norm(total, parameters)})
            yield total, self.optimisers[f"d{pair.suffix}"]

    @staticmethod
    def _mutual(between: nn.Module, predictions: Sequence[Sequence[Tensor]], number: int) -> Tensor:
        """The cohort's divergence that network `number` minimises, summed over the compared tensors."""
        terms = [mutual_term(between, list(layer), number) for layer in zip(*predictions, strict=True)]
        return torch.stack(terms).sum()

    def _distilled(self, pair: GANPair, own: Sequence[Tensor], batches: Sequence[Tensor], step: int) -> Tensor:
        """The divergence of the discriminator from its teacher, summed over batches."""
        assert self.discriminator_teacher is not None
        with torch.no_grad(), self.autocast(step, self.device):
            targets = [self.discriminator_teacher({"images": images}).output for images in batches]
        pairs = [[a, b.float()] for a, b in zip(own, targets, strict=True) if b is not None]
        term = torch.stack([mutual_term(self.from_teacher, pair, 0) for pair in pairs]).sum()
        self._log(pair, {"l_d_teacher": term / 2})
        return term

    def _log(self, pair: GANPair, values: Mapping[str, Tensor | float]) -> None:
        for name, value in values.items():
            self.log[f"{name}{pair.suffix}"] = value.detach() if isinstance(value, Tensor) else value

    def _log_health(self, hr: Tensor, fakes: list[Tensor], step: int) -> None:
        """Log the pairs' health and the imbalance between them, and add notices about problems."""
        gaps = []
        for pair, output in zip(self.pairs, fakes, strict=True):
            self._log(pair, measure(output, hr))
            if self.discriminator_loss is None:
                continue
            names = ("p_real", "p_fake", "health/spread", "health/error")
            values = {name: float(self.log[f"{name}{pair.suffix}"]) for name in names}
            gaps.append(values["p_real"] - values["p_fake"])
            self.notices += pair.health.check(values, step + 1)
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
        """As the base class; a stage with one generator initialises all generators of a cohort that follows it."""
        if previous is not None and not any(key.startswith("peers.") for key in previous):
            first = {k.removeprefix("network_g."): v for k, v in previous.items() if k.startswith("network_g.")}
            peers = {f"peers.{i}.0.{k}": v for i in range(len(self.peers)) for k, v in first.items()}
            previous = {**previous, **peers}
        super().on_stage(number, previous)

    def _scores(self) -> dict[str, bool]:
        """Each generator of a cohort has its own scores; without val.best, that of the first selects the best."""
        scores = super()._scores()
        if len(self.pairs) == 1:
            return scores
        return {f"net_g{pair.suffix}/{name}": higher for pair in self.pairs for name, higher in scores.items()}

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
        """As for one network; for a cohort, each image's score is the mean over its generators.

        The mean estimates the score of one generator; taking the best one would select on the test set. The matching
        control is the same cohort with weight 0: its pairs train alone, from the same initial weights.
        """
        if "net_g" in result["models"]:
            return super().item_scores(result, sets)
        generators = [path for name, path in result["models"].items() if name.startswith("net_g_")]
        if sets:
            return evaluation.item_scores(generators, sets)
        scores: dict[str, list[float]] = {}
        for name, value in result["metrics"].items():
            scores.setdefault(name.partition("/")[2], []).append(value)
        return super().item_scores({"metrics": {name: fmean(values) for name, values in scores.items()}}, sets)

    def fingerprint(self) -> dict[str, str]:
        teacher = self.discriminator_teacher
        return super().fingerprint() | ({} if teacher is None else {"network_d_teacher": network_hash(teacher.network)})

    def meta(self, name: str) -> dict[str, Any]:
        pair = next(p for p in self.pairs if name in (f"net_g{p.suffix}", f"net_d{p.suffix}"))
        meta = {**super().meta(name), **pair.meta}
        meta["lineage"]["init_seed"] = pair.seed
        if name.startswith("net_d"):
            # Without a scale, a discriminator cannot be mistaken for a network that upscales.
            del meta["scale"]
            meta["network"] = pair.network_d
        return meta


class Relativistic(Task):
    """BasicSR's ESRGANModel: `sr.gan` with relativistic adversarial losses."""

    recipe_type = ESRGANRecipe


def _checked(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options of `gan_opt`, after checking that the loss accepts them."""
    losses.build("GANLoss", **options)
    return options
