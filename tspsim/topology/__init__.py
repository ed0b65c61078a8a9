"""Devices, links and routes: the fabric that a program runs on, and the files it is read from."""
