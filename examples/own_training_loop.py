"""The losses and taps of srkd in your own training loop, without a recipe."""

import torch

from srkd import losses, networks
from srkd.distill.taps import Taps

torch.manual_seed(0)
teacher = networks.build({"type": "EDSR", "num_feat": 32, "num_block": 4}, scale=2).eval().requires_grad_(False)
student = networks.build({"type": "EDSR", "num_feat": 8, "num_block": 2}, scale=2)
lr, hr = torch.rand(4, 3, 16, 16), torch.rand(4, 3, 32, 32)

student_taps, teacher_taps = Taps(student, ["body.1"]), Taps(teacher, ["body.3"])
output_kd, feature_kd = losses.build("output", norm="l1"), losses.build("fitnet")
with student_taps, teacher_taps:
    student(lr), teacher(lr)
# Creates a learned projection from 8 to 32 channels.
feature_kd.prepare(student_taps.features["body.1"], teacher_taps.features["body.3"])
optimiser = torch.optim.Adam([*student.parameters(), *feature_kd.parameters()], lr=1e-4)

for step in range(20):
    with student_taps, teacher_taps:
        sr, teacher_sr = student(lr), teacher(lr)
    loss = torch.nn.functional.l1_loss(sr, hr) + output_kd(sr, teacher_sr)
    loss = loss + 1e-4 * feature_kd(student_taps.features["body.1"], teacher_taps.features["body.3"])
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    print(f"step {step}: {loss.item():.4f}")
