#!/bin/sh
# Packs a layer with the tools of the lowest layer, which are the same wherever the medium is built.
#
#   pack.sh BASE FOLDER FILE
set -eu
base=$1 folder=$2 file=$3
mount --bind "$base" "$base"
mount -o remount,bind,ro "$base"
mount -t tmpfs tmpfs "$base/run"
mkdir "$base/run/in" "$base/run/out"
mount --bind "$folder" "$base/run/in"
mount --bind "$(dirname "$file")" "$base/run/out"
mount -t proc proc "$base/proc"
exec chroot "$base" /usr/bin/env SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" mksquashfs /run/in "/run/out/$(basename "$file")" \
    -comp zstd -Xcompression-level "$LEVEL" -b 256K -noappend -quiet -no-progress -xattrs-exclude '^trusted\.'
