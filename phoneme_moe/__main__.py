"""``python -m phoneme_moe`` is ``phoneme-moe``."""

from phoneme_moe.cli import main

if __name__ == "__main__":
    main()
