"""A linear-chain conditional random field with per-token outputs, so that every token loss applies to it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearChainCRF(nn.Module):
    """Maps emission scores of tokens to the logarithms of their marginal probabilities in the sentence.

    p(y) is proportional to exp(sum_t scores[t, y_t] + sum_t transitions[y_t, y_t+1]) (Lafferty et al., ICML 2001); the
    forward-backward algorithm gives log p(y_t). Cross-entropy on it is the per-label objective of Kakade, Teh and
    Roweis (ICML 2002); KL between the marginals of two networks is posterior distillation (Wang et al., ACL 2020); the
    argmax per token is minimum-risk decoding.

    Shapes: scores (B, T, C), any range; `real` (B, T), False for padding after the sentence. Returns (B, T, C), at
    least float32; undefined for padding. Cost: 2 T C^2 B, sequential over tokens.
    """

    def __init__(self, labels: int) -> None:
        super().__init__()
        # Row: label of a token; column: label of the next. All 0: tokens are independent.
        self.transitions = nn.Parameter(torch.zeros(labels, labels))

    def forward(self, scores: Tensor, real: Tensor) -> Tensor:
        scores = scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
        left, right = [scores[:, 0]], [torch.zeros_like(scores[:, 0])]
        for t in range(1, scores.shape[1]):
            left.append((left[-1][:, :, None] + self.transitions).logsumexp(1) + scores[:, t])
        for t in range(scores.shape[1] - 1, 0, -1):
            after = (self.transitions + (scores[:, t] + right[-1])[:, None]).logsumexp(2)
            right.append(torch.where(real[:, t, None], after, 0.0))
        return (torch.stack(left, 1) + torch.stack(right[::-1], 1)).log_softmax(2)
