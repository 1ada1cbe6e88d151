"""Image files: reading and writing every format, with metadata, colour and orientation; MATLAB-exact resizing."""
