"""PSNR, SSIM and perceptual scores by the protocols of the literature, and evaluation on data sets."""
