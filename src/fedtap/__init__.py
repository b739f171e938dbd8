"""fedtap: personalized federated fine-tuning of multi-modal, multi-task foundation models."""

__version__ = "0.1.0"
