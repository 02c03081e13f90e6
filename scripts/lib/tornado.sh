# shellcheck shell=bash
# Sourced by the scripts that run on TornadoVM, after find-jdk.sh.

# Sets and exports TORNADOVM_HOME, and writes the JVM flags to the file $1: the SDK's for its present folder, then ours:
# no kernel may run as Java, a graph of many tasks needs more events than usual, and arrays begin at a line of 128 bytes.
find_tornado() {
  local candidate
  for candidate in "${TORNADOVM_HOME:-}" "$HOME/.sdkman/candidates/tornadovm/current" "$HOME/tornadovm"; do
    if [ -n "$candidate" ] && [ -f "$candidate/tornado-argfile.template" ]; then
      TORNADOVM_HOME=$candidate
      export TORNADOVM_HOME
      # shellcheck disable=SC2016 # the template holds this very text
      sed 's#${TORNADOVM_HOME}#'"$TORNADOVM_HOME"'#g' "$TORNADOVM_HOME/tornado-argfile.template" >"$1"
      printf -- '-D%s\n' tornado.recover.bailout=False tornado.max.events=1024 tornado.panama.objectHeader=512 >>"$1"
      return 0
    fi
  done
  echo 'No TornadoVM SDK found: install one (sdk install tornadovm, or https://github.com/beehive-lab/TornadoVM/releases)' \
    'and set TORNADOVM_HOME to its folder.' >&2
  return 1
}

# Prints the class path entry of the module's jar in folder $1.
module_jar() {
  find "$1/target" -maxdepth 1 -name '*.jar' ! -name '*-tests.jar' ! -name '*-sources.jar' ! -name '*-javadoc.jar' 2>/dev/null | sort | head -n 1
}

# Builds the GPU benchmarks and their tests below the checkout $1, unless they are there: a machine without Maven can run those
# that were copied with the target folders.
build_gpu_benchmarks() {
  local root=$1
  if [ -f "$root/benchmarks/target/test-classes/io/github/moelora/bench/gpu/BenchGpu.class" ] &&
    [ -f "$root/benchmarks/target/moe-lora.jar" ] && [ -d "$root/moe-lora-tornado/target/test-lib" ]; then
    return 0
  fi
  find_jdk || return 1
  echo 'Building moe-lora with TornadoVM (first use) ...' >&2
  (cd "$root" && run_maven -q -DskipTests -pl benchmarks -am package </dev/null >&2)
}

# Prints the class path of the GPU benchmarks below the checkout $1.
gpu_classpath() {
  printf '%s' "$1/benchmarks/target/test-classes:$1/benchmarks/target/moe-lora.jar:$1/benchmarks/target/lib/*:$(module_jar "$1/moe-lora-tornado")"
}
