"""Image classification: small images, the networks of the CIFAR protocol of the KD literature, calibration."""
