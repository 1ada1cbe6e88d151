"""Image classification: small pictures, the networks of the KD literature's CIFAR protocol, calibration."""
