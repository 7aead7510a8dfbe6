"""Changes to a float ONNX graph that leave its answers alone, or nearly, and make it lose less when it is quantised."""
