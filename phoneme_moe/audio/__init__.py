"""Audio files of any format as waveforms: mono float32 at the sample rate of the model.

    file --opening--> its decoder, by its first bytes (formats)
         --sndfile | media--> blocks (samples, channels)
         --mixing--> mono, without DC --resampling--> waveform

All of this runs in a worker process (``worker``), so that a crash, a hang or the memory of a
decoder costs one file, and its messages do not reach the terminal.
"""


class AudioWarning(UserWarning):
    """A file was usable, but not as it stands: its channels cancel out, or its header is wrong."""
