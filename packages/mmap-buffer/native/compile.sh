#!/bin/sh
# Compiles external-memory.c for one architecture: compile.sh COMPILER OUTPUT
exec "$1" -Os -shared -nostdlib -fPIC -fvisibility=hidden -fno-asynchronous-unwind-tables -fno-stack-protector \
	-Wl,--hash-style=gnu,--build-id=none,-z,max-page-size=65536,-z,noseparate-code,-z,norelro -s \
	-o "$2" "$(dirname "$0")/external-memory.c"
