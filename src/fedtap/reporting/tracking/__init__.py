"""A run told to a tracker: TensorBoard, MLflow, Weights & Biases, each an extra. A tracker changes no result and stops no run."""
