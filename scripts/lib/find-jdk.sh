# shellcheck shell=bash
# Sourced by the scripts. find_jdk sets JAVA_HOME to a JDK 25 or later, or says what to install and returns 1; find_java
# is content with a runtime image; run_maven runs Maven on what find_jdk found.

# Prints the major version of the JDK in folder $1; prints nothing when there is none.
jdk_major() {
  local line version
  [ -x "$1/bin/javac" ] || return 0
  # every JDK has this file; reading it saves starting a JVM per candidate
  if line=$(grep -m 1 '^JAVA_VERSION=' "$1/release" 2>/dev/null); then
    version=${line#JAVA_VERSION=}
  else
    version=$("$1/bin/java" -version 2>&1 | sed -n '1s/^[^"]*//p')
  fi
  version=${version//\"/}
  version=${version%%[!0-9]*}
  printf '%s' "$version"
}

# Prints the folder of the JDK whose java is on the PATH, links resolved.
jdk_on_path() {
  local java
  java=$(command -v java) || return 0
  if command -v realpath >/dev/null 2>&1; then
    java=$(realpath "$java")
  fi
  printf '%s' "${java%/bin/java}"
}

# Sets and exports JAVA_HOME: JAVA_HOME itself, else the java on the PATH, else the usual places, 25 before later ones.
find_jdk() {
  local dir major later=
  for dir in "${JAVA_HOME:-}" "$(jdk_on_path)"; do
    [ -n "$dir" ] || continue
    major=$(jdk_major "$dir")
    if [ "${major:-0}" -ge 25 ]; then
      export JAVA_HOME=$dir
      return 0
    fi
  done
  for dir in /usr/lib/jvm/* /usr/java/* /opt/java/* "$HOME"/.sdkman/candidates/java/* "$HOME"/.jdks/* \
    /Library/Java/JavaVirtualMachines/*/Contents/Home "$HOME"/Library/Java/JavaVirtualMachines/*/Contents/Home; do
    major=$(jdk_major "$dir")
    if [ "${major:-0}" -eq 25 ]; then
      export JAVA_HOME=$dir
      return 0
    elif [ "${major:-0}" -gt 25 ] && [ -z "$later" ]; then
      later=$dir
    fi
  done
  if [ -n "$later" ]; then
    export JAVA_HOME=$later
    return 0
  fi
  echo "moe-lora needs a JDK 25, and none was found: install one, for example Temurin 25 from https://adoptium.net, or set JAVA_HOME to it." >&2
  return 1
}

# Sets java to a JVM of version 25 or later: JAVA_HOME's, which may be a mere runtime image, else that of a JDK.
find_java() {
  if [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/java" ] &&
    grep -qE '^JAVA_VERSION="(2[5-9]|[3-9][0-9])' "$JAVA_HOME/release" 2>/dev/null; then
    java=$JAVA_HOME/bin/java
    return 0
  fi
  find_jdk || return 1
  java=$JAVA_HOME/bin/java
}

# Runs Maven with the arguments. Its own libraries use Unsafe and load native code, which JDK 25 would warn about.
run_maven() {
  if ! command -v mvn >/dev/null 2>&1; then
    echo "moe-lora needs Maven 3.8.7 or later to build: install it, for example with 'apt-get install maven'." >&2
    return 1
  fi
  MAVEN_OPTS="--sun-misc-unsafe-memory-access=allow --enable-native-access=ALL-UNNAMED ${MAVEN_OPTS:-}" \
    mvn -B -Dstyle.color=never "$@"
}
