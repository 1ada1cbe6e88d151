"""Distillation around the losses: feature taps, teachers (live and cached) and the weighted objective."""
