# shellcheck shell=bash
# Sourced by the scripts, after find-jdk.sh. build_if_stale builds the command line when it is missing or older than its sources.

# Maven resets the colors of a terminal even where there is none.
strip_colors() {
  sed $'s/\\x1b\\[[0-9;]*m//g'
}

# $1: the folder of the checkout. Needs the shell's option pipefail.
build_if_stale() {
  local root=$1 jar=$1/benchmarks/target/moe-lora.jar stamp=$1/benchmarks/target/moe-lora.built built
  local without_tornado='!tornado-in-user-home,!tornado-in-sdkman,!tornado-in-env,!tornado-by-hand'
  # Maven leaves the jar as it is when a change does not reach it, so the time of the last build counts too
  built=$jar
  if [ "$stamp" -nt "$jar" ]; then
    built=$stamp
  fi
  if [ -f "$jar" ] && [ -z "$(find "$root"/pom.xml "$root"/{moe-lora-core,benchmarks}/pom.xml \
    "$root"/{moe-lora-core,benchmarks}/src/main -newer "$built" -print 2>/dev/null | head -n 1)" ]; then
    return 0
  fi
  echo "Building moe-lora (first use, or its sources changed) ..." >&2
  # tests and modules that the command line does not need are left out
  if ! (cd "$root" && run_maven -q -Dmaven.test.skip=true -P "$without_tornado" -pl benchmarks -am package </dev/null 2>&1) |
    strip_colors >&2; then
    echo "moe-lora could not be built: see Maven's messages above." >&2
    return 1
  fi
  touch "$stamp"
}
