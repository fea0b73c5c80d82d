#!/bin/sh
# One video for each sound: sh batch.sh FACE FOLDER_OF_VIDEOS SOUND...
#
#   sh examples/batch.sh examples/face.png videos recordings/*.mp3
#
# A sound that cannot be read does not stop the others; the script fails at the end if one did.
set -u

if [ $# -lt 3 ]; then
  echo "usage: sh batch.sh FACE FOLDER_OF_VIDEOS SOUND..." >&2
  exit 2
fi

face=$1
videos=$2
shift 2
mkdir -p "$videos" || exit 2

failed=0
for sound in "$@"; do
  name=$(basename "$sound")
  talkhead render "$face" "$sound" -o "$videos/${name%.*}.mp4" --overwrite || failed=5
done
exit "$failed"
