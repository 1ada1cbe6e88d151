"""A network as a folder for browsers: one page, the network as ONNX, and onnxruntime-web; nothing is loaded from
elsewhere."""
