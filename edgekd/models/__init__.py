"""Student families as Hugging Face models: a folder with config.json and model.safetensors is one."""
