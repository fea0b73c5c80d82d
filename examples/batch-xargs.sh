#!/bin/sh
# A video for every sound below a folder: sh batch-xargs.sh FACE FOLDER_OF_SOUNDS FOLDER_OF_VIDEOS
#
#   sh examples/batch-xargs.sh examples/face.png recordings videos
#
# Names may have anything in them: find and xargs put a null character between them. xargs hands over
# as many sounds at a time as a command takes, so that the networks are loaded once; it exits with
# 123 if one failed. JOBS is the number of processes.
set -u

if [ $# -ne 3 ]; then
  echo "usage: sh batch-xargs.sh FACE FOLDER_OF_SOUNDS FOLDER_OF_VIDEOS" >&2
  exit 2
fi

find "$2" -type f -name '*.wav' -print0 |
  xargs -0 talkhead render -o "$3/" --jobs "${JOBS:-1}" --keep-going -- "$1"
