"""`python -m kube_gateway`."""

from kube_gateway.cli.main import main

if __name__ == "__main__":
    main()
