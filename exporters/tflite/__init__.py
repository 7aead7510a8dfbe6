"""An int8 TFLite file written directly from a QDQ ONNX graph: our scales go in as they are, nothing is calibrated."""
