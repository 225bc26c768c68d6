"""`python -m zooalign.cli`."""

from zooalign.cli.main import main

if __name__ == "__main__":
    main()
