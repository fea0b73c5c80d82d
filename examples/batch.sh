#!/bin/sh
# One video for each sound: sh batch.sh FACE FOLDER_OF_VIDEOS SOUND...
#
#   sh examples/batch.sh examples/face.png videos recordings/*.mp3
#
# Given again after it was stopped, it goes on where it was. A sound that cannot be read does not
# stop the others; the exit code is 5 if one failed. JOBS is the number of processes.
set -u

if [ $# -lt 3 ]; then
  echo "usage: sh batch.sh FACE FOLDER_OF_VIDEOS SOUND..." >&2
  exit 2
fi

face=$1
videos=$2
shift 2
exec talkhead render -o "$videos/" --jobs "${JOBS:-1}" --keep-going -- "$face" "$@"
