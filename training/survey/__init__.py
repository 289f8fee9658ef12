"""A simulated survey in the manner of Rubin's and ELAsTiCC: labelled light curves that anyone can make again.

``cadence`` -> ``classes`` (with ``cosmology``, ``spectra``, ``dust``) -> ``hosts`` -> ``photometry`` -> ``survey``
-> the data layout, or ``alerts``. It is this project's own: no figure on it is an ELAsTiCC figure.
"""
