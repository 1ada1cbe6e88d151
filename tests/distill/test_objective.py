import copy

import pytest
import torch

from srkd import networks
from srkd.distill.objective import Objective, parse_terms
from srkd.distill.taps import Taps
from srkd.distill.teachers import CachedTeacher, LiveTeacher, MeanOfTeachers, Prediction
from srkd.errors import SrkdError


def net(features: int, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return networks.build({"type": "EDSR", "num_feat": features, "num_block": 2, "upscale": 2, "img_range": 1.0})


def prepare(specs: list, teacher_features: int = 6):
    student, teacher = net(4), net(teacher_features, 1)
    batch = {"lr": torch.rand(4, 3, 8, 8), "hr": torch.rand(4, 3, 16, 16)}
    objective = Objective(parse_terms(specs))
    objective.resolve_taps(student, teacher)
    taps = Taps(student, objective.student_taps)
    with taps:
        output = student(batch["lr"])
    prediction, theirs = Prediction(output, taps.features), LiveTeacher(teacher, objective.teacher_taps)(batch)
    context = {"lr": batch["lr"], "hr": batch["hr"], "step": 0, "progress": 0.0, "index": torch.arange(4)}
    return student, objective, prediction, theirs, batch["hr"], context


def test_the_total_is_the_weighted_sum_over_terms_and_layers() -> None:
    specs = [{"type": "L1Loss"}, {"type": "output", "weight": 0.5}, {"type": "at", "at": "body.*", "weight": 2}]
    student, objective, ours, theirs, hr, context = prepare(specs)
    objective.prepare(ours, theirs, hr, context, list(student.parameters()))
    total, values = objective(ours, theirs, hr, context)
    assert values["L1Loss"].item() == pytest.approx((ours.output - hr).abs().mean().item())
    assert values["output"].item() == pytest.approx((ours.output - theirs.output).abs().mean().item())
    from srkd import losses

    at = sum(losses.build("at")(ours.features[p], theirs.features[p]) for p in ("body.0", "body.1"))
    assert values["at"].item() == pytest.approx(at.item())
    assert total.item() == pytest.approx((values["L1Loss"] + 0.5 * values["output"] + 2 * values["at"]).item())


def test_learned_parts_exist_after_preparing_one_for_each_layer() -> None:
    student, objective, *rest = prepare([{"type": "fitnet", "at": "body.*"}])
    assert not list(objective.parameters())
    objective.prepare(*rest, list(student.parameters()))
    shapes = [tuple(p.shape) for p in objective.parameters() if p.ndim == 4]
    assert shapes == [(6, 4, 1, 1)] * 2


def test_all_errors_are_reported_in_one_line() -> None:
    specs = [
        {"type": "outputt"},
        {"type": "output", "nrm": 1},
        {"type": "L1Loss", "weight": -1},
        {"type": "L1Loss", "weight": "1"},
        {"type": "fitnet"},
        {"type": "output", "target": "grass"},
    ]
    with pytest.raises(SrkdError) as error:
        parse_terms(specs)
    text = str(error.value)
    assert "\n" not in text
    for part in (
        'losses.0: unknown loss "outputt" (did you mean "output"?)',
        'losses.1: output: unknown option "nrm"',
        "losses.2: L1Loss: weight",
        "losses.3: L1Loss: weight",
        "losses.4: fitnet: compares",
        "losses.5: output: target must be gt or teacher",
    ):
        assert part in text


def test_unmatched_and_unpaired_taps_are_reported_together() -> None:
    specs = [{"type": "fitnet", "at": "boddy.0"}, {"type": "at", "at": {"student": "body.*", "teacher": "body.0"}}]
    objective = Objective(parse_terms(specs))
    with pytest.raises(SrkdError, match=r'fitnet: tap "boddy.0".*; at: at names 2 student and 1 teacher layers'):
        objective.resolve_taps(net(4), net(6))


def test_preparing_rejects_a_teacher_output_with_nan() -> None:
    student, objective, ours, theirs, hr, context = prepare([{"type": "output"}])
    theirs.output[0, 0, 0, 0] = float("nan")
    with pytest.raises(SrkdError, match="output: the teacher's output contains NaN"):
        objective.prepare(ours, theirs, hr, context, list(student.parameters()))


def test_preparing_rejects_a_term_without_gradient() -> None:
    student, objective, ours, theirs, hr, context = prepare([{"type": "output"}])
    ours.output = ours.output.detach()
    with pytest.raises(SrkdError, match="output: gives the student no gradient"):
        objective.prepare(ours, theirs, hr, context, list(student.parameters()))


def test_the_monitor_reports_norms_and_cosines_to_the_task() -> None:
    specs = [{"type": "L1Loss"}, {"type": "L1Loss", "name": "twice", "weight": 2}, {"type": "output"}]
    student, objective, ours, theirs, hr, context = prepare(specs)
    objective.prepare(ours, theirs, hr, context, list(student.parameters()))
    _, values = objective(ours, theirs, hr, context)
    report = objective.monitor(values, list(student.parameters()))
    assert report["cos/twice"] == pytest.approx(1, abs=1e-5)
    assert report["grad/twice"] == pytest.approx(2 * report["grad/L1Loss"], rel=1e-4)
    assert -1 <= report["cos/output"] <= 1


def test_a_balanced_term_is_not_the_task_that_the_monitor_compares_with() -> None:
    specs = [{"type": "wavelet", "target": "gt", "balance": {"share": 0.1}}, {"type": "L1Loss"}, {"type": "output"}]
    student, objective, ours, theirs, hr, context = prepare(specs)
    parameters = list(student.parameters())
    objective.prepare(ours, theirs, hr, context, parameters)
    report = objective.monitor(objective(ours, theirs, hr, context)[1], parameters)
    assert {key for key in report if key.startswith("cos/")} == {"cos/wavelet", "cos/output"}


@pytest.mark.parametrize("name", ["items", "keys", "forward", "a.b"])
def test_a_term_may_have_any_name(name: str) -> None:
    specs = [{"type": "L1Loss"}, {"type": "output", "name": name, "balance": {"share": 0.5}}]
    student, objective, ours, theirs, hr, context = prepare(specs)
    objective.prepare(ours, theirs, hr, context, list(student.parameters()))
    assert set(objective(ours, theirs, hr, context)[1]) == {"L1Loss", name}


def test_cached_teacher_reads_the_batch_and_mean_of_teachers_averages() -> None:
    lr = torch.rand(2, 3, 8, 8)
    one, two = LiveTeacher(net(4, 1)), LiveTeacher(net(4, 2))
    mean = MeanOfTeachers([one, two])({"lr": lr}).output
    torch.testing.assert_close(mean, (one({"lr": lr}).output + two({"lr": lr}).output) / 2)
    prediction = CachedTeacher()({"teacher_output": mean, "teacher_features": {"body.0": lr}})
    assert prediction.output is mean and prediction.features["body.0"] is lr


def test_a_live_teacher_is_frozen_and_in_eval_mode() -> None:
    network = networks.build({"type": "SRResNet", "num_feat": 4, "num_block": 1, "upscale": 2}).train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    prediction = LiveTeacher(network, ["body.0"])({"lr": torch.rand(2, 3, 8, 8)})
    assert not prediction.output.requires_grad and not prediction.features["body.0"].requires_grad
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_a_weight_follows_its_schedule() -> None:
    schedule = {"from": 2, "to": 0, "start": 10, "end": 20}
    specs = [{"type": "L1Loss"}, {"type": "output", "weight": schedule}]
    student, objective, ours, theirs, hr, context = prepare(specs)
    objective.prepare(ours, theirs, hr, context, list(student.parameters()))
    for step, weight in ((0, 2), (10, 2), (15, 1), (19, 0.2), (20, 0), (99, 0)):
        total, values = objective(ours, theirs, hr, {**context, "step": step})
        kd = weight * (ours.output - theirs.output).abs().mean().item()
        assert total.item() == pytest.approx(values["L1Loss"].item() + kd)
        assert ("output" in values) == (weight > 0)


def test_learned_parts_get_a_gradient_while_their_weight_is_zero() -> None:
    spec = {"type": "fitnet", "at": "body.1", "weight": {"from": 0, "to": 1, "end": 10}}
    student, objective, ours, theirs, hr, context = prepare([{"type": "L1Loss"}, spec])
    objective.prepare(ours, theirs, hr, context, list(student.parameters()))
    objective(ours, theirs, hr, context)[0].backward()
    assert all(p.grad is not None and not p.grad.any() for p in objective.parameters())


@pytest.mark.parametrize("weight", [1, 0.5])
def test_a_balanced_term_keeps_its_gradient_share_also_after_a_resume(weight: float) -> None:
    specs = [
        {"type": "L1Loss", "weight": 2},
        {"type": "at", "at": "body.*", "balance": {"share": 0.3, "every": 4}, "weight": weight},
    ]
    student, objective, ours, theirs, hr, context = prepare(specs)
    parameters = list(student.parameters())
    objective.prepare(ours, theirs, hr, context, parameters)
    _, values = objective(ours, theirs, hr, context)
    report = objective.monitor(values, parameters)
    assert report["grad/at"] == pytest.approx(0.3 * weight * report["grad/L1Loss"], rel=1e-4)
    scale = objective.weights["at"].item()
    darker = Prediction(theirs.output, {name: value + 3 for name, value in theirs.features.items()})
    totals = []
    for step in (1, 4):
        totals.append(objective(ours, darker, hr, {**context, "step": step})[0].item())
        assert (objective.weights["at"].item() == scale) == (step == 1)
    _, resumed, *_ = prepare(specs)
    resumed.prepare(ours, darker, hr, context, parameters)
    resumed.load_state_dict(objective.state_dict())
    again = {**context, "step": 5}
    assert resumed(ours, darker, hr, again)[0].item() == objective(ours, darker, hr, again)[0].item() != totals[0]


def test_invalid_schedules_and_balances_are_reported() -> None:
    cases = [
        ({"weight": {"from": 1, "to": 0}}, "schedule needs from, to and end; end is missing"),
        ({"weight": {"from": 1, "to": -1, "end": 5}}, "weight.to must be a finite number >= 0, got -1"),
        ({"weight": {"from": 1, "to": 0, "end": 5, "strat": 1}}, 'unknown key of a weight\'s schedule "strat"'),
        ({"weight": {"from": 1, "to": 0, "start": 5, "end": 5}}, "steps with 0 <= start < end, got 5 and 5"),
        ({"balance": 0.3}, "balance must be {share: ...}"),
        ({"balance": {"share": 0}}, "share must be above 0"),
        ({"balance": {"share": 1, "every": 0}}, "balance.every must be a number of steps, got 0"),
    ]
    for extra, message in cases:
        with pytest.raises(SrkdError) as error:
            parse_terms([{"type": "L1Loss"}, {"type": "output", **extra}])
        assert message in str(error.value) and "losses.1: output: " in str(error.value)
    with pytest.raises(SrkdError, match="output: balance needs a term against the ground truth"):
        parse_terms([{"type": "output", "balance": {"share": 0.3}}])


@pytest.mark.parametrize("norm", [False, True])
def test_losses_receive_whether_the_student_has_batch_norm(norm: bool) -> None:
    def network(width: int) -> torch.nn.Module:
        layers = [torch.nn.Conv2d(3, width, 3, padding=1), torch.nn.BatchNorm2d(width)]
        return torch.nn.Sequential(*layers[: 1 + norm], torch.nn.Conv2d(width, 3, 3, padding=1))

    student, teacher = network(4), network(6)
    objective = Objective(parse_terms([{"type": "review", "at": "0"}, {"type": "ofd", "at": "0"}]))
    objective.resolve_taps(student, teacher)
    batch, taps = {"lr": torch.rand(4, 3, 8, 8)}, Taps(student, ["0"])
    with taps:
        output = student(batch["lr"])
    theirs = LiveTeacher(teacher, ["0"])(batch)
    objective.prepare(
        Prediction(output, taps.features), theirs, output.detach(), {"step": 0}, list(student.parameters())
    )
    found = [
        any(isinstance(m, torch.nn.BatchNorm2d) for m in objective.modules_of[name].modules())
        for name in objective.modules_of
    ]
    assert found == [norm, norm]


def test_optional_context_is_passed_to_a_loss_if_the_task_provides_it() -> None:
    specs = [{"type": "crd", "at": "body.1", "dim": 8, "queue": 16, "negatives": 4}]
    for examples, banks in ((0, 0), (9, 1)):
        student, objective, ours, theirs, hr, context = prepare(specs)
        context |= {"examples": examples} if examples else {}
        objective.prepare(ours, theirs, hr, context, list(student.parameters()))
        assert sum(name.endswith("bank_s") for name in objective.state_dict()) == banks
        assert objective(ours, theirs, hr, context)[0].isfinite()


def test_a_step_between_two_terms_has_no_effect() -> None:
    fading = [
        {"type": "MSELoss", "weight": {"from": 1, "to": 0, "end": 5}},
        {"type": "L1Loss", "weight": {"from": 0, "to": 1, "start": 5, "end": 10}},
    ]
    student, objective, ours, theirs, hr, context = prepare(fading)
    objective.prepare(ours, theirs, hr, context, list(student.parameters()))
    for step, total in ((4, 0.2), (5, 0.0), (6, 0.2)):
        output, _ = objective(ours, theirs, hr, {**context, "step": step})
        output.backward(retain_graph=True)
        expected = {4: (ours.output - hr).square().mean(), 5: torch.zeros(()), 6: (ours.output - hr).abs().mean()}
        assert output.item() == pytest.approx(total * expected[step].item())
    with pytest.raises(SrkdError, match="every term has weight 0"):
        parse_terms([{"type": "L1Loss", "weight": 0}, {"type": "output", "weight": 0}])


@pytest.mark.parametrize(
    "names",
    [("x", "x", "x"), ("a.b", "a_b", "a.b"), ("L1Loss_2", None, None), (None, None, "L1Loss_2")],
)
def test_terms_of_one_name_are_told_apart(names: tuple[str | None, ...]) -> None:
    specs = [{"type": "L1Loss"} | ({} if name is None else {"name": name}) for name in names]
    specs[1]["type"] = "MSELoss"
    terms = parse_terms(specs)
    assert len({term.name for term in terms}) == 3
    objective = Objective(terms)
    assert [type(objective._losses(term)[0]).__name__ for term in terms] == ["L1Loss", "MSELoss", "L1Loss"]


@pytest.mark.parametrize("start", [0, 3, 100])
def test_a_balanced_term_is_measured_at_its_first_step(start: int) -> None:
    late = {"from": 0, "to": 1, "start": start, "end": start + 1}
    specs = [{"type": "L1Loss"}, {"type": "at", "at": "body.*", "balance": {"share": 0.3}, "weight": late}]
    student, objective, ours, theirs, hr, context = prepare(specs)
    objective.prepare(ours, theirs, hr, context, list(student.parameters()))
    for step in (start, start + 1, start + 2):
        _, values = objective(ours, theirs, hr, {**context, "step": step})
    factor = float(objective.weights["at"])
    norms = objective.monitor(values, list(student.parameters()))
    assert norms["grad/at"] == pytest.approx(0.3 * norms["grad/L1Loss"], rel=1e-4) and factor > 0


def test_a_balanced_term_is_measured_again_after_its_state_before_the_first_step_is_restored() -> None:
    specs = [{"type": "L1Loss"}, {"type": "output", "balance": {"share": 0.3}}]
    student, objective, ours, theirs, hr, context = prepare(specs)
    objective.prepare(ours, theirs, hr, context, list(student.parameters()))
    before = copy.deepcopy(objective.state_dict())
    for _ in range(2):  # batches that are accumulated in one step of the dry run
        objective(ours, theirs, hr, {**context, "step": 7})
    torch.nn.ModuleList([objective]).load_state_dict({f"0.{key}": value for key, value in before.items()})
    objective(ours, theirs, hr, {**context, "step": 7})
    assert float(objective.weights["output"]) > 0


def test_preparing_leaves_no_trace_in_queues_and_statistics() -> None:
    specs = [{"type": "crd", "at": "body.1", "queue": 8, "dim": 4}, {"type": "ofd", "at": "body.1"}]
    student, objective, ours, theirs, hr, context = prepare(specs)
    objective.prepare(ours, theirs, hr, context, list(student.parameters()))
    (crd,), (ofd,) = (objective._losses(term) for term in objective.terms)
    maps = theirs.features["body.1"]
    assert ofd.negative[2].tolist() == [0] * 6
    torch.testing.assert_close(ofd.negative[0], maps.clamp_max(0).sum((0, 2, 3)))
    before = crd.keys.clone()
    objective(ours, theirs, hr, context)
    assert not torch.equal(before, crd.keys) and ofd.negative[2].tolist() == [1] * 6


def test_a_former_name_of_an_option_is_read() -> None:
    assert parse_terms([{"type": "CrossEntropyLoss", "ignore": -1}])[0].options == {"ignore_index": -1}
