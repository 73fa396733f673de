#!/bin/sh
# The entry point of nodes in docker-compose.yml. Puts in the files of nodes/NAME, seeds only where there is none, with
# the owners of the image; then becomes the node's main process.
#
#   start.sh USER [file|seed MODE OWNER PATH]... -- PROGRAM [ARGUMENT]...
set -eu
user=$1
shift
while [ "$1" != -- ]; do
    if [ "$1" = file ] || [ ! -e "$4" ]; then
        uid=$(id -u "$3" 2>/dev/null) || uid=0
        gid=$(id -g "$3" 2>/dev/null) || gid=0
        install -D -m "$2" -o "$uid" -g "$gid" "/clusterkit/node$4" "$4"
    fi
    shift 4
done
shift
if [ "$user" = root ]; then exec "$@"; fi
exec setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups -- "$@"
