#!/bin/sh
# A genuine mysqld on a Debian whose own packages have none: that of Debian unstable, with its
# libraries, in a folder of its own. Fetched when it is first run; needs no root, and changes
# nothing else on the machine. LC_MEMORY_TEST_SID may name the folder. How to use it:
# CONTRIBUTING.md.
set -eu
root=${LC_MEMORY_TEST_SID:-${XDG_CACHE_HOME:-$HOME/.cache}/lc_memory-sid}

if [ ! -e "$root/fetched" ]; then
  mkdir -p "$root/state/lists/partial" "$root/cache/archives/partial"
  echo "deb http://deb.debian.org/debian sid main" > "$root/sources.list"
  : > "$root/status"
  apt() {
    apt-get -q -o Dir::Etc::SourceList="$root/sources.list" -o Dir::Etc::SourceParts=- \
      -o Dir::State="$root/state" -o Dir::State::Status="$root/status" \
      -o Dir::Cache="$root/cache" -o Debug::NoLocking=1 "$@" >&2
  }
  apt update
  apt install -y --download-only --no-install-recommends mysql-server-core
  for package in "$root"/cache/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
  rm -r "$root/cache" "$root/state"
  touch "$root/fetched"
fi

libraries=$(dirname "$(find "$root/usr/lib" -name "ld-linux-*.so.*" -type f)")
exec "$libraries"/ld-linux-*.so.* --library-path "$libraries" "$root/usr/sbin/mysqld" "$@" \
  --basedir="$root/usr"
