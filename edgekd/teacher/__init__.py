"""Teachers: trained here for now; loaded from folders, modules and ONNX files with the rooms that follow."""
