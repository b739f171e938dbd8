"""``python -m fedtap`` is the command ``fedtap``."""

from fedtap.cli import main

if __name__ == "__main__":
    main()
