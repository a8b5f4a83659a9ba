"""The ONNX file, without torch: built, checked, run."""
