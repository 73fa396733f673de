"""L7. Makes what nodes run in: images for containers, and later whole hosts, by the same Ansible roles.

recipe.py   what an image is made of, as a tag: pure but for reading the role's files
sources.py  the package sources of this machine, as a build may use them
base.py     the base image: pulled where a registry answers, else built by mmdebstrap
install.py  a role's `install` in a build container, by Ansible, and the commit
images.py   all of it: which images are there, which are missing, and who their users are
"""
