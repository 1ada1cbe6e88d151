"""Image classification: small images, the networks of the KD literature's CIFAR protocol, calibration."""
