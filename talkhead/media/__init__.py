"""Read and write audio, pictures and videos; the only code that calls ffmpeg.

Media is uint8, channels last, RGB; waveforms are float32, mono, 16 kHz.
"""
