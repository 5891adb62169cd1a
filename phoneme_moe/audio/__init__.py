"""Audio files of any format as waveforms: mono float32 at the sample rate of the model."""
