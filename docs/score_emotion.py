"""Score an emotion classifier on the people that its training held out, and print JSON.

Usage: python docs/score_emotion.py RECORDINGS CHECKPOINT [--fold 0] [--num-folds 5]

RECORDINGS is a folder with RAVDESS, EmoDB or both; CHECKPOINT holds config.json and tensors.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from talkhead.audio2landmarks.emotion_classifier import EmotionClassifier
from talkhead.emotions import VOICE_LABELS
from talkhead.networks import public_config
from talkhead.training.emotion import EmotionTask, EmotionTaskConfig


def main() -> int:
    """Print accuracy, recall and confusions by corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--num-folds", type=int, default=5)
    given = parser.parse_args()
    model = EmotionClassifier.from_pretrained(given.checkpoint)
    settings = EmotionTaskConfig(fold=given.fold, num_folds=given.num_folds)
    task = EmotionTask(given.recordings, public_config(model), settings, seed=0)
    scores = task.validate(model)
    confusions = {name: matrix.tolist() for name, matrix in task.confusions(model).items()}
    result = {"labels": list(VOICE_LABELS), "scores": scores, "confusions": confusions}
    json.dump(result, sys.stdout, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
