"""The losses and taps of srkd in a training loop of your own: no recipe, no engine."""

import torch

from srkd import losses, networks
from srkd.distill.taps import Taps

torch.manual_seed(0)
teacher = networks.build({"type": "EDSR", "num_feat": 32, "num_block": 4}, scale=2).eval().requires_grad_(False)
student = networks.build({"type": "EDSR", "num_feat": 8, "num_block": 2}, scale=2)
lr, hr = torch.rand(4, 3, 16, 16), torch.rand(4, 3, 32, 32)

looks_at, shows = Taps(student, ["body.1"]), Taps(teacher, ["body.3"])
output_kd, feature_kd = losses.build("output", norm="l1"), losses.build("fitnet")
with looks_at, shows:
    student(lr), teacher(lr)
feature_kd.prepare(looks_at.features["body.1"], shows.features["body.3"])  # 8 channels to 32: a learned projection
optimiser = torch.optim.Adam([*student.parameters(), *feature_kd.parameters()], lr=1e-4)

for step in range(20):
    with looks_at, shows:
        ours, theirs = student(lr), teacher(lr)
    loss = torch.nn.functional.l1_loss(ours, hr) + output_kd(ours, theirs)
    loss = loss + 1e-4 * feature_kd(looks_at.features["body.1"], shows.features["body.3"])
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    print(f"step {step}: {loss.item():.4f}")
