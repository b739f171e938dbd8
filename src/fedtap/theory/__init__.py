"""How the server converges under modality-task pairs: sampling, the bound, its constants, a plan. docs/theory.md proves it."""
