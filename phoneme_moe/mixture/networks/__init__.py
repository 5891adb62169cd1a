"""Networks for experts and gates; each module holds a batch of networks of the same shape."""
