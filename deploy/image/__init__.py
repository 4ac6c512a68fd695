"""The container image, built without a container engine: Debian's packages, the locked wheels and our own.

`debian` and `product` make a directory for each layer; `layer` and `oci` turn directories into an image as a pure function,
so that the same inputs give the same digest on every machine.
"""
