"""Files to arrays and back: waveforms, pictures and videos; the only code that knows ffmpeg.

Media is uint8, channels last, RGB; waveforms are float32, mono, 16 kHz.
"""
