"""Inference: images of any size through a trained network, in bounded memory; export, quantisation and pruning."""
