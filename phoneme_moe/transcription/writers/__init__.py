"""Output formats of transcripts and alignments."""

from phoneme_moe.transcription.writers.alignments import ALIGNMENT_FORMATS
from phoneme_moe.transcription.writers.output_folder import OutputFolder
from phoneme_moe.transcription.writers.transcripts import FORMATS, Format

__all__ = ["ALIGNMENT_FORMATS", "FORMATS", "Format", "OutputFolder"]
