"""Pictures in and out, MATLAB-exact resizing, stores of decoded pictures: no networks, no training."""
