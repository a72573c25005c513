"""``python -m entity_sync`` is the command ``entity-sync``."""

from entity_sync.cli import main

if __name__ == "__main__":
    main()
