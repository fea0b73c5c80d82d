#!/bin/sh
# One command for each sound, by GNU parallel: sh batch-parallel.sh FACE FOLDER_OF_VIDEOS SOUND...
#
#   sh examples/batch-parallel.sh examples/face.png videos recordings/*.wav
#
# Every command loads the networks anew, which `talkhead render --jobs` does once a process; but
# parallel can also send commands to other machines (--sshlogin). It exits with the number of
# commands that failed. Videos that exist are left. JOBS is the number of commands at a time.
set -u

if [ $# -lt 3 ]; then
  echo "usage: sh batch-parallel.sh FACE FOLDER_OF_VIDEOS SOUND..." >&2
  exit 2
fi

face=$1
videos=$2
shift 2
mkdir -p "$videos" || exit 2
# Sounds come with a null character between them: their names may have lines in them.
printf '%s\0' "$@" |
  parallel --will-cite --null --jobs "${JOBS:-1}" --quote \
    talkhead render -o "$videos/{/.}.mp4" --skip-existing -- "$face" {}
